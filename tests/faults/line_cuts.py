"""A station that is killed, or a board that is unplugged, in each step of the line.

Afterwards the same job goes on: every board is made, with one certificate each, and the ledger has
all that was issued.
"""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from line_of_boards import Line, board, server_of, step

STEPS = ("identify", "settings", "key", "request", "enrol", "install", "prove", "accept", "label")
KINDS = ("killed", "unplugged")
CASES = [(kind, name) for kind in KINDS for name in STEPS]


def run(cases: list[tuple[str, str]]) -> dict[str, Any]:
    """Counts, and `problems`. Each case has a line of its own."""
    counts: Counter[str] = Counter()
    problems = []
    for kind, name in cases:
        counts[kind] += 1
        with tempfile.TemporaryDirectory(prefix="mpest-line-") as folder:
            try:
                _case(Path(folder), kind, name)
            except AssertionError as error:
                problems.append(f"{kind} at {name}: {error}")
    return {**counts, "problems": problems}


def _case(folder: Path, kind: str, name: str) -> None:
    (folder / "accept.py").write_text("print('well')\n")
    with server_of(folder) as server:
        line = Line(server, folder, 1, "acceptance = 'accept.py'")
        with line.job.open("a") as job:
            job.write("[label]\nzpl = 'default'\nscan = false\n")
        line.plug()
        try:
            with line.start() as run:
                run.until(step(name))
                if kind == "killed":
                    run.kill()
                else:
                    line.unplug()
                    # No step after this one needs the board.
                    run.until(board("done" if name == "label" else "unplugged"))
                    line.plug()
                    run.end()
            if kind == "killed":
                line.run()
            line.check(1)
        finally:
            line.unplug()

"""Boards and stations that are cut in the middle of whatever they do, and taken up again.

The power of a simulated board goes at a random moment, again and again; each time another station
begins from the first step, as a line does. In the end every board has what it was to have, and one
certificate, and no key was made twice.
"""

import random
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import station_board

from mpest.exits import CliError
from mpest.server import running_server
from mpest.station.errors import Gone

_CUTS = 25  # of one board; a step more is done between two of them, or none
# Seconds until a cut: mostly within the first steps, which take less.
_MOMENTS = (0.15, 0.7)


def run(boards: int, seed: int) -> dict[str, Any]:
    """Counts, and as `problems` a list of texts, empty where all is well."""
    draw = random.Random(seed)
    counts: Counter[str] = Counter()
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        with running_server(station_board.config(work / "ca")) as server:
            for number in range(boards):
                root = work / str(number)
                root.mkdir()
                line = station_board.Line(server, root)
                try:
                    _one(line, draw, counts)
                except (AssertionError, CliError) as error:
                    problems.append(f"board {number} with seed {seed}: {error!r}")
                finally:
                    line.close()
            counts["boards"] = boards
            counts["issued"] = len(server.issued())
    if counts["issued"] != boards:
        problems.append(f"{counts['issued']} certificates for {boards} boards")
    return {**counts, "problems": problems}


def _one(line: station_board.Line, draw: random.Random, counts: Counter[str]) -> None:
    # Most of it is there, so that cuts fall on all that is done; on some boards a program, too.
    station_board.place(line.files[:-3], line.folder / "root")
    if draw.random() < 0.5:
        (line.folder / "root/main.py").write_text("# another program\n")
    key_hash = ""
    for attempt in range(_CUTS + 1):
        board = line.board()
        cut = threading.Timer(draw.uniform(0, draw.choice(_MOMENTS)), line.links[-1].unplug)
        cut.daemon = True
        if attempt < _CUTS:
            cut.start()
        try:
            known = board.identify()
            assert not board.unknown(line.files), "what was cut counts as somebody else's"
            if not known.provisioned:
                board.settings(line.files)
                made = board.make_key(line.order())
                assert key_hash in ("", made), "another key"
                key_hash = made
                board.install(line.authority.enroll(board.request()))
                known = board.identify()
            assert known.key_hash == key_hash, "the certificate of another key"
            board.settings(line.files)
            board.prove(list(known.chain))
            board.leave()
            break
        except Gone:
            counts["cuts"] += 1
        finally:
            cut.cancel()
            cut.join() if attempt < _CUTS else None
    root = line.folder / "root"
    assert (root / "main.py").read_bytes() == line.files[-1].data, "another main.py"
    assert not (root / "mpest.main").exists(), "the guard is still there"

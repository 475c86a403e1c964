"""Boards that an operator makes by the page alone: what it says is all that is known."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from line_of_boards import server_of
from page_operator import line_with_a_page, make_all, missing, screen

from mpest.station.ledger.ledger import Ledger

BOARDS = 20
_PORTS = 2


def run(count: int = BOARDS) -> dict[str, Any]:
    """Counts, and `problems`. The first board fails once, and is put in again."""
    if missing():
        return {"problems": [f"{missing()}: not installed"]}
    problems: list[str] = []
    failures = 0
    with tempfile.TemporaryDirectory(prefix="mpest-page-") as name:
        folder = Path(name)
        (folder / "dark").touch()
        with server_of(folder) as server:
            line = line_with_a_page(server, folder, count)
            try:
                with line.start("--page", "0", ports=_PORTS) as started:
                    with screen(started, folder) as page:
                        # The line waits where nobody takes what it prints.
                        ended = ThreadPoolExecutor(1).submit(started.end)
                        page.enter("Ann")
                        failures = make_all(page, line, _PORTS, folder / "dark")
                    ended.result()
                line.check(count)
                with Ledger(str(line.ledger)) as ledger:
                    labels = [unit.label for unit in ledger.units("batch-1")]
                if labels != ["scanned"] * count:
                    problems.append(f"labels are {labels}")
                if not failures:
                    problems.append("no board has failed")
            except AssertionError as error:
                problems.append(str(error))
            finally:
                line.unplug()
    return {"boards": count, "failures": failures, "problems": problems}

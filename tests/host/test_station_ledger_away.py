"""The ledger cannot be written amid a job: nothing is lost, nothing is asked for twice."""

import resource
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from line_of_boards import Line, Make, board, make_here, step

from mpest.station.authority import Authority
from mpest.station.ledger import database
from mpest.station.ledger.ledger import Ledger

pytestmark = pytest.mark.timeout(120)
_AWAY = 1.5  # seconds
# No file may grow beyond it, and the ledger's are larger: as if the disk were full.
_FULL = 4096
_FSIZE = resource.RLIMIT_FSIZE


def _full(_: Line) -> Callable[[], None]:
    """The disk is, for this process; returns what makes room."""
    soft, hard = resource.getrlimit(_FSIZE)
    resource.setrlimit(_FSIZE, (_FULL, hard))
    return partial(resource.setrlimit, _FSIZE, (soft, hard))


def _locked(line: Line) -> Callable[[], None]:
    """Another program has the file, and keeps it for long."""
    other = sqlite3.connect(line.ledger, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")

    def unlock() -> None:
        other.execute("COMMIT")
        other.close()

    return unlock


@pytest.mark.parametrize("fault", [_full, _locked])
def test_what_was_issued_is_recorded_when_the_ledger_is_back(
    make: Make, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Line], Callable[[], None]]
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.2)
    line = make(1)
    asked = []

    class Issuing(Authority):
        """After its answer the ledger is away."""

        def enroll(self, csr: bytes) -> bytes:
            answer = super().enroll(csr)
            asked.append(csr)
            threading.Timer(_AWAY, fault(line)).start()
            return answer

    said: list[str] = []

    def emit(event: str, /, **fields: Any) -> None:
        if event == "note":
            said.append(fields["message"])

    outcome = make_here(line, authority=Issuing, emit=emit)
    assert outcome.kind == "done", outcome
    assert len(asked) == 1
    assert len(said) == 1 and said[0].startswith(f"can't use the ledger {line.ledger}: "), said
    line.check(1)


def test_a_disk_that_is_full_amid_a_job(make: Make) -> None:
    """For all processes of a station: the line says so, waits, and goes on by itself."""
    line = make(1)
    line.plug()
    with line.start() as run:
        run.until(step("settings"))
        pids = [run.pid, *_children(run.pid)]
        for pid in pids:
            resource.prlimit(pid, _FSIZE, (_FULL, resource.RLIM_INFINITY))
        told = run.until(
            lambda event: (
                event["event"] == "note"
                or (event["event"], event.get("outcome")) == ("board", "waiting")
            )
        )
        assert told["message"].startswith(f"can't use the ledger {line.ledger}: "), told
        for pid in pids:
            resource.prlimit(pid, _FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        run.until(board("done"))
        run.end()
    line.check(1)
    with Ledger(str(line.ledger)) as ledger:
        assert ledger.units("batch-1")[0].failures == 0


def _children(pid: int) -> list[int]:
    return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

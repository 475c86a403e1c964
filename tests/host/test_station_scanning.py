"""What is scanned and typed at the line: serial numbers, labels, operators."""

import json
import subprocess
import sys
from typing import Any

import pytest
from line_of_boards import Line, Make, Run, board, step

from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import NewUnit
from mpest.station.scanning import Scans

pytestmark = pytest.mark.timeout(120)
_LABEL = '[label]\nzpl = "default"\nqr = "U/{serial}"\nprint = ["cat"]\n'


def note(text: str) -> Any:
    return lambda event: event["event"] == "note" and text in event["message"]


def test_scans_go_to_the_board_that_asked_first() -> None:
    told: list[tuple[str, str]] = []
    scans = Scans(lambda event, **fields: told.append((event, fields.get("state", ""))))
    assert scans.want("1") is None and scans.want("2") is None
    assert told == [("scan", "wanted"), ("scan", "turn")]
    assert scans.take("A1") == "1"
    assert told[2:] == [("scan", "over"), ("scan", "wanted")]
    scans.leave("2")
    scans.leave("2")
    # A scan without a board is for the next one that asks, and for no other.
    assert scans.take("A2") is None
    assert scans.want("3") == "A2"
    assert scans.want("4") is None


def test_a_scan_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    scans = Scans(lambda event, **fields: None)
    monkeypatch.setattr("mpest.station.scanning.KEPT_SECONDS", -1.0)
    scans.take("A1")
    assert scans.want("1") is None


def asks(event: dict[str, Any]) -> bool:
    return event.get("state") == "wanted"


def _scanning(make: Make, count: int, more: str = "") -> Line:
    line = make(count, more)
    text = line.job.read_text().replace("[devices]\n", "[devices]\nscan = true\n")
    line.job.write_text(text + _LABEL)
    return line


def test_no_scan_no_start(make: Make) -> None:
    """At a terminal: by the label before, scanned back after; the line ends with the last one."""
    line = _scanning(make, 2)
    line.plug()
    with line.start(terminal=True) as run:
        wanted = run.until(asks)
        first = [str(line.port(at)) for at in range(2)].index(wanted["port"])
        run.type("A002")
        run.until(note("no label of this job"))
        run.type("U/A003")
        run.until(note("no board A003"))
        run.type("U/A002")
        begun, _ = run.until_all(step("settings"), asks)
        assert (begun["port"], begun["serial"]) == (wanted["port"], "A002")
        # Another board's number.
        run.type("U/A002")
        run.until(note("has no printed label"))
        run.type("U/A001")
        for _ in range(2):
            run.until(board("done"))
        told = run.until(note("labels to be scanned: 2"))
        assert "A001, A002" in told["message"]
        for serial in ("A001", "A002"):
            run.type(f"U/{serial}")
            run.until(lambda event: event["event"] == "decision")
        run.end()
    line.check(2)
    with Ledger(str(line.ledger)) as ledger:
        units = {unit.serial: unit for unit in ledger.units("batch-1")}
        assert units["A002"].unique_id == line.boards[first].unique_id
        assert {unit.label for unit in units.values()} == {"scanned"}
        made, scan = [event for event in ledger.history("A001") if event.event == "label"]
        assert (made.outcome, made.detail) == ("printed", {"printed": True})
        assert (scan.outcome, scan.port, scan.operator) == ("scanned", "terminal", "Ann")


def test_whatever_is_plugged_in_has_the_number_that_is_scanned(make: Make) -> None:
    """It is in no list; what another board has, or another batch, is for none."""
    line = _scanning(make, 2)
    text = line.job.read_text()
    listed = text[text.index("range =") : text.index("[label]")]
    line.job.write_text("quantity = 2\n" + text.replace(listed, "plugged = true\n"))
    with Ledger(str(line.ledger)) as ledger:
        ledger.open_batch("other", "digest", 1, [NewUnit("B7", {})], {})
    line.plug()
    with line.start(terminal=True) as run:
        wanted = run.until(asks)
        first = [str(line.port(at)) for at in range(2)].index(wanted["port"])
        for text, why in (("A/X1", "no label of"), ("U//", "must begin"), ("U/B7", "batch other")):
            run.type(text)
            run.until(note(why))
        run.type("U/X1")
        begun, _ = run.until_all(step("settings"), asks)
        assert (begun["port"], begun["serial"]) == (wanted["port"], "X1")
        run.type("U/X2")
        for _ in range(2):
            run.until(board("done"))
        for serial in ("X1", "X2"):
            run.type(f"U/{serial}")
            run.until(lambda event: event["event"] == "decision")
        run.end()
    line.check(2)
    with Ledger(str(line.ledger)) as ledger:
        assert ledger.unit("X1").unique_id == line.boards[first].unique_id
        assert [unit.serial for unit in ledger.units("batch-1")] == ["X1", "X2"]


def test_the_next_board_waits_for_the_label_of_the_last(make: Make) -> None:
    line = make(2)
    with line.job.open("a") as job:
        job.write(_LABEL)
    first, second = line.boards
    first.plug(line.port(0))
    with line.start(ports=1, terminal=True) as run:
        run.until(board("done"))
        first.unplug()
        second.plug(line.port(0))
        run.until(note("scan the label of A001 before the next board"))
        run.type("U/A001")
        begun = run.until(step("identify"))
        assert begun["port"] == str(line.port(0))
        run.until(board("done"))
        run.type("U/A002")
        run.end()
    line.check(2)


def test_boards_wait_for_somebody_who_works_here(make: Make) -> None:
    """A name is asked for where nothing was done for long."""
    line = make(1, "idle = 3")
    with line.start(terminal=True) as run:
        run.until(lambda event: event.get("operator") == "")
        line.plug()
        run.type("Béa")
        run.until(lambda event: event.get("operator") == "Béa")
        run.until(board("done"))
        run.end()
    with Ledger(str(line.ledger)) as ledger:
        made = {event.operator for event in ledger.history("A001")}
        assert made == {"Béa"}


def test_nobody_can_scan(make: Make) -> None:
    line = _scanning(make, 1)
    with line.start() as run:
        assert (list(run), run.code()) == ([], 2)
        assert "nobody can scan here" in run.said()
    line.job.write_text(line.job.read_text().replace("scan = true\n", ""))
    run = Run(line.job, [], ("--operator", " "))
    with run:
        assert (list(run), run.code()) == ([], 2)
        assert "say who works here" in run.said()


def test_only_failed_ones(make: Make) -> None:
    line = make(2, "acceptance = 'accept.py'")
    script = line.folder / "accept.py"
    script.write_text("raise ValueError('dark')\n")
    first, second = line.boards
    first.plug(line.port(0))
    with line.start("--limit", "1") as run:
        run.until(board("failed"))
        run.end()
    second.plug(line.port(1))
    shown = _dry_run(line, "--only-failed")
    assert [unit["serial"] for unit in shown if unit["event"] == "unit"] == ["A001"]
    with line.start("--only-failed") as run:
        told, refused = run.until_all(board("failed"), board("refused"))
        assert told["serial"] == "A001"
        assert "put it aside" in refused["message"]
        run.interrupt()
        run.end()
    with Ledger(str(line.ledger)) as ledger:
        assert ledger.counts("batch-1").open == 1


def _dry_run(line: Line, *options: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "mpest", "provision", str(line.job), "--dry-run", "--json"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    return [json.loads(text) for text in done.stdout.splitlines()]

"""Boards that come to the line with something on them already."""

from pathlib import Path

import pytest
from line_of_boards import Line, Make, board, server_of

from mpest.station.ledger.ledger import Ledger

pytestmark = pytest.mark.timeout(120)


def _cut_at_enrol(line: Line) -> None:
    """Its board has key and request then, and no certificate."""
    line.plug()
    line.server.config.faults = {"http-403@simpleenroll"}
    with line.start("--limit", "1") as run:
        assert run.until(board("failed"))["step"] == "enrol"
        run.end()
    line.server.config.faults = set()


def test_a_board_that_another_job_has_begun(make: Make) -> None:
    line = make(1)
    _cut_at_enrol(line)
    text = line.job.read_text().replace("batch-1", "batch-2").replace("A001", "B001")
    line.job.write_text(text.replace("station =", "ledger = 'other.db'\nstation ="))
    with line.start("--limit", "1") as run:
        told = run.until(board("failed"))
        assert (told["step"], told["serial"]) == ("key", "B001")
        assert "another job has begun this board: use a new board, or --wipe" in told["message"]
        run.end()
    assert not line.server.issued()
    events = line.run("--wipe")
    assert [event["serial"] for event in events if board("done")(event)] == ["B001"]
    [issued] = line.server.issued()
    assert issued.subject == "CN=unit-B001"


def test_a_birth_certificate_goes_on(tmp_path: Path) -> None:
    """What the station left of its order is no unknown file."""
    with server_of(tmp_path, policy=None) as server:
        line = Line(server, tmp_path, 1, "way = 'birth'")
        text = line.job.read_text().replace("CN=unit-{serial}", "serialNumber={serial}")
        line.job.write_text(text + '[birth]\nhardware_type = "1.3.6.1.4.1.32473.1"\n')
        try:
            _cut_at_enrol(line)
            line.run()
        finally:
            line.unplug()
        line.check(1)


def test_a_test_leaves_nothing(make: Make) -> None:
    line = make(1, "acceptance = 'accept.py'")
    (line.folder / "accept.py").write_text("open('/left.txt', 'w').close()\n")
    line.plug()
    with line.start("--limit", "1") as run:
        told = run.until(board("failed"))
        assert told["step"] == "accept"
        assert "the test has left files on the board: /left.txt" in told["message"]
        run.end()
    line.check(0)


def test_a_key_that_the_ledger_knows_outlives_a_wipe(make: Make) -> None:
    line = make(1)
    _cut_at_enrol(line)
    boot = line.boards[0].root / "boot.py"
    boot.write_text("print('mine')\n")
    with Ledger(str(line.ledger)) as ledger:
        key_hash = ledger.unit("A001").key_hash
    with line.start("--limit", "1") as run:
        assert "/boot.py" in run.until(board("failed"))["message"]
        run.end()
    line.run("--wipe")
    assert not boot.exists()
    [certificate] = line.certificates()
    assert certificate.key_hash == key_hash

"""ESP32 boards without MicroPython: the line flashes them, and knows whom it flashes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from esp_boards import FIRMWARE, PINNED, BlankBoard, esptool, job_with_firmware, plug_into_usb
from line_of_boards import Line, Make, board, make_here, step
from simulated_usb import Usb

from mpest.flash import probe
from mpest.station import ports
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Who
from mpest.station.link import Serial
from mpest.station.outcome import Outcome

pytestmark = pytest.mark.timeout(120)
MACS = ("0a0b0c00aa01", "0a0b0c00aa02")


@pytest.fixture
def chips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return esptool(tmp_path, monkeypatch)


@pytest.fixture
def line(make: Make, chips: Path) -> Iterator[Line]:
    made = make(2)
    job_with_firmware(made)
    made.boards = [BlankBoard(made.folder / mac, mac, chips) for mac in MACS]
    yield made


def _flashed(line: Line, serial: str) -> list[str]:
    """Outcomes of the step, which names the firmware."""
    with Ledger(str(line.ledger)) as ledger:
        steps = [event for event in ledger.history(serial) if event.step == "firmware"]
    assert {event.detail["sha256"] for event in steps} <= {PINNED}
    return [event.outcome for event in steps]


@pytest.fixture
def usb(tmp_path: Path) -> Usb:
    (tmp_path / "usb").mkdir()
    made = Usb(tmp_path / "usb")
    made.device("1-1", ("05e3", "0610"))
    return made


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is known in a second that no MicroPython answers."""
    monkeypatch.setattr(probe.answers, "__defaults__", (1.0,))


soon = pytest.mark.usefixtures("_soon")


def _make(line: Line, port: ports.Port) -> Outcome:
    return make_here(line, port=port, link=Serial(port.name, port.path))


@soon
def test_a_blank_board_gets_its_firmware_at_its_place(line: Line, usb: Usb) -> None:
    """By its USB path, and no other board does; then it is left alone, also where it dies."""
    for number, blank in enumerate(line.boards):
        plug_into_usb(blank, usb, f"1-1.{number + 1}", line.port(number))
    [_, second] = ports.plugged(usb.root)
    outcome = _make(line, second)
    assert (outcome.kind, outcome.serial) == ("done", "A001"), outcome
    assert [blank.is_written() for blank in line.boards] == [False, True]
    assert _flashed(line, "A001") == ["done"]
    with Ledger(str(line.ledger)) as ledger:
        unit = ledger.unit("A001")
        assert (unit.unique_id, unit.mac) == (MACS[1], MACS[1])
    # It comes back, and its MicroPython does not start.
    usb.unplug("1-1.2")
    line.boards[1].unplug()
    plug_into_usb(line.boards[1], usb, "1-1.2", line.port(1))
    outcome = _make(line, second)
    assert (outcome.kind, outcome.serial) == ("known", "A001"), outcome
    assert not line.boards[1].is_written()
    # A rework flashes it, though the ledger has that it was flashed.
    with Ledger(str(line.ledger)) as ledger:
        ledger.rework("A001", Who("desk", "", "Ann"), "dead")
    assert _make(line, second).kind == "done"
    assert line.boards[1].is_written()
    assert _flashed(line, "A001") == ["done", "done"]


@soon
def test_another_board_by_the_time_of_the_write(
    line: Line, usb: Usb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written on it."""
    first, other = line.boards
    plug_into_usb(first, usb, "1-1.1", line.port(0))
    [port] = ports.plugged(usb.root)
    open_claim = Ledger.claim

    def swap(*arguments: object, **named: object) -> object:
        unit = open_claim(*arguments, **named)  # type: ignore[arg-type]
        usb.unplug("1-1.1")
        plug_into_usb(other, usb, "1-1.1", line.port(1))
        return unit

    monkeypatch.setattr(Ledger, "claim", swap)
    outcome = _make(line, port)
    assert (outcome.kind, outcome.step) == ("unplugged", "firmware"), outcome
    assert MACS[1] in outcome.message
    assert not list(line.folder.glob("chips/*.bin"))


@soon
def test_no_firmware_in_the_job(make: Make, chips: Path, usb: Usb) -> None:
    line = make(1)
    blank = BlankBoard(line.folder / MACS[0], MACS[0], chips)
    line.boards = [blank]
    plug_into_usb(blank, usb, "1-1.1", line.port(0))
    [port] = ports.plugged(usb.root)
    outcome = _make(line, port)
    assert (outcome.kind, outcome.serial) == ("waiting", "")
    assert "no MicroPython answers" in outcome.message


def test_a_station_killed_while_it_writes(line: Line, chips: Path) -> None:
    """The next start writes the board whole: it is the same one, with one certificate."""
    (chips / "hold").touch()
    [blank, _] = line.boards
    blank.plug(line.port(0))
    with line.start("--limit", "1") as run:
        run.until(step("firmware"))
        run.until(lambda event: event["event"] == "progress")
        run.kill()
    assert blank.chip.with_suffix(".bin").stat().st_size < len(FIRMWARE)
    (chips / "hold").unlink()
    with line.start("--limit", "1") as run:
        assert run.until(board("done"))["serial"] == "A001"
        run.end()
    assert blank.is_written()
    assert _flashed(line, "A001") == ["done"]
    line.check(1)

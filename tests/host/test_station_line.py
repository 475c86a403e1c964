"""A line of workers, ports and boards: what is made, and what cuts and faults leave."""

import socket
import time
from pathlib import Path

import pytest
from cryptography import x509
from line_of_boards import PASSWORD, STATION, Line, Make, board, make_here, server_of, step

from mpest.server import EstServer
from mpest.station import terminal
from mpest.station.authority import Unreachable
from mpest.station.job import load
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Who
from mpest.station.outcome import Outcome
from mpest.station.worker import authority_of

pytestmark = pytest.mark.timeout(120)
STEPS = ("identify", "settings", "key", "request", "enrol", "install", "prove", "accept", "label")
OTP = "good for once"
_ACCEPTANCE = "acceptance = 'accept.py'"
_HARDWARE = "HW:1.3.6.1.4.1.32473.1:A*"
_LABEL = "[label]\nzpl = 'default'\nscan = false\n"


@pytest.fixture
def make(make: Make, tmp_path: Path) -> Make:
    """They are all plugged in, and pass a test and get a label."""

    def make_and_plug(count: int, more: str = _ACCEPTANCE) -> Line:
        (tmp_path / "accept.py").write_text("print('well')\n")
        line = make(count, more)
        with line.job.open("a") as job:
            job.write(_LABEL)
        line.plug()
        return line

    return make_and_plug


def test_all_boards_are_made(make: Make) -> None:
    line = make(2)
    events = line.run()
    line.check(2)
    done = [event["serial"] for event in events if board("done")(event)]
    assert sorted(done) == ["A001", "A002"]
    for serial in done:
        steps = [
            event["step"]
            for event in events
            if event["event"] == "step" and event.get("serial") == serial
            if event["outcome"] == "done"
        ]
        assert tuple(steps) == STEPS[1:]
        assert (line.folder / f"labels/batch-1/{serial}.zpl").read_text().startswith("^XA")
    assert (events[-1]["done"], events[-1]["labels"]) == (2, 0)
    with Ledger(str(line.ledger)) as ledger:  # the job waives the scan, and prints nothing
        assert {unit.label for unit in ledger.units("batch-1")} == {"waived"}
        told = [event.detail for event in ledger.history() if event.event == "label"]
    assert told == [{"printed": False}] * 2


def test_a_board_that_comes_back_is_left_alone(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is shown with its history, in the events and at the terminal; so is a scrapped one."""
    line = make(3)
    line.boards[2].unplug()  # or the line would end
    line.run("--limit", "2")
    with Ledger(str(line.ledger)) as ledger:
        ledger.scrap("A001", Who("desk", "", "Eve"), "bent")
    with line.start() as run:
        told = run.until_all(board("known"), board("refused"))
        run.interrupt()
        steps = {event["step"] for event in run.end() if event["event"] == "step"}
    assert steps <= {"identify"}
    assert [event["serial"] for event in told] == ["A002", "A001"]
    lives = [[entry["event"] for entry in event["history"]] for event in told]
    made = ["claim", "certificate", "label", "finish"]
    assert lives == [made, [*made, "scrap"]]
    capsys.readouterr()
    terminal.Terminal()(told[1].pop("event"), **told[1])
    first, *rest = capsys.readouterr().err.splitlines()
    assert "A001 was scrapped" in first
    assert [text.split()[1] for text in rest] == lives[1]
    assert rest[-1].split()[2:] == ["bent", "desk", "Eve"]


def test_another_station_finishes(make: Make) -> None:
    line = make(1)
    with line.start() as run:
        run.until(step("install"))
        run.kill()
    line.job.write_text(line.job.read_text().replace("station-1", "station-2"))
    with Ledger(str(line.ledger)) as ledger:
        [unit] = ledger.units("batch-1")
        assert unit.station == "station-1"
    with line.start() as run:
        told = run.until(board("refused"))
        assert "station-1" in told["message"]
        run.interrupt()
        run.end()


def test_ctrl_c_finishes_the_step(make: Make) -> None:
    line = make(1)
    with line.start() as run:
        run.until(step("settings"))
        run.interrupt()
        ended = run.until(board("stopped"))
        assert ended["step"] == "settings"
        run.end()
    line.run()
    line.check(1)


def test_the_server_is_away(make: Make, tmp_path: Path) -> None:
    line = make(1)
    line.server.config.faults = {"http-503@simpleenroll"}
    with line.start() as run:
        run.until(board("waiting"))
        line.server.config.faults = set()
        run.until(board("done"))
        run.end()
    line.check(1)


def test_a_board_that_is_not_accepted(make: Make) -> None:
    line = make(1)
    script = line.folder / "accept.py"
    script.write_text("raise ValueError('the lamp is dark')\n")
    with line.start("--limit", "1") as run:
        failed = run.until(board("failed"))
        assert failed["step"] == "accept"
        assert "the lamp is dark" in failed["message"]
        run.end()
    line.check(0)


def test_what_the_job_does_not_know(make: Make) -> None:
    line = make(1)
    (line.boards[0].root / "boot.py").write_text("print('mine')\n")
    with line.start() as run:
        failed = run.until(board("failed"))
        assert "/boot.py" in failed["message"]
        run.interrupt()
        run.end()
    line.check(0)
    line.run("--wipe")
    line.check(1)
    assert not (line.boards[0].root / "boot.py").exists()


def test_a_certificate_of_another_job(make: Make) -> None:
    line = make(1)
    line.run()
    line.ledger.unlink()
    with line.start() as run:
        failed = run.until(board("failed"))
        assert "not of this job" in failed["message"]
        run.interrupt()
        run.end()
    assert len(line.server.issued()) == 1


def _by_network(folder: Path, server: EstServer, seconds: int) -> tuple[Line, Outcome]:
    """Here the board is a process on a pipe: behind a pseudo terminal none starts main.py."""
    line = Line(server, folder, 1, "way = 'network'")
    with line.job.open("a") as file:
        file.write('[network]\nuser = "unit-{serial}"\nsecret = {file = "once"}\n')
        file.write(f"[limits.enrol]\nseconds = {seconds}\n")
    outcome = make_here(line)
    for path in (folder / "board-0a0b0c").rglob("*"):
        assert path.is_dir() or OTP.encode() not in path.read_bytes(), path
    return line, outcome


def test_a_board_enrols_by_its_own_network(tmp_path: Path) -> None:
    users = {STATION: PASSWORD, "unit-A001": OTP}
    with server_of(tmp_path, users=users) as server:
        (tmp_path / "once").write_text(OTP + "\n")
        line, outcome = _by_network(tmp_path, server, 60)
        assert (outcome.kind, outcome.serial) == ("done", "A001"), outcome
        line.check(1)
        assert [entry.owner for entry in server.issued()] == ["user:unit-A001"]


def test_a_board_without_its_network_has_the_seconds_of_the_job(tmp_path: Path) -> None:
    """What was lent to it is withdrawn then."""
    with server_of(tmp_path) as server:  # which does not know the password
        (tmp_path / "once").write_text(OTP + "\n")
        _, outcome = _by_network(tmp_path, server, 5)
    assert (outcome.kind, outcome.step) == ("failed", "enrol")
    assert "by its own network in 5 s" in outcome.message


def test_enrol_has_the_seconds_of_the_job(make: Make) -> None:
    """Of a server that says nothing."""
    line = make(1)
    with line.job.open("a") as file:
        file.write("[limits.enrol]\nseconds = 1\n")
    begun = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        line.job.write_text(line.job.read_text().replace(line.server.url, url))
        with pytest.raises(Unreachable):
            authority_of(load(line.job)).cacerts()
    assert time.monotonic() - begun < 10


def test_birth_certificates(tmp_path: Path) -> None:
    rule = {"users": STATION, "role": "ra", "subject": "serialNumber=A*", "san": _HARDWARE}
    with server_of(tmp_path, policy={"rule": [rule]}) as server:
        line = Line(server, tmp_path, 1, "way = 'birth'")
        text = line.job.read_text().replace("CN=unit-{serial}", "serialNumber={serial}")
        line.job.write_text(text + '[birth]\nhardware_type = "1.3.6.1.4.1.32473.1"\n')
        line.plug()
        try:
            line.run()
        finally:
            line.unplug()
        line.check(1)
        pem = (line.boards[0].root / "birth.pem").read_bytes()
        birth = x509.load_pem_x509_certificate(pem)
        assert birth.subject.rfc4514_string() == "2.5.4.5=A001"
        [name] = birth.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert name.value.endswith(b"A001")

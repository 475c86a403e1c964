"""What goes wrong around a line: workers, stations, servers, ledgers, clocks and boards."""

import os
import signal
import socket
import time
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ports
import pytest
from line_of_boards import PASSWORD, STATION, Make, Run, board, make_here, step
from postgres import Postgres

from mpest.exits import Exit
from mpest.station import firmware, worker
from mpest.station.authority import Authority
from mpest.station.board_run import Bench
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Who
from mpest.station.outcome import Outcome
from mpest.station.ports import Plugged

pytestmark = pytest.mark.timeout(120)


def _workers(run: Run) -> list[int]:
    """Process ids of the workers of ports, first the one that started first."""
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    return [pid for pid in map(int, children) if b"spawn_main" in _command(pid)]


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_worker_is_killed(make: Make) -> None:
    """At whatever it waits: another goes on, and the line ends as it should."""
    line = make(1)
    with line.start() as run:
        run.until(lambda event: event["event"] == "counts")
        # It sees no board, sees one, and makes one.
        os.kill(_workers(run)[0], signal.SIGKILL)
        run.until(lambda event: event["event"] == "note")
        line.plug()
        run.until(step("key"))
        os.kill(_workers(run)[0], signal.SIGKILL)
        told = run.until(lambda event: event["event"] == "note")
        assert told["message"] == "the worker ended with -9: another begins"
        run.until(board("done"))
        run.end()
    line.check(1)


def test_a_worker_that_waits_is_killed(make: Make) -> None:
    """With a stop that all workers share, the line would wait for the dead one to take notice."""
    line = make(2)
    line.plug()
    with line.start("--limit", "1") as run:
        begun = run.until(step("settings"))
        # The other one has a board too, and waits for its turn.
        other = int(begun["port"] == str(line.port(0)))
        os.kill(_workers(run)[other], signal.SIGKILL)
        run.end()
    line.check(1)


def test_the_next_board_is_in_as_soon_as_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not count as the one that was made, for which the worker would wait for ever."""
    plugged = [Plugged(f"/dev/{number}", number, number, "") for number in range(2)]
    told: list[str] = []

    class Line:
        def begin(self) -> str:
            return "Ann"

        def tell(self, event: dict[str, Any]) -> None:
            told.append(event.get("state") or event["event"])
            if event["event"] == "board":
                del plugged[0]

        def pause(self, seconds: float) -> bool:
            return len(told) > 1  # that it waits is the end of this test

        def ended(self, *, counts: bool) -> None:
            pass

        gone = stopping = lambda self: False

    class Port:
        name = "port-1"

        def board(self) -> Plugged:
            return plugged[0]

    shared: Any = SimpleNamespace(labels=False)
    making: Any = worker._Worker(shared, Port(), Line())  # type: ignore[arg-type]
    monkeypatch.setattr(making, "_make", lambda _: Outcome("done"))
    nothing: Any = None
    who = Who("station-1", "port-1", "")
    making._next(Bench(nothing, who, nothing, nothing, [], nothing, nothing))
    assert told == ["here", "board", "gone"]


def test_the_line_alone_is_killed(make: Make) -> None:
    """Its workers stop too, and the next start finds them gone."""
    line = make(1)
    line.plug()
    with line.start() as run:
        run.until(step("settings"))
        workers = _workers(run)
        os.kill(run.pid, signal.SIGKILL)
        end = time.monotonic() + 60
        while any(Path(f"/proc/{pid}").exists() for pid in workers):
            assert time.monotonic() < end, "a worker goes on alone"
            time.sleep(0.1)
    line.run()
    line.check(1)


def test_a_station_ends_when_another_has_made_the_rest(make: Make) -> None:
    line = make(1)
    other = line.folder / "job-2.toml"
    other.write_text(line.job.read_text().replace("station-1", "station-2"))
    with Run(other, ["--port", str(line.port(1))], ()) as idle:
        idle.until(lambda event: event["event"] == "counts")
        line.plug()
        line.run()
        assert idle.end()[-1]["done"] == 1
    line.check(1)


def test_boards_of_one_unique_id(make: Make) -> None:
    """Two are set aside; with the third the job stops, for what reads it is wrong."""
    line = make(3)
    for copy in line.boards[1:]:
        copy.unique_id = line.boards[0].unique_id
    line.plug()
    with line.start() as run:
        told = run.until(lambda event: event["event"] == "stop")
        assert "3 boards say unique id 0a0b0c0000: what reads it is wrong" in told["message"]
        list(run)
        assert run.code() == Exit.REFUSED
    with Ledger(str(line.ledger)) as ledger:
        assert ledger.counts("batch-1").done == 0


def test_a_second_ctrl_c_ends_it_at_once(make: Make) -> None:
    line = make(1, "[hooks.after]\nsettings = ['sleep', '100']\n")
    line.plug()
    with line.start() as run:
        run.until(step("settings", "done"))
        run.interrupt()
        time.sleep(1)
        run.interrupt()
        begun = time.monotonic()
        run.end()
        assert time.monotonic() - begun < 30
    line.check(0)


def test_postgresql_restarts_amid_steps(make: Make, postgres: Postgres) -> None:
    url = postgres.empty()
    line = make(1, "ledger_password = {file = 'ledger-password'}")
    secret = line.folder / "ledger-password"
    secret.write_text(postgres.password)
    secret.chmod(0o600)
    bare = url.replace(f":{postgres.password}@", "@")
    line.job.write_text(line.job.read_text().replace("station =", f"ledger = '{bare}'\nstation ="))
    line.plug()
    with line.start() as run:
        run.until(step("settings"))
        postgres.stop(signal.SIGQUIT)
        run.until(step("settings", "done"))
        postgres.start()
        run.until(board("done"))
        run.end()
    with Ledger(url) as ledger:
        assert ledger.counts("batch-1").done == len(ledger.certificates()) == 1
    assert len(line.server.issued()) == 1


def test_the_server_answers_with_another_key(make: Make) -> None:
    """The board fails; nothing that the server says reaches it."""
    line = make(1)
    line.server.config.faults = {"wrong-key"}
    line.plug()
    with line.start("--limit", "1") as run:
        told = run.until(board("failed"))
        assert told["step"] == "enrol"
        run.end()
    line.server.config.faults = set()
    assert [event["outcome"] for event in line.run() if event["event"] == "board"] == ["done"]


# One board in this process, which is quicker.


class _Late(Authority):
    """A server whose Date is ten minutes ahead."""

    def now(self) -> datetime:
        return super().now() + timedelta(minutes=10)


def test_a_clock_that_is_wrong(make: Make) -> None:
    line = make(1)
    outcome = make_here(line, authority=_Late)
    assert outcome.kind == "waiting"
    assert "minutes from the server's: set it" in outcome.message
    with Ledger(str(line.ledger)) as ledger:
        assert ledger.counts("batch-1").open == 1


def test_another_kind_of_board(make: Make) -> None:
    line = make(1)
    outcome = make_here(line, machine=("esp32", "Generic ESP32 module with ESP32"))
    assert (outcome.kind, outcome.step) == ("refused", "identify")
    with Ledger(str(line.ledger)) as ledger:
        assert ledger.counts("batch-1").open == 1


def test_the_quantity_is_reached(make: Make) -> None:
    line = make(2, "quantity = 1")
    assert make_here(line).kind == "done"
    outcome = make_here(line, unique_id="0a0b0d")
    assert outcome.kind == "stop"
    assert "has its 1 boards" in outcome.message
    line.check(1)


def test_the_server_refuses(make: Make) -> None:
    """The board fails, and is made with the same key once the server does not."""
    line = make(1)
    line.server.config.faults = {"http-403@simpleenroll"}
    outcome = make_here(line)
    assert (outcome.kind, outcome.step) == ("failed", "enrol")
    with Ledger(str(line.ledger)) as ledger:
        [before] = ledger.units("batch-1")
    line.server.config.faults = set()
    assert make_here(line).kind == "done"
    with Ledger(str(line.ledger)) as ledger:
        assert ledger.units("batch-1")[0].key_hash == before.key_hash
    line.check(1)


class _Elsewhere(Authority):
    """One whose server is another by the time of the request: nobody listens there."""

    def enroll(self, csr: bytes) -> bytes:
        return self._other(f"https://127.0.0.1:{ports.reserve()}").enroll(csr)

    def _other(self, url: str) -> Authority:
        return Authority(url, self._trust_text, user=STATION, password=PASSWORD, seconds=1)

    def __init__(self, url: str, trust: str, **others: Any) -> None:
        super().__init__(url, trust, **others)
        self._trust_text = trust


class _Silent(_Elsewhere):
    """It accepts a connection, and says nothing."""

    def enroll(self, csr: bytes) -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            return self._other(f"https://127.0.0.1:{silent.getsockname()[1]}").enroll(csr)


@pytest.mark.parametrize(
    ("authority", "fault"),
    [
        (_Elsewhere, ""),
        (_Silent, ""),
        (Authority, "cut-connection@simpleenroll"),
        (Authority, "truncated-body@simpleenroll"),
    ],
)
def test_the_server_goes_away_amid_a_board(
    make: Make, authority: type[Authority], fault: str
) -> None:
    """The board waits, and is made by the same request: one certificate."""
    line = make(1)
    line.server.config.faults = {fault} if fault else set()
    outcome = make_here(line, authority=authority)
    assert (outcome.kind, outcome.step) == ("waiting", "enrol"), outcome
    assert outcome.seconds >= 1
    with Ledger(str(line.ledger)) as ledger:
        [before] = ledger.units("batch-1")
    assert before.key_hash and before.failures == 0
    line.server.config.faults = set()
    assert make_here(line).kind == "done"
    with Ledger(str(line.ledger)) as ledger:
        assert ledger.units("batch-1")[0].key_hash == before.key_hash
    line.check(1)


def test_firmware_that_is_written_twice(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the rate of a line was too fast stands in the history."""

    def write(*arguments: Any) -> None:
        assert arguments[3] == "0a0b0c"  # to which board
        arguments[-1]("the line was too fast")

    monkeypatch.setattr(firmware, "write", write)
    line = make(1)
    assert make_here(line, job={"firmware_sha256": "AB" * 32}).kind == "done"
    with Ledger(str(line.ledger)) as ledger:
        steps = [event for event in ledger.history("A001") if event.step == "firmware"]
    assert [(event.outcome, event.detail) for event in steps] == [
        ("again", {"reason": "the line was too fast"}),
        ("done", {"sha256": "ab" * 32}),
    ]

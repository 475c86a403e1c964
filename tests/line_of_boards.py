"""A line for tests: a server, a job, boards behind pseudo terminals, and `mpest provision`.

A port keeps its name, a link in a folder, whatever board is plugged in there.
"""

import json
import os
import signal
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import station_board
from cryptography import x509

from mpest import runtimes
from mpest.flash import application
from mpest.server import EstServer, ServerConfig, running_server
from mpest.station import job
from mpest.station.authority import Authority
from mpest.station.board_run import Bench
from mpest.station.ledger.ledger import LEASE, Ledger
from mpest.station.ledger.units import Certificate, Who
from mpest.station.link import SIMULATED, Simulated
from mpest.station.making import Making, Outcome
from mpest.station.ports import Port
from mpest.station.request import key_hash

STATION, PASSWORD = "station", "its password"
_SECONDS = 120.0

Event = dict[str, Any]


@contextmanager
def server_of(folder: Path, **changes: Any) -> Iterator[EstServer]:
    """A server that lets the station bring the requests of units."""
    rule = {"users": STATION, "role": "ra", "subject": "CN=unit-*"}
    usual = {"auth": "basic", "users": {STATION: PASSWORD}, "policy": {"rule": [rule]}}
    config = ServerConfig(directory=folder / "ca", **{"chain_length": 2, **usual, **changes})
    with running_server(config) as server:
        yield server


class Board:
    """One that is plugged in at `port`, a name in the folder of ports."""

    def __init__(self, root: Path, unique_id: str) -> None:
        self.root = root
        self.unique_id = unique_id
        self._process: subprocess.Popen[bytes] | None = None
        self._port: Path | None = None

    def plug(self, port: Path) -> None:
        self._open(port)
        self._start()

    def _open(self, port: Path) -> None:
        port.parent.mkdir(exist_ok=True)
        self._near, self._far = os.openpty()
        tty.setraw(self._far)
        port.symlink_to(os.ttyname(self._far))
        self._port = port

    def _start(self) -> None:
        self.root.mkdir(exist_ok=True)
        program = runtimes.find("micropython")
        self._process = subprocess.Popen(
            [*program.argv, SIMULATED, *station_board.MACHINE, "0", self.unique_id],
            stdin=self._near,
            stdout=self._near,
            stderr=subprocess.DEVNULL,
            cwd=self.root,
            env={**os.environ, **program.env},
        )

    def unplug(self) -> None:
        if self._port:
            self._port.unlink()
            if self._process:
                self._process.kill()
                self._process.wait()
            os.close(self._near)
            os.close(self._far)
            self._process = self._port = None


class Line:
    """A job for `count` boards in `folder`, and what came of it."""

    def __init__(self, server: EstServer, folder: Path, count: int, more: str = "") -> None:
        self.server = server
        self.folder = folder
        self.job = folder / "job.toml"
        station_board.profile(folder / "boards")
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o600)
        (folder / "config.json").write_text(json.dumps({"sha256": server.fingerprint}))
        self.job.write_text(
            f"""
name = "batch-1"
board = "SIMULATED"
boards = "boards"
subject = "CN=unit-{{serial}}"
settings = "config.json"
station = "station-1"
{more}
[server]
url = "{server.url}"
trust = "sha256:{server.fingerprint}"
user = "{STATION}"
password = {{file = "password"}}
[devices]
range = {{first = "{self.serial(1, count)}", last = "{self.serial(count, count)}"}}
"""
        )
        self.boards = [Board(folder / f"board-{at}", f"0a0b0c{at:04x}") for at in range(count)]

    @staticmethod
    def serial(number: int, count: int) -> str:
        return f"A{number:0{max(len(str(count)), 3)}}"

    def port(self, at: int) -> Path:
        return self.folder / "ports" / f"port-{at}"

    def plug(self) -> None:
        for at, board in enumerate(self.boards):
            board.plug(self.port(at))

    def unplug(self) -> None:
        for board in self.boards:
            board.unplug()

    def start(self, *options: str, ports: int = 0, terminal: bool = False) -> "Run":
        devices = [str(self.port(at)) for at in range(ports or len(self.boards))]
        words = [word for device in devices for word in ("--port", device)]
        return Run(self.job, words, options, terminal=terminal)

    def run(self, *options: str) -> list[Event]:
        """All events of a run to its end, which must be well."""
        with self.start(*options) as run:
            return run.end()

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

    def certificates(self) -> list[Certificate]:
        with Ledger(str(self.ledger)) as ledger:
            return ledger.certificates()

    def check(self, done: int) -> None:
        """So many boards are made; nothing was issued twice, and nothing that is not recorded."""
        issued = [x509.load_der_x509_certificate(entry.der) for entry in self.server.issued()]
        keys = [key_hash(entry.public_key()) for entry in issued]
        assert len(keys) == len(set(keys)), "two certificates for one key"
        with Ledger(str(self.ledger)) as ledger:
            recorded = {entry.key_hash: entry for entry in ledger.certificates()}
            assert set(keys) == set(recorded)
            counts = ledger.counts("batch-1")
            assert counts.done == done, counts
            assert sum(entry.proven is not None for entry in recorded.values()) == done
            assert len(recorded) == len({entry.serial for entry in recorded.values()})


Make = Callable[..., Line]
"""make(count, more) of conftest.py."""


class Run:
    """`mpest provision`, whose events are iterated over."""

    def __init__(
        self,
        job: Path,
        ports: list[str],
        options: tuple[str, ...],
        *,
        show: bool = True,
        terminal: bool = False,
    ) -> None:
        """show: what it says is printed. terminal: it has one, and `type` types there."""
        self.show = show
        # A shell starts what is in its background with SIGINT ignored.
        command = ["env", "--default-signal=INT", sys.executable, "-m", "mpest", "provision"]
        self._keyboard, far = os.openpty() if terminal else (None, None)
        self._process = subprocess.Popen(
            [
                *(("setsid", "--ctty") if terminal else ()),
                *command,
                *(str(job), "--json", "--operator", "Ann", *ports, *options),
            ],
            stdin=subprocess.DEVNULL if far is None else far,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=not terminal,  # setsid begins one
        )
        if far is not None:
            os.close(far)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        assert self._process.stdout and self._process.stderr
        self._process.stdout.close()
        self._process.stderr.close()
        if self._keyboard is not None:
            os.close(self._keyboard)

    def type(self, line: str) -> None:
        """As a person, or a scanner, types at its terminal."""
        assert self._keyboard is not None
        os.write(self._keyboard, f"{line}\n".encode())

    def __iter__(self) -> Iterator[Event]:
        assert self._process.stdout
        for line in self._process.stdout:
            if self.show:
                print(line, end="")
            yield json.loads(line)

    def close_output(self) -> None:
        """Nobody reads what it tells any more."""
        assert self._process.stdout
        self._process.stdout.close()

    def until(self, wanted: Callable[[Event], bool], seconds: float = _SECONDS) -> Event:
        """The first such event."""
        seen = []
        end = time.monotonic() + seconds
        for event in self:
            seen.append(event)
            if wanted(event):
                return event
            assert time.monotonic() < end, seen
        raise AssertionError(f"it ended before: {seen}, {self.said()}")

    def until_all(self, *wanted: Callable[[Event], bool]) -> list[Event]:
        """The first such event of each kind, in whatever order they come."""
        seen: dict[int, Event] = {}

        def all_seen(event: Event) -> bool:
            for at, is_wanted in enumerate(wanted):
                if at not in seen and is_wanted(event):
                    seen[at] = event
            return len(seen) == len(wanted)

        self.until(all_seen)
        return [seen[at] for at in range(len(wanted))]

    def end(self) -> list[Event]:
        """All events that are left. The end must be well."""
        events = list(self)
        assert self.code() == 0, (events, self.said())
        return events

    def interrupt(self) -> None:
        """As Ctrl-C in a terminal, which all processes get."""
        os.killpg(self._process.pid, signal.SIGINT)

    def kill(self) -> None:
        """All of its processes, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def pid(self) -> int:
        """Of its first process; the others are of the same session."""
        return self._process.pid

    def code(self) -> int:
        return self._process.wait(_SECONDS)

    def said(self) -> str:
        assert self._process.stderr
        return self._process.stderr.read()


def step(name: str, outcome: str = "begun") -> Callable[[Event], bool]:
    """Whether an event is that of a step."""
    return lambda event: (
        (event["event"], event.get("step"), event.get("outcome"))
        == (
            "step",
            name,
            outcome,
        )
    )


def board(outcome: str) -> Callable[[Event], bool]:
    """Whether an event tells what became of a board."""
    return lambda event: (event["event"], event.get("outcome")) == ("board", outcome)


def make_here(line: Line, **changes: Any) -> Outcome:
    """What becomes of a board of `line` that this process makes.

    changes: machine, unique_id, authority (its class), job (what is another in it), emit; or
    port and link of one that is plugged in.
    """
    made, problems = job.read(line.job)
    assert not problems
    made = made.model_copy(update=changes.get("job", {}))
    machine = changes.get("machine", station_board.MACHINE)
    root = line.folder / f"board-{changes.get('unique_id', '0a0b0c')}"
    authority = changes.get("authority", Authority)(
        made.server.url, str(made.server.trust), user=STATION, password=PASSWORD
    )
    link = changes.get("link") or Simulated(
        runtimes.find("micropython"), root, machine, changes.get("unique_id", "0a0b0c")
    )
    with Ledger(str(line.ledger)) as ledger:
        ledger.open_batch(made.name, made.digest, made.quantity, list(made.units()), {})
        bench = Bench(
            job=made,
            who=Who("station-1", "1-1", "Ann"),
            ledger=ledger,
            authority=authority,
            files=application.files(made.profile),
            others=lambda _: [],
            lease=LEASE,
        )
        try:
            return Making(
                bench,
                changes.get("port", Port("1-1", str(root))),
                link,
                changes.get("emit", lambda *_, **__: None),
                lambda: False,
            ).run()
        finally:
            link.close()
            authority.close()

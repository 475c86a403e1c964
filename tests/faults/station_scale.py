"""Many boards over the workers of two stations, of which one is killed again and again.

A robot at each port plugs in one simulated board after the other, and takes it out when the
station says that it is done. Afterwards every board was made once, by one key and one certificate,
and the ledger has what the server issued, no more and no less.
"""

import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import busy
import postgres
import station_board
from cryptography import x509
from line import MEMORY
from line_of_boards import Event, Line, Run, server_of

from mpest.flash import application
from mpest.station.ledger.ledger import Ledger

STATIONS = 2
PORTS = 4  # of each
_AWAY = 0.5  # seconds that a port is empty between two boards
_LATER = 3.0  # seconds: within as many after its moment a kill comes
_SILENT = 300.0  # seconds in which some board must have been made
_TOLD = 500  # boards after which a long run says how far it is
# What becomes of a board that is made; after anything else the station goes on with it.
_MADE = ("done", "known")


class _Robot(threading.Thread):
    """Plugs in boards at one port, as long as there are any."""

    def __init__(self, port: Path, template: Path, supply: "queue.Queue[Any]") -> None:
        super().__init__(daemon=True)
        self.port = port
        self._template = template
        self._supply = supply
        self._made = threading.Event()

    def run(self) -> None:
        while True:
            try:
                board = self._supply.get_nowait()
            except queue.Empty:
                return
            shutil.copytree(self._template, board.root, copy_function=os.link)
            self._made.clear()
            board.plug(self.port)
            self._made.wait()
            board.unplug()
            shutil.rmtree(board.root)
            time.sleep(_AWAY)

    def made(self) -> None:
        self._made.set()


class _Station:
    """`mpest provision` at some ports, started as often as it is killed."""

    def __init__(self, job: Path, robots: list[_Robot], told: "queue.Queue[str]") -> None:
        self._job = job
        self._robots = {str(robot.port): robot for robot in robots}
        self._told = told
        self.outcomes: Counter[str] = Counter()
        self.messages: list[str] = []
        self.costs: list[tuple[float, int]] = []
        """CPU seconds of its processes between its first board and its last, and of how many."""
        self.start()

    def start(self) -> None:
        ports = [word for port in self._robots for word in ("--port", port)]
        self.process = Run(self._job, ports, (), show=False)
        self._listener = threading.Thread(target=self._listen, args=(self.process,), daemon=True)
        self._listener.start()

    def kill(self) -> None:
        self.process.kill()
        self._listener.join()

    def end(self) -> list[str]:
        """Wait until it ends by itself; what is wrong with that."""
        try:
            code = self.process.code()
        except subprocess.TimeoutExpired:
            return [f"{self._job.name} does not end"]
        self._listener.join()
        return [f"{self._job.name} ended with {code}: {self.process.said()}"] if code else []

    def _listen(self, process: Run) -> None:
        first, cost, boards = 0.0, 0.0, 0
        for event in process:
            self._heed(event)
            if event["event"] == "board":
                cost = busy.session(process.pid) or cost
                first = first or cost
                boards += 1
        self.costs.append((cost - first, max(boards - 1, 0)))

    def _heed(self, event: Event) -> None:
        if event["event"] in ("note", "stop"):
            self.messages.append(event["message"])
        if event["event"] != "board":
            return
        self.outcomes[event["outcome"]] += 1
        if event["outcome"] in _MADE:
            self._robots[event["port"]].made()
            self._told.put(event["serial"])
        else:
            self.messages.append(f"{event['outcome']}: {event.get('message')}")


@contextmanager
def _ledger(kind: str) -> Iterator[tuple[str, str, str]]:
    """(entries of a job, its URL, a password) of a ledger of its own."""
    if kind == "sqlite":
        yield "", "", ""
        return
    with postgres.running() as server:
        url = server.url()
        bare = url.replace(f":{server.password}@", "@")
        yield (
            f"ledger = '{bare}'\nledger_password = {{file = 'ledger-password'}}\n",
            url,
            server.password,
        )


def run(
    boards: int, kills: int, seed: int, ledger: str = "postgresql", stations: int = STATIONS
) -> dict[str, Any]:
    """Counts, and `problems`. ledger: postgresql, sqlite."""
    with (
        tempfile.TemporaryDirectory(prefix="mpest-scale-", dir=MEMORY) as name,
        _ledger(ledger) as (more, url, password),
    ):
        folder = Path(name)
        secret = folder / "ledger-password"
        secret.write_text(password)
        secret.chmod(0o600)
        with server_of(folder) as server:
            line = Line(server, folder, boards, more)
            return _run(line, url or str(line.ledger), kills, random.Random(seed), stations)


def _run(line: Line, url: str, kills: int, chance: random.Random, stations: int) -> dict[str, Any]:
    template = line.folder / "template"
    template.mkdir()
    profile = station_board.profile(line.folder / "boards")
    *application_files, _ = application.files(profile)  # main.py is written to each
    station_board.place(application_files, template)
    supply: queue.Queue[Any] = queue.Queue()
    for board in line.boards:
        supply.put(board)
    told: queue.Queue[str] = queue.Queue()
    made: set[str] = set()
    # As many boards must be made before each kill: it hits some while they are being made.
    moments = sorted(chance.sample(range(len(line.boards) - stations * PORTS), kills))
    begun = time.monotonic()
    running: list[_Station] = []
    problems: list[str] = []
    killed = 0
    try:
        for number in range(stations):
            ports = [line.port(number * PORTS + at) for at in range(PORTS)]
            robots = [_Robot(port, template, supply) for port in ports]
            running.append(_Station(_job(line, number), robots, told))
            for robot in robots:
                robot.start()
        while len(made) < len(line.boards):
            try:
                made.add(told.get(timeout=_SILENT))
            except queue.Empty:
                problems.append(f"no board was made within {_SILENT:.0f} s")
                break
            if len(made) % _TOLD == 0:
                print(len(made), round(time.monotonic() - begun), "s", file=sys.stderr, flush=True)
            if killed < kills and len(made) > moments[killed]:
                time.sleep(chance.uniform(0, _LATER))
                victim = running[chance.randrange(stations)]
                victim.kill()
                victim.start()
                killed += 1
        seconds = time.monotonic() - begun
        for station in running if not problems else []:
            problems += station.end()
    finally:
        for station in running:
            station.process.kill()
        for board in line.boards:
            board.unplug()
    problems += _wrong(line, url)
    outcomes = sum((station.outcomes for station in running), Counter[str]())
    if problems or outcomes["failed"] or outcomes["refused"]:
        problems += [message for station in running for message in station.messages][-20:]
    costs = [cost for station in running for cost in station.costs]
    counted = sum(number for _, number in costs)
    return {
        "boards": len(made),
        "killed stations": killed,
        "told twice": outcomes["known"],
        "boards an hour": round(3600 * len(made) / seconds),
        "station's CPU ms per board": round(1000 * sum(cost for cost, _ in costs) / counted)
        if counted
        else 0,
        "problems": problems,
    }


def _job(line: Line, number: int) -> Path:
    """The job of another station; its batch is the same."""
    job = line.folder / f"job-{number}.toml"
    job.write_text(line.job.read_text().replace("station-1", f"station-{number + 1}"))
    return job


def _wrong(line: Line, url: str) -> list[str]:
    """What is wrong with ledger and server."""
    problems = []
    issued = [entry.der for entry in line.server.issued()]
    count = len(line.boards)

    def expect(what: str, found: object, expected: object) -> None:
        if found != expected:
            problems.append(f"{what}: {found}, not {expected}")

    expect("certificates issued", len(issued), count)
    keys = {x509.load_der_x509_certificate(der).public_key().public_numbers() for der in issued}  # type: ignore[union-attr]
    expect("their keys", len(keys), count)
    with Ledger(url) as ledger:
        units, history = ledger.units("batch-1"), ledger.history()
        recorded = {entry.fingerprint for entry in ledger.certificates()}
    expect("states of the units", Counter(unit.state for unit in units), {"done": count})
    expect("leases left", sum(unit.lease is not None for unit in units), 0)
    expect("serial numbers", len({unit.serial for unit in units}), count)
    numbers = {unit.unique_id for unit in units}
    expect("unique ids", len(numbers), count)
    expect("keys in the ledger", len({unit.key_hash for unit in units}), count)
    expect(
        "certificates in the ledger", recorded == {sha256(der).hexdigest() for der in issued}, True
    )
    finished = Counter(event.serial for event in history if event.event == "finish")
    expect("boards finished once", Counter(finished.values()), {1: count})
    return problems

"""Eight processes make the boards of one batch: no unit twice, none lost, whoever dies."""

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import ledger_worker
from ledger_boards import board, units
from postgres import Postgres

from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Leased, QuantityReached, Who

WORKERS = 8
PROGRAM = Path(ledger_worker.__file__)


class Line:
    """Boards, a batch with as many units, and workers that make them."""

    def __init__(self, url: str, folder: Path, number: int) -> None:
        self.url = url
        self._path = folder / "boards"
        self.boards = [board(f"{1000 + count:08x}") for count in range(number)]
        self._path.write_bytes(pickle.dumps(self.boards))
        with Ledger(url) as ledger:
            ledger.open_batch("one", "digest", number, units(number), {})

    def start(self, number: int, *, lease: float = 600, hold: bool = False) -> subprocess.Popen:
        words = ["one", self._path, str(number), str(lease), "hold" if hold else "work"]
        environment = {**os.environ, "PYTHONPATH": str(PROGRAM.parent)}
        return subprocess.Popen(
            [sys.executable, PROGRAM, self.url, *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def check(self, issued_again: int = 0) -> None:
        """All boards are done, each as one unit with one key and one certificate."""
        with Ledger(self.url) as ledger:
            made = ledger.units("one")
            certificates = ledger.certificates()
            finished = Counter(
                event.serial for event in ledger.history() if event.event == "finish"
            )
        assert {unit.state for unit in made} == {"done"}
        ids = [one.unique_id for one in self.boards]
        assert sorted(unit.unique_id for unit in made) == sorted(ids)
        keys = {one.unique_id: one.key_hash for one in self.boards}
        assert all(unit.key_hash == keys[unit.unique_id] for unit in made)
        assert sorted(one.serial for one in certificates) == sorted(one.serial for one in made)
        assert set(finished.values()) == {1} and len(finished) == len(made)
        issued = Counter(self._path.with_suffix(".issued").read_text().split())
        assert set(issued) == set(ids)
        assert sum(issued.values()) <= len(ids) + issued_again


def ended(workers: list[subprocess.Popen]) -> None:
    for worker in workers:
        _, said = worker.communicate(timeout=100)
        assert worker.returncode == 0, said


@contextmanager
def working(line: Line, number: int, lease: float = 600) -> Iterator[list[subprocess.Popen]]:
    workers = [line.start(one, lease=lease) for one in range(number)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def test_eight_workers_of_which_one_is_killed(ledger_url: str, tmp_path: Path) -> None:
    line = Line(ledger_url, tmp_path, 30)
    with line.start(WORKERS, lease=5, hold=True) as killed:
        assert killed.stdout
        assert killed.stdout.readline() == "working\n"
        killed.kill()
    with Ledger(ledger_url) as ledger:
        held = [unit for unit in ledger.units("one") if unit.key_hash]
    assert len(held) == ledger_worker.HELD
    with working(line, WORKERS - 1) as workers:
        ended(workers)
    line.check()


def test_the_last_boards_of_a_quantity(ledger_url: str) -> None:
    """Eight at once want three units that may still be made, and two want to be one board."""
    ids = [f"{1000 + number:08x}" for number in range(WORKERS - 1)]
    ids.append(ids[0])
    barrier = threading.Barrier(WORKERS)

    def claim(number: int) -> str:
        who = Who("station-1", f"1-{number}", "ann")
        with Ledger(ledger_url) as ledger:
            barrier.wait(timeout=60)
            try:
                return ledger.claim(batch, who, ids[number]).serial
            except (Leased, QuantityReached) as error:
                return type(error).__name__

    for turn in range(5):
        batch = f"batch-{turn}"
        with Ledger(ledger_url) as ledger:
            ledger.open_batch(batch, "d", 3, units(20, start=20 * turn), {})
        with ThreadPoolExecutor(WORKERS) as pool:
            outcomes = list(pool.map(claim, range(WORKERS)))
        serials = [outcome for outcome in outcomes if outcome.startswith("A")]
        assert len(serials) == 3 == len(set(serials)), outcomes
        pair = {outcomes[0], outcomes[-1]}
        assert "Leased" in pair if pair & set(serials) else pair == {"QuantityReached"}
        ids = [f"{int(one, 16) + 1000:08x}" for one in ids]


def test_postgresql_restarts_amid(postgres: Postgres, tmp_path: Path) -> None:
    line = Line(postgres.empty(), tmp_path, 30)
    with working(line, 3) as workers:
        for worker in workers:
            assert worker.stdout
            worker.stdout.readline()
        postgres.stop(signal.SIGQUIT)  # as after a crash
        postgres.start()
        ended(workers)
    line.check()

"""A board's process that is killed at any instant, and started again.

`run` kills a board with SIGKILL while it enrols or renews, at instants drawn over the time that it
takes, and starts it again as an application does: what is lacking is asked for. The identity must
never be gone or mixed, the second run must succeed, and where the first one's request reached the
server, the second must have asked for the same key, or a password that works once would be spent.
"""

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import line

from mpest.server import EstServer, ServerConfig, running_server

RUNTIMES = ("micropython", "cpython")
# What is killed: a command, and whether the board is new.
OPERATIONS = {
    "enroll": ("enroll", True),
    "reenroll": ("reenroll", False),
    "enrol by steps": ("steps", True),
    "renew by steps": ("steps", False),
}
# How often a kill comes while the program is still being loaded, and how often only after the
# server has issued the certificate, which is when most is at stake.
EARLY, LATE = 0.15, 0.5


class _Bench:
    """Boards of one name, one after the other, in one folder."""

    def __init__(
        self, server: EstServer, runtime: str, folder: Path, name: str, flaw: str
    ) -> None:
        self._server = server
        self._runtime = runtime
        self._state = folder / name
        self._name = name
        self._flaw = flaw
        self._issued = line.Issued(server)
        self._seconds = dict.fromkeys(OPERATIONS, 0.0)
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []

    def _board(self) -> line.Line:
        return line.Line(
            self._server, self._runtime, self._state, name=self._name, flaw=self._flaw
        )

    def measure(self, operations: Sequence[str]) -> None:
        """Learn how long start and operations take without a kill."""
        for operation in operations:
            command, new = OPERATIONS[operation]
            for _ in range(2):  # the first time what is loaded comes from the disk
                if new:
                    shutil.rmtree(self._state, ignore_errors=True)
                with self._board() as board:
                    started = time.monotonic()
                    board.start()
                    self._start = time.monotonic() - started
                    answer = board.do(command)
                    assert answer["ok"], answer
                    self._seconds[operation] = time.monotonic() - started - self._start

    def try_kill(self, operation: str, chance: random.Random) -> None:
        self.counts["tries"] += 1
        text = f"{self._runtime}, {operation}"
        try:
            for problem in self._killed(operation, chance):
                self.problems.append(f"{text}: {problem}")
        except (line.Silent, AssertionError) as error:
            self.problems.append(f"{text}: {error}")
            shutil.rmtree(self._state)

    def _killed(self, operation: str, chance: random.Random) -> list[str]:
        command, new = OPERATIONS[operation]
        if new:
            shutil.rmtree(self._state, ignore_errors=True)
        old = line.identity(self._state) if self._state.exists() else None
        if not (new or old):
            with self._board() as board:
                board.start()
                assert board.do("enroll")["ok"]
            old = line.identity(self._state)
        place = self._issued.count()
        with self._board() as board:
            drawn = chance.random()
            if drawn < EARLY:
                board.begin(command)
                time.sleep(chance.uniform(0, self._start))
            else:
                board.start()
                board.say(do=command, timeout=30)
                seconds = self._seconds[operation]
                if drawn > 1 - LATE:
                    while not (board.ready() or self._issued.since(place, self._name)):
                        time.sleep(0.001)
                    seconds /= 2
                time.sleep(chance.uniform(0, seconds))
            board.kill()
        before = self._issued.since(place, self._name)
        now = line.identity(self._state)
        problems = []
        if old and not now:
            problems.append("the identity is lost")
        if now != old:
            self.counts["killed when all was done"] += 1
        elif before:
            self.counts["killed after the request arrived"] += 1
        else:
            self.counts["killed before"] += 1
        with self._board() as board:
            board.start()
            if now == old:
                again = board.do(command)
                if not again["ok"]:
                    problems.append(f"the next run fails: {again['error']}: {again['message']}")
        found = self._issued.since(place, self._name)
        now = line.identity(self._state)
        if not now or now not in found:
            problems.append("no new identity after the next run")
        elif not line.works(self._server, self._state):
            problems.append("the identity is refused")
        if len({line.spki(one) for one in found}) > 1:
            problems.append("a second key for one order")
        return problems


def run(
    count: int = 2000,
    seed: int = 0,
    *,
    runtimes: Sequence[str] = RUNTIMES,
    operations: Sequence[str] = tuple(OPERATIONS),
    boards: int = 2,
    flaw: str = "",
) -> dict[str, Any]:
    """Kill so often, shared among the runtimes. Returns counts, and as `problems` a list of texts,
    empty where all is well.
    """
    counts: Counter[str] = Counter()
    problems: list[str] = []
    with tempfile.TemporaryDirectory(dir=line.MEMORY) as name:
        config = ServerConfig(
            directory=Path(name, "ca"),
            auth="basic",
            users={line.USER: line.PASSWORD},
            mtls_probe=True,
            lifetime=timedelta(hours=1),
        )
        with running_server(config) as server:
            benches = [
                _Bench(
                    server, runtimes[number % len(runtimes)], Path(name), f"board-{number}", flaw
                )
                for number in range(max(boards, len(runtimes)))
            ]

            def run_board(number: int) -> None:
                bench = benches[number]
                chance = random.Random(seed * 1000 + number)
                bench.measure(operations)
                for _ in range(number, count, len(benches)):
                    bench.try_kill(chance.choice(operations), chance)

            with ThreadPoolExecutor(len(benches)) as pool:
                for done in [pool.submit(run_board, number) for number in range(len(benches))]:
                    done.result()
            for bench in benches:
                counts += bench.counts
                problems += bench.problems
    return {**counts, "problems": problems}

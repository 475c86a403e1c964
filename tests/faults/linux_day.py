"""A day of the agent on Linux in simulated time: certificates of an hour, and whatever goes wrong.

At every moment what other programs read is a certificate with its own key, and not an ended one;
hooks run for each. World and clock are tests/faults/world.py's, files and hooks are real.
"""

import heapq
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest import mock

import life as simulation
import line
import world

from est import keys, pem, posix, x509
from estd import config, events, hooks, system
from estd import life as agent

HOUR = 3600
_WHOLE = 100
# Of a day, how long nothing goes wrong at its end.
_CALM = 3 * HOUR
# No outage is longer: it would outlast the third of a life that is left when a renewal is due.
_OUTAGE = 900
_NOTE = 'echo "$MPEST_SHA256 $MPEST_NUMBER $MPEST_TRY" >>"$0"; test ! -e "$1"'


class Day:
    """A server of certificates that last an hour, and the agent with what it exports."""

    def __init__(self, folder: Path, seed: int, stack: ExitStack) -> None:
        self.random = Random(seed)
        self.world = world.World(lifetime=HOUR, seed=b"%d" % seed)
        self.folder = folder
        self.notes = folder / "notes"
        self.broken = folder / "broken"
        self.full = False
        self.told: list[dict[str, Any]] = []
        self._later: list[tuple[int, int, Callable[[], None]]] = []
        world.install(self.world)
        clock = SimpleNamespace(
            time=lambda: self.world.now + (self.world.clock_error or 0),
            gmtime=time.gmtime,
            sleep=lambda seconds: None,
        )
        stack.enter_context(mock.patch.object(hooks, "time", clock))
        usual_write = system.write

        def write(*arguments: Any) -> None:
            if self.full:
                raise OSError(28, os.strerror(28))
            usual_write(*arguments)

        stack.enter_context(mock.patch.object(system, "write", write))
        self.life = self.start()

    def start(self) -> agent.Life:
        """The agent, as after a start of the program."""
        settings, lines, _ = config.parse(
            {
                "url": world.URL,
                "subject": "CN=board-1",
                "sha256": self.world.fingerprint().hex(),
                "user": world.USER,
                "secret": world.PASSWORD,
                "state": str(self.folder / "state"),
                "export": {"folder": str(self.folder / "export")},
                "hooks": {"on_renewed": ["sh", "-c", _NOTE, str(self.notes), str(self.broken)]},
            }
        )
        assert lines == []
        tell = events.Events()
        tell.listeners.append(self.told.append)
        life = agent.Life(settings, tell)
        # The World's, which install() has put there.
        life.agent.Client = None
        return life

    def stop(self) -> None:
        posix.close(str(self.folder / "state"))

    def at(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._later, (int(world.START + seconds), len(self._later), do))

    def run(self, seconds: float, gapless: bool = True) -> None:
        """Let so much time pass."""
        end = self.world.now + seconds
        while self.world.now < end:
            while self._later and self._later[0][0] <= self.world.now:
                heapq.heappop(self._later)[2]()
            wait = max(self.life.steps(), 1)
            self.check(gapless)
            following = self._later[0][0] if self._later else end
            self.world.now = min(self.world.now + wait, max(following, self.world.now + 1), end)

    def pair(self) -> tuple[x509.Certificate, Any] | None:
        """What a program reads just now."""
        folder = self.folder / "export"
        if not (folder / "key.pem").exists():
            return None
        (leaf,) = pem.decode((folder / "cert.pem").read_text(), "CERTIFICATE")
        (key,) = pem.decode((folder / "key.pem").read_text(), "PRIVATE KEY")
        return x509.Certificate(leaf), keys.load(key)

    def check(self, gapless: bool) -> None:
        found = self.pair()
        known = self.life.agent.known
        if not found:
            assert not known.chain or self.full
            return
        leaf, key = found
        assert key.spki() == leaf.spki
        assert not gapless or leaf.not_after > self.world.now
        assert self.full or leaf.der == known.chain[0]

    def noted(self) -> list[list[str]]:
        return [line.split() for line in self.notes.read_text().splitlines()]

    def flag(self, path: Path, there: bool) -> None:
        path.touch() if there else path.unlink(missing_ok=True)


@contextmanager
def made(folder: Path, seed: int) -> Iterator[Day]:
    """A Day in its own time."""
    with simulation.laboratory(), ExitStack() as stack:
        day = Day(folder, seed, stack)
        try:
            yield day
        finally:
            day.stop()


def live(day: Day) -> int:
    """Let a whole day pass; returns how many certificates there were. Raises AssertionError."""
    random = day.random

    def down(is_down: bool) -> None:
        day.world.down = is_down

    def full(is_full: bool) -> None:
        day.full = is_full

    def restart() -> None:
        day.stop()
        day.life = day.start()

    def lose(number: int, operation: str, peer: bytes | None) -> str | None:
        chance = random.random()
        return "answer" if chance < 0.1 else "request" if chance < 0.2 else None

    def chance(is_bad: bool) -> None:
        day.world.fault = lose if is_bad else None

    def hook(is_broken: bool) -> None:
        day.flag(day.broken, is_broken)

    calm = 24 * HOUR - _CALM
    now = HOUR
    while now < calm:
        what = random.choice([down, full, chance, hook, None])
        if what:
            length = random.uniform(60, _OUTAGE)
            day.at(now, lambda what=what: what(True))
            day.at(now + length, lambda what=what: what(False))
            now += length
        else:
            day.at(now, restart)
        now += random.uniform(60, 2 * HOUR)
    day.run(24 * HOUR)
    issued = day.life.agent.known.generation
    assert issued > 30
    noted = day.noted()
    renewed = [event for event in day.told if event["event"] == "renewed"]
    assert len(renewed) == issued
    # Each was told to hooks once at least, but for those that a full disk kept from programs.
    assert len({sha256 for sha256, _, _ in noted}) > issued - 10
    # One that ran again says so.
    assert len({tuple(note[1:]) for note in noted}) == len(noted)
    assert hooks.pending(day.life.state) == []
    assert day.life.code() == 0
    assert "failure" not in day.life.kept
    return issued


def run(sample: int | None = None, seed: int = 0) -> dict[str, Any]:
    """So many days, or a hundred. Returns counts, and as `problems` a list of texts."""
    certificates = 0
    problems = []
    days = sample or _WHOLE
    for at in range(seed, seed + days):
        with tempfile.TemporaryDirectory(dir=line.MEMORY) as folder:
            try:
                with made(Path(folder), at) as day:
                    certificates += live(day)
            except AssertionError as error:
                problems.append(f"day {at}: {error!r}")
    return {"days": days, "certificates": certificates, "problems": problems}

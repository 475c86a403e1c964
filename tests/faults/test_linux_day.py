"""A sample of the days of tests/faults/linux_day.py, and what happens to a clock."""

from collections.abc import Iterator
from pathlib import Path

import linux_day
import pytest
from line import show
from linux_day import HOUR, Day


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    with linux_day.made(tmp_path, 0) as made:
        yield made


def test_a_day() -> None:
    found = linux_day.run(1)
    assert show(found) == []
    assert found["certificates"] > 30


def test_what_runs_twice_is_told_apart(day: Day) -> None:
    day.broken.touch()
    day.run(600)
    day.broken.unlink()
    day.run(600)
    noted = day.noted()
    tries = [tried for _, number, tried in noted if number == "1"]
    assert len(tries) > 2
    assert tries == [str(at + 1) for at in range(len(tries))]
    assert len({sha256 for sha256, number, _ in noted if number == "1"}) == 1


def test_a_suspended_machine(day: Day) -> None:
    """It wakes when its certificate has long ended, and enrols by its password."""
    day.run(60)
    day.world.now += 5 * HOUR
    day.run(300, gapless=False)
    day.check(True)
    assert day.life.agent.known.generation == 2


@pytest.mark.parametrize("before", [True, False])
def test_a_clock_in_2098(day: Day, before: bool) -> None:
    """Whether it was wrong from the start or becomes so: once it is right, all goes on."""
    if not before:
        day.run(60)
    day.world.clock_error = 72 * 365 * 86400
    day.run(1800, gapless=False)
    day.world.clock_error = 0
    # As estd.run.forever does when the clock is set.
    day.life.agent.until = 0
    day.run(3 * HOUR, gapless=False)
    day.check(True)
    assert day.life.code() == 0


def test_a_clock_that_is_not_set(day: Day) -> None:
    """It asks nobody, and goes on once the clock is set."""
    day.world.clock_error = None
    day.run(HOUR, gapless=False)
    assert day.world.connections == 0
    assert day.life.code() == 5
    day.world.clock_error = 0
    day.life.agent.until = 0
    day.run(60)
    assert day.life.agent.known.generation == 1
    assert day.life.code() == 0

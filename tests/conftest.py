"""The programs that tests run."""

import os
from collections.abc import Callable

import pytest

from mpest import runtimes
from mpest.sim.board_process import RUNTIMES

Find = Callable[[str], runtimes.Program]


@pytest.fixture(scope="session")
def program() -> Find:
    """Finds a program; without it the test is skipped, or fails where CI must have it."""

    def find(name: str) -> runtimes.Program:
        try:
            return runtimes.find(name)
        except runtimes.RuntimeMissing as error:
            if os.environ.get("CI") == "true":
                pytest.fail(error.message, pytrace=False)
            pytest.skip(error.message)

    return find


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest, program: Find) -> str:
    """Each runtime of the simulated board."""
    name: str = request.param
    if name != "cpython":
        program(name)
    return name

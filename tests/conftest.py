"""The programs that tests run, and the vectors that they read."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mpest import runtimes
from mpest.sim.board_process import RUNTIMES

VECTORS = Path(os.environ.get("MPEST_VECTORS") or Path(__file__).parents[2] / "shared/vectors")

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


@pytest.fixture(scope="session")
def vector() -> Callable[[str], bytes]:
    """Reads a vector; without it the test is skipped, or fails where CI must have it."""

    def read(name: str) -> bytes:
        path = VECTORS / name
        if not path.exists() and os.environ.get("CI") != "true":
            pytest.skip(f"needs the vectors: {name}")
        return path.read_bytes()

    return read


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest, program: Find) -> str:
    """Each runtime of the simulated board."""
    name: str = request.param
    if name != "cpython":
        program(name)
    return name

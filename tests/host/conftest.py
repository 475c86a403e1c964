"""Servers that tests share."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import postgres as postgres_server
import pytest
from board_bench import Bench
from line_of_boards import Line, Make, server_of
from postgres import Postgres

from mpest.server import EstServer, ServerConfig, running_server


@pytest.fixture
def bench(tmp_path: Path, runtime: str) -> Iterator[Bench]:
    config = ServerConfig(
        directory=tmp_path / "ca", port=0, auth="basic", users={"board": "correct horse"}
    )
    with running_server(config) as server:
        yield Bench(server, tmp_path / "board", runtime)


@pytest.fixture
async def server(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[EstServer]:
    """It has the fault that the test takes as `name`."""
    async with EstServer(ServerConfig(directory=tmp_path / "ca")) as running:
        if "name" in request.fixturenames:
            running.config.faults = {request.getfixturevalue("name")}
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with postgres_server.running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place without tables of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.empty()


@pytest.fixture
def station_server(tmp_path: Path) -> Iterator[EstServer]:
    """Of a line in the same folder."""
    with server_of(tmp_path) as running:
        yield running


@pytest.fixture
def make(station_server: EstServer, tmp_path: Path) -> Iterator[Make]:
    """Makes a line of so many boards, which are unplugged at the end."""
    lines = []

    def make(count: int, more: str = "") -> Line:
        lines.append(Line(station_server, tmp_path, count, more))
        return lines[-1]

    yield make
    for line in lines:
        line.unplug()

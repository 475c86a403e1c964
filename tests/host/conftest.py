"""Servers that tests share."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from board_bench import Bench

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

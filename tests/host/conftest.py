"""What tests of the device share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from board_bench import Bench

from mpest.server import ServerConfig, running_server


@pytest.fixture
def bench(tmp_path: Path, runtime: str) -> Iterator[Bench]:
    config = ServerConfig(
        directory=tmp_path / "ca", port=0, auth="basic", users={"board": "correct horse"}
    )
    with running_server(config) as server:
        yield Bench(server, tmp_path / "board", runtime)

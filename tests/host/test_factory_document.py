"""The example of docs/factory.md runs, with a simulated board at the port."""

import json
import os
import subprocess
import sys
from pathlib import Path

import station_board
from documents import block
from port_board import board as board_at_port

from mpest import boards, runtimes
from mpest.server import ServerConfig, running_server

PORT = """

@pytest.fixture
def port():
    import os

    return os.environ["PORT"]
"""


def test_your_own_executor(tmp_path: Path) -> None:
    rule = {"users": "station", "role": "ra", "subject": "CN=board-*"}
    config = ServerConfig(
        directory=tmp_path / "ca", auth="mtls", open=False, policy={"rule": [rule]}
    )
    profile = station_board.profile(tmp_path / "boards")
    root = tmp_path / "root"
    with running_server(config) as server:
        for name, content in zip(
            ("ra.pem", "ra.key"), server.new_identity("station"), strict=True
        ):
            (tmp_path / name).write_bytes(content)
        (tmp_path / "ca.pem").write_text(server.ca_pem.read_text())
        settings = {"url": server.url, "sha256": server.fingerprint, "subject": "CN=board-{id}"}
        (tmp_path / "config.json").write_text(json.dumps(settings))
        unit = block("docs/factory.md", "def test_unit")
        fixtures = block("docs/factory.md", "def files").replace("https://est.example", server.url)
        for name, code in (("test_unit.py", unit), ("conftest.py", fixtures + PORT)):
            (tmp_path / name).write_text(code.replace("RPI_PICO_W", profile.name))
        with board_at_port(runtimes.find("micropython"), root) as port:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", "--rootdir=.", "test_unit.py"],
                cwd=tmp_path,
                env={**os.environ, "PORT": port, boards.ENVIRONMENT: str(tmp_path / "boards")},
                capture_output=True,
                text=True,
            )
        assert done.returncode == 0, done.stdout + done.stderr
        assert server.issued()[-1].subject == "CN=board-0a0b0c"
    assert (root / "identity.0").exists()
    assert (root / "main.py").read_text().startswith('"""A whole application')

"""The agent on Debian 13's Python for 32-bit ARM, under qemu-user."""

import json
import os
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import click
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mpest.exits import CliError
from mpest.runtimes import Program
from mpest.server import ServerConfig, running_server
from mpest.toolchain import debian

HOST_TOOLS = Path(__file__).parents[2] / "host_tools"


@pytest.fixture
def python(program: Callable[[str], Program]) -> list[str]:
    qemu = program("qemu-arm")
    try:
        root = debian.fetch("python3", "armhf")
    except CliError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(error.message)
    return [*qemu.argv, "-L", str(root), str(root / "usr/bin/python3")]


def test_armhf_enrols_and_renews_beyond_2038(python: list[str], tmp_path: Path) -> None:
    # Packages of Python alone, as pip would install them there.
    library = tmp_path / "library"
    library.mkdir()
    (library / "click").symlink_to(Path(click.__file__).parent)
    for name in ("est", "estd", "mpest"):
        (library / name).symlink_to(HOST_TOOLS / name)
    environment = {"PYTHONPATH": str(library), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*arguments: str) -> list[dict[str, object]]:
        command = [*python, "-m", "estd", *arguments, "--json", "--config", str(config)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    lifetime = timedelta(days=20 * 365)
    with running_server(ServerConfig(directory=tmp_path / "ca", lifetime=lifetime)) as server:
        config = tmp_path / "config.json"
        settings = {"url": server.url, "anchors": str(server.ca_pem), "subject": "CN=zero"}
        settings |= {"state": str(tmp_path / "state"), "export": {"folder": f"{tmp_path}/live"}}
        config.write_text(json.dumps(settings))
        assert "renewed" in [event["event"] for event in run("--once")]
        first = (tmp_path / "live/cert.pem").read_text()
        run("renew", "--now")
        assert (tmp_path / "live/cert.pem").read_text() != first
    leaf = x509.load_pem_x509_certificate((tmp_path / "live/cert.pem").read_bytes())
    key = load_pem_private_key((tmp_path / "live/key.pem").read_bytes(), None)
    assert leaf.public_key() == key.public_key()
    assert leaf.not_valid_after_utc.year > 2038

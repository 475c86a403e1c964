"""firmware/main.py, installed as on the board UNIX, enrols and renews by itself."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from mpest import boards, shipped
from mpest.flash import application
from mpest.runtimes import Program
from mpest.server import EstServer, ServerConfig, running_server


@pytest.fixture
def board(tmp_path: Path) -> Path:
    folder = tmp_path / "board"
    for file in application.files(boards.load("UNIX")):
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
    assert (folder / "main.py").read_bytes() == (
        shipped.folder("firmware") / "main.py"
    ).read_bytes()
    return folder


@contextmanager
def server_for(board: Path, seconds: int) -> Iterator[EstServer]:
    """A server whose certificates last so long, in the board's config.json."""
    config = ServerConfig(
        directory=board.parent / "ca",
        port=0,
        auth="basic",
        users={"board": "secret"},
        lifetime=timedelta(seconds=seconds),
    )
    with running_server(config) as server:
        settings = {
            "url": server.url,
            "sha256": server.fingerprint,
            "subject": "CN=board-{id}",
            "user": "board",
            "secret": "secret",
        }
        (board / "config.json").write_text(json.dumps(settings))
        yield server


def test_enrols_and_renews(board: Path, program: Callable[[str], Program]) -> None:
    micropython = program("micropython")
    with server_for(board, 10) as server:
        for slot in (0, 1):  # damaged beyond use, which must not stop it
            (board / f"identity.{slot}").write_bytes(b"EST1" + bytes(100))
        running = subprocess.Popen(
            [*micropython.argv, "main.py"],
            cwd=board,
            env={**os.environ, **micropython.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        deadline = time.monotonic() + 60
        while len(server.issued()) < 3 and time.monotonic() < deadline and running.poll() is None:
            time.sleep(0.2)
        running.kill()
        output, _ = running.communicate()
        issued = server.issued()
        requests = [event["path"].rpartition("/")[2] for event in server.events if "path" in event]
    assert len(issued) >= 3, output
    assert "secret" not in output
    assert requests.count("simpleenroll") == 2  # one is challenged for the password
    assert "simplereenroll" in requests


def test_enrols_anew_once_the_certificate_has_expired(
    board: Path, program: Callable[[str], Program]
) -> None:
    micropython = program("micropython")
    code = """
import json
import main
with open("config.json") as file:
    config = json.load(file)
board = main.Board()
main.enrol_or_renew(board, config)
main.time.sleep(2.5)
main.enrol_or_renew(board, config)
"""
    with server_for(board, 1) as server:
        (board / "twice.py").write_text(code)
        done = subprocess.run(
            [*micropython.argv, "twice.py"],
            cwd=board,
            env={**os.environ, **micropython.env},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(server.issued()) == 2
        paths = [event["path"].rpartition("/")[2] for event in server.events if "path" in event]
    assert "simplereenroll" not in paths

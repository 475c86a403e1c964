"""firmware/main.py, installed as on the board UNIX, enrols and renews by itself."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

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
    # Backdated, so short a life would be none but for the floor of a minute.
    with patch("mpest.server.ca._BACKDATE", timedelta()), running_server(config) as server:
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
agent = main.make_agent(board, config)
for generation in (1, 2):
    main.make_ready(board, config)
    while agent.known.generation < generation:
        assert agent.step() == 0
    main.time.sleep(2.5)
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


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("nonsense", "config.json: is malformed"),
        ("[]", "must be an object"),
        ("{}", "url is missing"),
        ('{"url": 5}', 'url must be text in "..."'),
        ('{"sha256": "00"}', "subject is missing"),
        ('{"url": "u", "subject": "s", "sha256": "zz"}', "sha256 must be 64 hexadecimal digits"),
        ('{"url": "u", "subject": "s", "sha256": "00", "user": "b"}', "go together"),
        ('{"url": "u", "subject": "s", "user": "b", "secret": null}', "go together"),
        ('{"ur": "https://a"}', "ur is unknown"),
        ('\ufeff{"ur": "https://a"}', "ur is unknown"),
    ],
)
def test_malformed_settings_are_told_key_by_key(
    board: Path, program: Callable[[str], Program], settings: str, words: str
) -> None:
    (board / "config.json").write_text(settings)
    micropython = program("micropython")
    done = subprocess.run(
        [*micropython.argv, "main.py"],
        cwd=board,
        env={**os.environ, **micropython.env},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert words in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "raised", ["KeyError('pin')", "ValueError(1)", "OSError(5)", "MemoryError()"]
)
def test_nothing_that_the_wiring_raises_ends_it(
    board: Path, program: Callable[[str], Program], raised: str
) -> None:
    """Each is one line, and the next try comes."""
    micropython = program("micropython")
    code = f"""
import main
class Broken(main.Board):
    tries = 0
    def wifi(self, *arguments):
        Broken.tries += 1
        if Broken.tries == 3:
            raise SystemExit
        raise {raised}
main.Board = Broken
clock = main.time
ticks = [0]
def ticks_ms():
    ticks[0] += 30000
    return ticks[0]
main.time = type("time", (), dict(
    ticks_ms=ticks_ms, ticks_add=clock.ticks_add, ticks_diff=clock.ticks_diff,
    sleep=lambda seconds: None,
))
main.main()
"""
    with server_for(board, 60):
        (board / "broken.py").write_text(code)
        done = subprocess.run(
            [*micropython.argv, "broken.py"],
            cwd=board,
            env={**os.environ, **micropython.env},
            capture_output=True,
            text=True,
            timeout=60,
        )
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stdout + done.stderr
    assert all(line.startswith(raised.partition("(")[0]) for line in lines)

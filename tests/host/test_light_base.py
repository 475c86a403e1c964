"""mpest without its extras: click alone beside it."""

import os
import subprocess
import sys
import venv
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from mpest.exits import Exit
from mpest.server import ServerConfig, running_server

ROOT = Path(__file__).parents[2]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of a venv with what `pip install mpest` brings."""
    folder = tmp_path_factory.mktemp("light")
    venv.create(folder, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin/python"]
    done = subprocess.run([*pip, "install", "--quiet", ROOT], capture_output=True, text=True)
    if done.returncode and os.environ.get("CI") != "true":
        pytest.skip(f"needs a package index: {done.stderr.strip().splitlines()[-1]}")
    assert not done.returncode, done.stderr
    listed = subprocess.run(
        [*pip, "list", "--format", "freeze"], capture_output=True, text=True, check=True
    )
    assert [line.partition("==")[0] for line in listed.stdout.splitlines()] == ["click", "mpest"]
    return folder / "bin"


@pytest.fixture
def mpest(light: Path) -> Run:
    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [light / "mpest", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=100)

    return run


def test_help_and_version(mpest: Run) -> None:
    done = mpest("--version")
    assert (done.returncode, done.stdout) == (0, f"mpest, version {version('mpest')}\n")
    done = mpest("--help")
    assert done.returncode == 0
    assert "serve" in done.stdout
    done = mpest("simulate", "--help")
    assert done.returncode == 0
    assert "--decrypt-key" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("serve", "--dir", "ca", "--port", "0"), "mpest serve needs more: mpest[serve]"),
        (("serve", "--help"), "mpest serve needs more: mpest[serve]"),
        (("demo",), "mpest demo needs more: mpest[serve]"),
        (("flash", "--board", "UNIX"), "mpest flash needs more: mpest[flash]"),
        (("provision", "job.toml"), "mpest provision needs more: mpest[factory]"),
        (("ledger", "--ledger", "x", "list"), "mpest ledger needs more: mpest[factory]"),
        (
            (
                *(
                    "simulate",
                    "--runtime",
                    "cpython",
                    "--state",
                    "b",
                    "--url",
                    "https://127.0.0.1",
                ),
                *("--decrypt-password-file", "p", "serverkeygen"),
            ),
            "mpest simulate --runtime cpython --decrypt-... needs more: mpest[serve]",
        ),
    ],
)
def test_a_missing_extra_is_one_line(mpest: Run, arguments: tuple[str, ...], line: str) -> None:
    done = mpest(*arguments)
    start, _, extra = line.partition("mpest[")
    assert done.returncode == Exit.USAGE
    assert done.stderr == f"Error: {start}pip install 'mpest[{extra}'\n"
    assert not done.stdout


def test_it_enrols_renews_and_shows(mpest: Run, tmp_path: Path) -> None:
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        board = ("simulate", "--runtime", "cpython", "--state", tmp_path / "board")
        known = ("--url", server.url, "--trust", server.ca_pem, "--subject", "CN=a")
        done = mpest(*board, *known, "csrattrs", "enroll", "reenroll", "show")
    assert done.returncode == 0, done.stderr
    assert "CN=a" in done.stdout
    assert (tmp_path / "board/key.pem").exists()

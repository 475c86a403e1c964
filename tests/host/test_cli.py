"""`mpest` itself: what it lists, how it is ended, what a shell completes."""

import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner
from commands import mpest

from mpest import cli

START = [sys.executable, "-m", "mpest"]


def test_version() -> None:
    done = mpest("--version")
    assert (done.returncode, done.stdout) == (0, f"mpest, version {version('mpest')}\n")


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["simulate", "--help"]])
def test_an_output_that_is_full_is_one_line(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*START, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=100
        )
    assert done.stderr == "Error: cannot write the output: No space left on device\n"
    assert done.returncode == 7


def test_the_list_says_what_each_command_says_of_itself() -> None:
    listed = CliRunner().invoke(cli.main, ["--help"]).stdout
    for name, known in cli._COMMANDS.items():
        command = cli.main.get_command(None, name)
        assert command and command.help
        assert " ".join(command.help.split()).startswith(known.help.rstrip("."))
        assert known.help.split()[0] in listed


def completed(words: str, **more: str) -> list[str]:
    """What a bash completes `words` with; the last one may be empty."""
    variables = {"_MPEST_COMPLETE": "bash_complete", "COMP_WORDS": words}
    variables["COMP_CWORD"] = str(len(words.split(" ")) - 1)
    done = subprocess.run(
        START, env={**os.environ, **variables, **more}, capture_output=True, text=True, timeout=100
    )
    return done.stdout.split()


def test_a_shell_completes_commands_boards_faults_and_files(tmp_path: Path) -> None:
    assert "plain,simulate" in completed("mpest s")
    assert completed("mpest flash --board RPI_PICO_") == ["plain,RPI_PICO_W"]
    (tmp_path / "MY_BOARD").mkdir()
    (tmp_path / "MY_BOARD/board.toml").write_text("")
    own = completed("mpest flash --board MY", MPEST_BOARDS=str(tmp_path))
    assert own == ["plain,MY_BOARD"]
    faults = completed("mpest serve --fault csrattrs-")
    assert "plain,csrattrs-malformed" in faults
    assert completed("mpest serve --csrattrs de") == ["plain,default"]
    for words in (
        "mpest serve --csrattrs pol",
        "mpest serve --users us",
        "mpest simulate --trust ca",
        "mpest simulate --password-file pa",
        "mpest flash --config con",
    ):
        (kind,) = completed(words)
        assert kind.startswith("file,"), words


@pytest.mark.parametrize(
    ("number", "line", "code"),
    [(signal.SIGINT, "Interrupted.", 130), (signal.SIGTERM, "Stopped.", 143)],
)
def test_it_is_ended_in_one_line(tmp_path: Path, number: int, line: str, code: int) -> None:
    """A program that never ends plays MicroPython."""
    program = tmp_path / "micropython"
    program.write_text("#!/bin/sh\ntouch started\nexec sleep 60\n")
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    command = [*START, "simulate", "--state", "board", "show"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        while not (tmp_path / "started").exists():
            time.sleep(0.05)
        process.send_signal(number)
        out, said = process.communicate(timeout=50)
    assert (process.returncode, out, said) == (code, "", f"{line}\n")


def test_an_interrupt_amid_imports(tmp_path: Path) -> None:
    """Modules in the place of those that take long to import."""
    slow = "open('started', 'w').close(); import time; time.sleep(60)"
    for module in ("click", "aiohttp"):
        folder = tmp_path / module
        folder.mkdir()
        (folder / f"{module}.py").write_text(slow)
        with subprocess.Popen(
            [*START, "serve", "--help"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as process:
            while not (folder / "started").exists():
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=50)
        assert (process.returncode, said) == (130, "Interrupted.\n"), module


def test_make_help_lists_what_works() -> None:
    """factory-demo is a name that is kept for what is not there yet."""
    # Of a make that runs these tests nothing is taken over: it would print its folder as well.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    environment.pop("MFLAGS", None)

    def make(*arguments: str) -> str:
        root = Path(__file__).parents[2]
        return subprocess.run(
            ["make", *arguments],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    targets = [line.split()[0] for line in make("help").splitlines()]
    assert {"demo", "test", "lint"} <= set(targets)
    for target in targets:
        assert "isn't there yet" not in make("--dry-run", target), target


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_lines_that_complete(shell: str) -> None:
    document = (Path(__file__).parents[2] / "docs/cli.md").read_text()
    assert f"{shell}_source" in document
    done = subprocess.run(
        START,
        env={**os.environ, "_MPEST_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "mpest" in done.stdout

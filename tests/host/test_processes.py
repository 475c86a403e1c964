"""Two processes in one folder: the second is told, on CPython and on MicroPython."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mpest.runtimes import Program
from mpest.sim import cpython

# Saves whenever it is told to, and says what came of it.
SCRIPT = """
import sys
from est import posix, store
from est.errors import StorageError
records = store.Store(sys.argv[1])
for line in sys.stdin:
    word = line.strip()
    try:
        if word == "close":
            posix.close(sys.argv[1])
        elif word == "load":
            print(records.load("x").decode())
            continue
        elif word == "erase":
            records.erase("x")
        else:
            records.save("x", word.encode())
        print("done")
    except StorageError as error:
        print("StorageError: %s" % error)
"""


class Process:
    """A process that stores in a folder."""

    def __init__(self, argv: list[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )

    def say(self, word: str) -> str:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.mark.parametrize("second", ["cpython", "micropython"])
@pytest.mark.parametrize("first", ["cpython", "micropython"])
def test_the_second_process_is_told(
    program: Callable[[str], Program], tmp_path: Path, first: str, second: str
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    def start(runtime: str) -> Process:
        environment = dict(os.environ)
        if runtime == "cpython":
            argv = [sys.executable, "-u", str(Path(cpython.__file__))]
        else:
            found = program(runtime)
            argv = list(found.argv)
            environment.update(found.env, MICROPYPATH=f"{cpython.firmware()}:.frozen")
        return Process([*argv, str(script), str(folder)], environment)

    one, other = start(first), start(second)
    try:
        assert one.say("mine") == "done"
        for _ in range(2):
            said = other.say("theirs")
            assert said.startswith("StorageError: another process uses"), said
            assert str(folder) in said
            assert other.say("erase").startswith("StorageError: another process uses")
            # Reading harms nobody.
            assert other.say("load") == "mine"
        # The lock stays for as long as the process does, whatever it stores.
        assert one.say("mine again") == "done"
        assert other.say("theirs").startswith("StorageError")
        assert one.say("close") == "done"
        assert other.say("theirs") == "done"
        assert one.say("mine").startswith("StorageError")
        assert one.say("load") == "theirs"
        # It goes with the process, however that ends.
        other.kill()
        assert one.say("mine") == "done"
        assert one.say("load") == "mine"
    finally:
        one.kill()
        other.kill()


@pytest.mark.parametrize("runtime", ["cpython", "micropython"])
def test_a_umask_that_lets_all_read(
    program: Callable[[str], Program], tmp_path: Path, runtime: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = dict(os.environ)
    if runtime == "cpython":
        argv = [sys.executable, str(Path(cpython.__file__))]
    else:
        found = program(runtime)
        argv = list(found.argv)
        environment.update(found.env, MICROPYPATH=f"{cpython.firmware()}:.frozen")
    subprocess.run(
        [*argv, str(script), str(tmp_path)],
        input="first\nsecond\n",
        env=environment,
        umask=0,
        check=True,
        text=True,
        timeout=100,
    )
    for slot in (0, 1):
        assert (tmp_path / f"x.{slot}").stat().st_mode & 0o777 == 0o600

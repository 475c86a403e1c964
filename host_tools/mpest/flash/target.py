"""Where an application is installed: a board behind mpremote, or a folder of this computer."""

import ast
import hashlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, chdir, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mpest.exits import CliError, Exit
from mpest.flash import probe, switch
from mpest.flash.application import File
from mpest.process import Process

SWITCH = Path(switch.__file__).read_text()
"""What boards run of `switch`."""

_MPREMOTE = (sys.executable, "-u", "-m", "mpremote")
_SECONDS = 60  # for anything short
_BYTES_A_SECOND = 500  # when files are copied, at the very least
_RESTART_SECONDS = 30  # until the port of a board is back, after a reset or new firmware

Waiting = Callable[[str], AbstractContextManager[object]]
"""Says, while its block takes long, that it waits for what the text names."""

# Runs on the board: prints a tuple, see `Remote.look`.
_LOOK = """
import binascii, hashlib, os, sys
def sha256(path):
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            part = file.read(512)
            if not part:
                return binascii.hexlify(total.digest()).decode()
            total.update(part)
paths = list(%(paths)r)
folders = []
for folder in %(folders)r:
    try:
        paths += [folder + "/" + name for name in os.listdir(folder)]
        folders.append(folder)
    except OSError:
        pass
found = {}
for path in paths:
    try:
        size = os.stat(path)[6]
        found[path] = (size, sha256(path))
    except OSError:
        pass
try:
    import machine
    unique = binascii.hexlify(machine.unique_id()).decode()
except (ImportError, AttributeError):
    unique = ""
stat = os.statvfs("/")
i = sys.implementation
print("mpest-look", (i.name, tuple(i.version), getattr(i, "_machine", ""),
    getattr(i, "_mpy", 0), sys.platform, stat[1] * stat[3], stat[0], found, folders,
    unique))
"""


@dataclass(frozen=True)
class Runtime:
    """The MicroPython on a board, as sys.implementation tells."""

    version: tuple[int, ...]
    machine: str
    mpy: int
    platform: str
    free: int  # bytes of its file system
    block: int  # bytes, the least that a file takes
    unique_id: str = ""  # machine.unique_id() in hex, where the board has one


@dataclass(frozen=True)
class Found:
    """What is on a board: `files` are (size, SHA-256 in hex) by path, `folders` those there."""

    files: dict[str, tuple[int, str]]
    folders: list[str]
    runtime: Runtime | None = None  # None for a folder


class Target(Protocol):
    """All methods raise CliError, or OSError where they work on this computer's files."""

    def look(self, paths: list[str], folders: list[str]) -> Found:
        """State of the files `paths` and of all in `folders`, as far as they exist."""

    def do(self, name: str, *arguments: object) -> None:
        """Call a function of `switch` where the application is."""

    def write(self, files: list[File]) -> Iterator[File]:
        """Write `files` into folders that are there; yields each when it begins."""

    def restart(self) -> None:
        """Have the board start over, and wait until it answers."""

    def leave(self) -> None:
        """Have the board run its application."""


class Remote:
    """A board behind a serial port (anything that `mpremote connect` takes)."""

    def __init__(
        self, port: str, *, emulated: bool = False, waiting: Waiting = lambda _: nullcontext()
    ) -> None:
        self._port = port
        self._waiting = waiting
        self._answered = False
        # An emulator ends where a board resets.
        self._reset = "soft-reset" if emulated else "reset"

    def look(self, paths: list[str], folders: list[str]) -> Found:
        self.answers()
        with self._waiting(f"what the board at {self._port} has on it"):
            output = self._exec(_LOOK % {"paths": paths, "folders": folders})
        match = re.search(r"^mpest-look (\(.*\))\s*$", output, re.MULTILINE)
        try:
            fields = ast.literal_eval(match[1] if match else "")
            name, version, machine, mpy, platform, free, block, files, dirs, unique = fields
        except (SyntaxError, ValueError):
            raise CliError(f"the board at {self._port} gives no sensible answer") from None
        if name != "micropython":
            raise CliError(f"the board at {self._port} runs {name}, not MicroPython")
        return Found(files, dirs, Runtime(version, machine, mpy, platform, free, block, unique))

    def do(self, name: str, *arguments: object) -> None:
        call = ", ".join(map(repr, ("/", *arguments)))
        with self._waiting(f"the board at {self._port} to move its files"):
            self._exec(f"{SWITCH}\n{name}({call})")

    def write(self, files: list[File]) -> Iterator[File]:
        if not files:
            return
        with tempfile.TemporaryDirectory(prefix="mpest-flash-") as folder:
            arguments: list[str] = []
            for number, file in enumerate(files):
                local = Path(folder) / str(number)
                local.write_bytes(file.data)
                arguments += ["+", "fs", "cp", "-f", str(local), ":" + file.path]
            by_path = {file.path: file for file in files}
            seconds = _SECONDS + sum(len(file.data) for file in files) / _BYTES_A_SECOND
            for line in self._lines(arguments[1:], seconds):
                path = line.rpartition(" :")[2].strip()
                if line.startswith("cp ") and path in by_path:
                    yield by_path[path]

    def restart(self) -> None:
        self._call(self._reset)
        self.wait()

    def answers(self) -> None:
        """Return if MicroPython answers; raise CliError that says what is there instead."""
        if not self._answered:
            with self._waiting(f"MicroPython at {self._port} to answer"):
                probe.answers(self._port)
        self._answered = True

    def wait(self) -> None:
        """Wait until the board answers, its port perhaps gone for some time."""
        with self._waiting(f"the board at {self._port} to start"):
            time.sleep(1)
            probe.answers(self._port, appear=_RESTART_SECONDS)
        self._answered = True

    def leave(self) -> None:
        self._call(self._reset)

    def boot_loader(self) -> None:
        """Have the board wait for firmware."""
        self.answers()
        self._call("bootloader")

    def _exec(self, code: str) -> str:
        return self._call("exec", code)

    def _call(self, *arguments: str) -> str:
        return "".join(self._lines(list(arguments), _SECONDS))

    def _lines(self, arguments: list[str], seconds: float) -> Iterator[str]:
        """Output of mpremote, in lines as they come."""
        lines: list[str] = []
        command = [*_MPREMOTE, "connect", self._port, *arguments]
        with Process(command, seconds=seconds) as mpremote:
            for line in mpremote:
                lines.append(line)
                yield line
        if mpremote.code:
            raise self._error(lines, mpremote.code)

    def _error(self, lines: list[str], code: int) -> CliError:
        if code < 0:
            return CliError(f"the board at {self._port} stopped answering", Exit.NETWORK)
        text = "".join(lines).strip()
        last = text.splitlines()[-1].removeprefix("mpremote: ") if text else "no message"
        if "raw repl" in text:
            last = (
                "no MicroPython answers; press the board's reset button and try again, "
                "or install it with --firmware"
            )
        if "ENOSPC" in text or "No space left" in text:
            return CliError(f"the storage of the board at {self._port} is full", Exit.STORAGE)
        return CliError(f"{self._port}: {last}", Exit.NETWORK)


class Directory:
    """A folder of this computer, for boards that are computers."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def look(self, paths: list[str], folders: list[str]) -> Found:
        files = {}
        for name in folders:
            paths = [*paths, *(f"{name}/{file.name}" for file in (self._root / name).glob("*"))]
        for path in paths:
            file = self._root / path
            if file.is_file():
                data = file.read_bytes()
                files[path] = (len(data), hashlib.sha256(data).hexdigest())
        return Found(files, [name for name in folders if (self._root / name).is_dir()])

    def do(self, name: str, *arguments: object) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        try:
            with chdir(self._root):
                getattr(switch, name)("", *arguments)
        except OSError as error:
            path = str(self._root / (error.filename or ""))
            raise OSError(error.errno, error.strerror, path) from None

    def write(self, files: list[File]) -> Iterator[File]:
        for file in files:
            yield file
            mode = 0o600 if file.private else 0o666  # less the umask
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            path = self._root / file.path
            try:
                with os.fdopen(os.open(path, flags, mode), "wb") as out:
                    out.write(file.data)
            except OSError as error:  # which names no file where the disk is full
                raise OSError(error.errno, error.strerror, str(path)) from None
        os.sync()  # else a rename may survive a cut that what it renames does not

    def restart(self) -> None:
        pass

    def leave(self) -> None:
        pass

"""The way to a board: a serial port, or a board that is simulated by a process."""

import contextlib
import os
import select
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Protocol

import serial  # type: ignore[import-untyped]

from mpest.exits import CliError
from mpest.flash import probe
from mpest.runtimes import Program
from mpest.station.errors import Gone, NoMicroPython
from mpest.station.repl import Repl

_STEP = 0.05  # seconds that one read waits at most
_READ = 1 << 16
_WRITE_SECONDS = 10  # for what a board that listens takes in milliseconds
_BACK_SECONDS = 30  # until the port of a board is back after a reset, as flash.target waits
_RESET = "import machine\nmachine.reset()\n"
_BOOT_LOADER = "import machine\nmachine.bootloader()\n"
SIMULATED = Path(__file__).with_name("simulated_board.py")
"""Program of MicroPython's unix port that plays a board."""


class Link(Protocol):
    """How `Board` talks to a board. Raises CliError, of station.errors where it is the board."""

    name: str
    """The port, for people."""
    opened: int
    """How often it was: a board that was unplugged may have started its program since."""

    def run(self, code: str, seconds: float) -> str:
        """What `code`, run on the board, prints within so many seconds."""

    def fresh(self) -> None:
        """Start MicroPython over without main.py, so that the heap is empty."""

    def reset(self, *, again: bool) -> None:
        """Reset the board, which starts main.py. again: wait for it, and interrupt that."""

    def boot_loader(self) -> None:
        """Have the board wait for firmware."""

    def watch(self, seconds: float) -> Generator[str, None, None]:
        """Reset the board, and give the lines that main.py prints within so many seconds."""

    def close(self) -> None: ...


class Serial:
    """A board behind a serial port, named as for mpremote. It is opened when it is first used.

    find: what the port's device is called at the moment, None while there is none: a reset may
    bring it back under another name.
    """

    def __init__(self, port: str, find: Callable[[], str | None] | None = None) -> None:
        self.name = port
        self._find = find
        self.opened = 0
        self._line: serial.Serial | None = None
        self._repl = Repl(self, port)

    def run(self, code: str, seconds: float) -> str:
        return self._repl.run(code, seconds)

    def fresh(self) -> None:
        self._repl.enter()

    def reset(self, *, again: bool) -> None:
        self._last(_RESET)
        if again:
            time.sleep(1)  # until it is gone
            self._probe(appear=_BACK_SECONDS)
            self._repl.enter()

    def boot_loader(self) -> None:
        self._last(_BOOT_LOADER)

    def watch(self, seconds: float) -> Generator[str, None, None]:
        self._last(_RESET)
        end = time.monotonic() + _BACK_SECONDS
        while self._line is None:
            time.sleep(_STEP)
            try:
                self._open()
            except Gone:
                if time.monotonic() > end:
                    raise
        yield from self._repl.lines(seconds)

    def _last(self, code: str) -> None:
        """Run what takes the port away."""
        with contextlib.suppress(Gone):
            self._repl.start(code)
        self.close()

    def close(self) -> None:
        line, self._line = self._line, None
        if line:
            # In this order no board is reset by it; a pseudo terminal has neither.
            with contextlib.suppress(OSError):
                line.rts = False
                line.dtr = False
            with contextlib.suppress(OSError):
                line.close()
        self._repl = Repl(self, self.name)

    # The stream.

    def read(self, seconds: float) -> bytes:
        line = self._opened()
        end = time.monotonic() + seconds
        try:
            while not (waiting := line.in_waiting):
                if time.monotonic() >= end:
                    return b""
                # Its time limit is fixed: to set another one configures the port anew.
                if data := line.read(1):
                    return bytes(data)
            return bytes(line.read(min(waiting, _READ)))
        except (OSError, TypeError) as error:  # pyserial's where another thread closed it
            raise self._gone(error) from None

    def write(self, data: bytes) -> None:
        line = self._opened()
        try:
            line.write(data)
        except (OSError, TypeError) as error:
            raise self._gone(error) from None

    def _device(self) -> str | None:
        """What the port is called now; None where it is not there."""
        if self._find:
            return self._find()
        return None if probe.missing(self.name) else self.name

    def _opened(self) -> serial.Serial:
        if self._line is None:
            if self._device() is None:
                raise Gone(probe.no_port(self.name).message)
            self._probe()
            self._open()
        return self._line

    def _probe(self, appear: float = 0.0) -> None:
        """Raise NoMicroPython that says what is there instead."""
        try:
            probe.answers(self.name, appear=appear, find=self._find)
        except CliError as error:
            raise NoMicroPython(error.message) from None

    def _open(self) -> None:
        device = self._device()
        if device is None:
            raise self._gone(OSError("it is not there"))
        try:
            self._line = serial.serial_for_url(
                device.removeprefix("port:"),
                baudrate=115200,
                timeout=_STEP,
                write_timeout=_WRITE_SECONDS,
                exclusive=True,
            )
        except OSError as error:
            raise self._gone(error) from None
        self.opened += 1

    def _gone(self, error: Exception) -> Gone:
        self.close()
        if self._device() is None:
            return Gone(f"{self.name} has vanished: plug the board in again")
        return Gone(f"{self.name} failed ({error}): plug the board in again")


class Simulated:
    """A board that is a process: MicroPython `program`, whose root is the folder `root`.

    machine: sys.platform, and what sys.implementation._machine says. unique_id: in hex.
    """

    def __init__(
        self, program: Program, root: Path, machine: tuple[str, str], unique_id: str
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.name = str(root)
        self.opened = 0
        self._command = [*program.argv, str(SIMULATED), *machine, "0", unique_id]
        self._environment = {**os.environ, **program.env}
        self._start()

    def _start(self, *more: str) -> None:
        try:
            self._process = subprocess.Popen(
                [*self._command, *more],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=self.name,
                env=self._environment,
            )
        except OSError as error:
            raise CliError(f"cannot run {self._command[0]}: {error.strerror}") from None
        assert self._process.stdin and self._process.stdout
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        self._repl = Repl(self, self.name)
        self.opened += 1

    def run(self, code: str, seconds: float) -> str:
        return self._repl.run(code, seconds)

    def fresh(self) -> None:
        self._repl.enter()

    def reset(self, *, again: bool) -> None:
        self.close()
        if again:
            self._start()

    def boot_loader(self) -> None:
        raise CliError(f"the simulated board in {self.name} has no boot loader")

    def watch(self, seconds: float) -> Generator[str, None, None]:
        self.close()
        self._start("main.py")
        try:
            yield from self._repl.lines(seconds)
        finally:
            # Whoever comes next interrupts the program, which a process on a pipe cannot be.
            self.close()
            self._start()

    def unplug(self) -> None:
        """Cut its power, whatever it is doing: each call raises Gone from then on."""
        self._process.kill()

    def close(self) -> None:
        with self._process:
            self._process.kill()

    # The stream.

    def read(self, seconds: float) -> bytes:
        try:
            if not select.select([self._out], [], [], seconds)[0]:
                return b""
            data = os.read(self._out, _READ)
        except (OSError, ValueError):  # another thread closed it
            data = b""
        if not data:
            raise Gone(f"the simulated board in {self.name} has ended")
        return data

    def write(self, data: bytes) -> None:
        try:
            os.write(self._in, data)
        except OSError:
            raise Gone(f"the simulated board in {self.name} has ended") from None

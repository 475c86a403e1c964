"""A running QEMU with the board's serial port on a pty, and the real mpremote talking to it."""

import os
import re
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

from mpest.boards import Board
from mpest.emulator.profile import Profile
from mpest.exits import CliError, Exit
from mpest.process import Process
from mpest.toolchain import port

_PACKAGES = {
    "arm": "qemu-system-arm",
    "riscv32": "qemu-system-riscv, of Debian 12 qemu-system-misc",
}
_COMMON = ("-nographic", "-monitor", "none", "-semihosting", "-serial", "pty")
# Virtual time then is 2^6 ns an instruction, whatever the host does meanwhile.
_COUNTING = ("-icount", "shift=6,align=off,sleep=off")
_PTY = re.compile(r"redirected to (\S+)")


class BoardError(CliError):
    """The board, or mpremote for it, said that something failed."""


class Machine:
    """One board, switched on: `with Machine(board, firmware) as machine`.

    memory: the file where the board's memory lives, if its storage shall outlive the power (see
    Profile.keeps_storage); by default a temporary one. counting: make time count instructions.
    """

    pty: str
    """Path of the serial port; `mpremote connect` takes it."""

    def __init__(
        self,
        board: Board,
        firmware: Path,
        memory: Path | None = None,
        *,
        counting: bool = False,
    ) -> None:
        self._profile = Profile.of(board)
        self._firmware = firmware
        self._memory = memory
        self._counting = counting
        self._qemu: Process | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._held = -1

    def __enter__(self) -> "Machine":
        self._temporary = tempfile.TemporaryDirectory(prefix="mpest-board-")
        try:
            self.power_on()
        except BaseException:
            self._temporary.cleanup()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.power_off()
        assert self._temporary
        self._temporary.cleanup()

    def power_on(self) -> None:
        """Start it. Raises CliError where QEMU is missing or doesn't start."""
        assert self._temporary and not self._qemu
        program = f"qemu-system-{self._profile.cpu}"
        port.need({program: _PACKAGES[self._profile.cpu]})
        memory = self._memory or Path(self._temporary.name) / "memory"
        arguments = [word.replace("{memory}", str(memory)) for word in self._profile.machine]
        arguments += [*_COMMON, *(_COUNTING if self._counting else ()), "-kernel"]
        self._qemu = Process([program, *arguments, str(self._firmware)])
        output = ""
        for line in self._qemu:
            output += line
            if match := _PTY.search(line):
                self.pty = match[1]
                # Held open, or QEMU would look for a new listener only once a second.
                self._held = os.open(self.pty, os.O_RDWR | os.O_NOCTTY)
                return
        self.power_off()
        raise CliError(f"{program} doesn't start: {' '.join(output.split())}")

    def wait(self) -> str:
        """What QEMU says until it ends by itself, as when the board resets its hardware."""
        assert self._qemu
        return "".join(self._qemu)

    def power_off(self) -> None:
        """Cut the power, whatever the board is doing."""
        if self._held >= 0:
            os.close(self._held)
            self._held = -1
        if self._qemu:
            self._qemu.kill()
            self._qemu = None

    def mpremote(self, *arguments: str | Path, timeout: float = 60) -> str:
        """Output of `mpremote connect PTY ARGUMENTS...`. Raises BoardError."""
        command = [sys.executable, "-m", "mpremote", "connect", self.pty, *map(str, arguments)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as error:
            raise BoardError(f"the board said nothing for {timeout} s", Exit.NETWORK) from error
        if done.returncode:
            raise BoardError(f"mpremote failed: {done.stdout.strip()}", Exit.NETWORK)
        return done.stdout

    def run(self, code: str, timeout: float = 60) -> str:
        """What Python `code` prints on the board, which is not reset before. Raises BoardError.

        The code travels by a file that nobody else may read, as it may hold secrets.
        """
        with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
            file.write(code)
            file.flush()
            return self.mpremote("resume", "run", file.name, timeout=timeout)

    def inject_entropy(self) -> None:
        """Let the board make keys until its next reset; est must be installed there."""
        seed = secrets.token_hex(32)
        self.run(f"import qemu\nqemu.inject(bytes.fromhex('{seed}'))\n")

    def soft_reset(self) -> None:
        """Restart MicroPython: its heap is lost, memory outside it and the storage are not."""
        self.mpremote("soft-reset")

"""Simulated boards at the ports of a simulated USB: each reset takes the port away for a moment.

A Pico's port comes back under another name where another board was faster; or it is a boot
loader's drive, until firmware lies on it.
"""

import os
import subprocess
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import station_board
from simulated_usb import PICO, Usb

from mpest import runtimes
from mpest.station.link import SIMULATED

AWAY = 0.3  # seconds that a port is gone
_RESET, _BOOT_LOADER = 3, 4  # exit codes of the process that is the board
INFO = "INFO_UF2.TXT"


def program(folder: Path) -> Path:
    """The simulated board, which ends where it resets."""
    text = SIMULATED.read_text()
    ends = text.replace("        raise Reset\n", f"        raise SystemExit({_RESET})\n")
    ends = ends.replace(
        "    bootloader = reset\n",
        f"    def bootloader(self):\n        raise SystemExit({_BOOT_LOADER})\n",
    )
    assert ends.count("SystemExit") == 2
    path = folder / "usb_board.py"
    path.write_text(ends)
    return path


class Hub:
    """Boards come and go at `usb`, one at a time, each to the lowest free name or another one.

    drives: the folders of the boot loaders' drives, by their device, as a table of mounts is.
    """

    def __init__(self, usb: Usb, program: Path) -> None:
        self.usb = usb
        self.program = program
        self.lock = threading.Lock()
        self.drives: dict[str, Path] = {}
        self.names: dict[str, list[str]] = {}
        """Which names each port had, by its path."""
        self.away: set[str] = set()

    def mounted_at(self, device: str) -> Path | None:
        return self.drives.get(device)


class UsbBoard(threading.Thread):
    """A board at the USB path `path`; firmware: the size of the file that it waits for in its boot
    loader, where it is at first if it is `blank`."""

    def __init__(self, hub: Hub, path: str, root: Path, unique_id: str, firmware: int = 0) -> None:
        super().__init__(daemon=True)
        self.hub, self.path, self.root, self.unique_id = hub, path, root, unique_id
        self.firmware = firmware
        self.written = b""
        self.blank = False
        root.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False
        self.may_return = lambda: True
        """Whether it comes back from a reset yet."""
        hub.names[path] = []

    def run(self) -> None:
        if self.blank:
            self._as_drive()
        while not self._ended:
            code = self._as_board()
            if code == _BOOT_LOADER:
                self._as_drive()

    def unplug(self) -> None:
        self._ended = True
        if self._process:
            self._process.kill()
        self.join(10)

    def _as_board(self) -> int:
        """Until it resets; the code that says to what."""
        near, far = os.openpty()
        tty.setraw(far)
        runtime = runtimes.find("micropython")
        self._process = subprocess.Popen(
            [*runtime.argv, self.hub.program, *station_board.MACHINE, "0", self.unique_id],
            stdin=near,
            stdout=near,
            stderr=subprocess.DEVNULL,
            cwd=self.root,
            env={**os.environ, **runtime.env},
        )
        with self.hub.lock:
            [name] = self.hub.usb.serial(self.path, PICO, serial=self.unique_id)
            device = self.hub.usb.root / "dev" / name
            device.unlink()
            device.symlink_to(os.ttyname(far))
            self.hub.names[self.path].append(name)
            self.hub.away.discard(self.path)
        code = self._process.wait()
        with self.hub.lock:
            self.hub.usb.unplug(self.path)
            self.hub.away.add(self.path)
        os.close(near)
        os.close(far)
        time.sleep(AWAY)
        while not (self._ended or self.may_return()):
            time.sleep(0.02)
        return code

    def _as_drive(self) -> None:
        """Until the firmware is there whole."""
        folder = self.root.with_name(f"{self.root.name}-drive")
        folder.mkdir()
        (folder / INFO).write_text("Board-ID: RPI-RP2\n")
        with self.hub.lock:
            device = self.hub.usb.root / f"dev/{self.hub.usb.boot_loader(self.path)}1"
            device.write_text("")
            self.hub.drives[str(device)] = folder
            self.hub.names[self.path].append(device.name)
        while not self._ended and len(self.written) < self.firmware:
            time.sleep(0.02)
            written = [path.read_bytes() for path in folder.glob("*.uf2")]
            self.written = written[0] if written else b""
        with self.hub.lock:
            del self.hub.drives[str(device)]
            device.unlink()
            self.hub.usb.unplug(self.path)
        time.sleep(AWAY)


@contextmanager
def plugged(boards: list[UsbBoard]) -> Iterator[None]:
    """The boards are there meanwhile, in this order at first."""
    for board in boards:
        board.start()
        while not board.hub.names[board.path]:
            assert board.is_alive()
            time.sleep(0.01)
    try:
        yield
    finally:
        for board in boards:
            board.unplug()

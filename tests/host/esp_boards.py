"""ESP32 boards that are blank: none answers until the job's firmware is on it, whole.

They are simulated boards behind the pseudo terminal of tests/line_of_boards.py, which start once
the stand-in for esptool has written them.
"""

import threading
from hashlib import sha256
from pathlib import Path

import pytest
from firmware_files import esp32
from line_of_boards import Board, Line
from simulated_usb import CH340, Usb

from mpest import boards

PROFILE = boards.load("ESP32_GENERIC")
FIRMWARE = esp32("esp32", 0x1000)
PINNED = sha256(FIRMWARE).hexdigest()


def esptool(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the chips, once the stand-in takes the place of esptool."""
    chips = folder / "chips"
    chips.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).with_name("standin")))
    monkeypatch.setenv("MPEST_CHIPS", str(chips))
    return chips


def job_with_firmware(line: Line) -> None:
    """The line's job flashes ESP32 boards."""
    (line.folder / "ESP32_GENERIC-1.bin").write_bytes(FIRMWARE)
    with (line.folder / "boards/SIMULATED/board.toml").open("a") as file:
        file.write("[flash]" + (PROFILE.folder / "board.toml").read_text().split("[flash]")[1])
    pinned = f'firmware = "ESP32_GENERIC-1.bin"\nfirmware_sha256 = "{PINNED}"\n'
    line.job.write_text(pinned + line.job.read_text())


class BlankBoard(Board):
    """unique_id: its MAC address."""

    def __init__(self, root: Path, unique_id: str, chips: Path) -> None:
        super().__init__(root, unique_id)
        self._chips = chips
        self._gone = threading.Event()
        self._gone.set()

    def plug(self, port: Path) -> None:
        self._gone.clear()
        self._open(port)
        self.chip = self._chips / port.resolve().name
        self.chip.with_suffix(".bin").unlink(missing_ok=True)
        self.chip.with_suffix(".mac").write_text(self.unique_id)
        self._starting = threading.Thread(target=self._start_once_written, daemon=True)
        self._starting.start()

    def unplug(self) -> None:
        if not self._gone.is_set():
            self._gone.set()
            self._starting.join()
            self.chip.with_suffix(".mac").unlink()
            super().unplug()

    def is_written(self) -> bool:
        written = self.chip.with_suffix(".bin")
        return written.exists() and written.read_bytes() == FIRMWARE

    def _start_once_written(self) -> None:
        while not self._gone.wait(0.05):
            if self.is_written():
                self._start()
                return


def plug_into_usb(board: BlankBoard, usb: Usb, path: str, port: Path) -> None:
    """At a USB path, behind a converter."""
    board.plug(port)
    [name] = usb.serial(path, CH340)
    device = usb.root / "dev" / name
    device.unlink()
    device.symlink_to(port.resolve())

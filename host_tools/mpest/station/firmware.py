"""MicroPython onto a board, at the place where it is plugged in and nowhere else."""

import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mpest.boards import Board, Esptool, Uf2
from mpest.exits import CliError, Exit
from mpest.flash import esp, probe, uf2
from mpest.station import usb
from mpest.station.errors import BoardError
from mpest.station.events import Emit
from mpest.station.job import Job
from mpest.station.link import Link
from mpest.station.ports import Port

_BACK_SECONDS = 30.0  # until a drive is there, or the port again
_BOOT_LOADER = "import machine\nmachine.bootloader()\n"


def write(job: Job, port: Port, link: Link, emit: Emit) -> None:
    """Write the job's firmware; the board's port answers again when this returns.

    Raises CliError.
    """
    assert job.firmware
    _check_pin(job.firmware, job.firmware_sha256 or "")
    flash = job.profile.flash
    if isinstance(flash, Esptool):
        link.close()
        _by_esptool(job.firmware, port, flash, emit)
    elif isinstance(flash, Uf2):
        _by_drive(job.firmware, job.profile, port, flash, link, emit)
    else:
        raise CliError(f"{job.board} brings its own MicroPython: leave out firmware")
    _wait(port)


def _check_pin(file: Path, pinned: str) -> None:
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise CliError(f"cannot read {file}: {error.strerror}") from None
    if digest != pinned.lower():
        raise CliError(f"{file} has changed: its SHA-256 is {digest}, the job's is {pinned}")


def _by_esptool(file: Path, port: Port, flash: Esptool, emit: Emit) -> None:
    device = _device(port)
    esp.verify_chip(device, flash)
    for fraction in esp.write(device, flash, file, erase=False):
        emit("progress", step="firmware", fraction=fraction)


def _by_drive(file: Path, board: Board, port: Port, flash: Uf2, link: Link, emit: Emit) -> None:
    if port.device:
        raise CliError(
            f"{port.name} is no path of a USB port, so the board's drive cannot be found: "
            "let the line find its ports"
        )
    drive = usb.drive_at(port.name)
    if not drive:
        link.run(_BOOT_LOADER, 5.0)
        link.close()
        until = time.monotonic() + _BACK_SECONDS
        while not (drive := usb.drive_at(port.name)):
            if time.monotonic() > until:
                raise BoardError(f"no drive of a {board.name} appears at {port.name}")
            time.sleep(0.2)
    size = file.stat().st_size
    with _mounted(drive.device) as folder:
        uf2.check_drive(folder, flash)
        for written in uf2.copy(file, folder):
            emit("progress", step="firmware", fraction=written / size)


@contextmanager
def _mounted(device: str) -> Iterator[Path]:
    """A folder in which the drive is, mounted for the station alone."""
    with tempfile.TemporaryDirectory(prefix="mpest-drive-") as folder:
        options = f"uid={os.getuid()},umask=077,sync"
        done = subprocess.run(
            ["mount", "-t", "vfat", "-o", options, device, folder],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            words = " ".join(done.stderr.split()) or "no word"
            raise CliError(f"cannot mount {device}: {words}", Exit.STORAGE)
        try:
            yield Path(folder)
        finally:
            # The board restarts with the last block, and its drive is gone.
            subprocess.run(
                ["umount", "--lazy", folder], stdin=subprocess.DEVNULL, capture_output=True
            )


def _device(port: Port) -> str:
    device = port.path()
    if device is None:
        raise BoardError(f"nothing is at {port.name}: plug the board in again")
    return device


def _wait(port: Port) -> None:
    until = time.monotonic() + _BACK_SECONDS
    while port.path() is None:
        if time.monotonic() > until:
            raise BoardError(f"the board at {port.name} does not come back: plug it in again")
        time.sleep(0.2)
    probe.answers(_device(port), appear=int(_BACK_SECONDS))

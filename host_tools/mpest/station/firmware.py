"""MicroPython onto a board, at the place where it is plugged in and nowhere else."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from mpest.boards import Board, Esptool, Uf2
from mpest.exits import CliError
from mpest.flash import esp, probe, uf2
from mpest.station.errors import BoardError, OtherBoard
from mpest.station.events import Emit
from mpest.station.identity import Identity
from mpest.station.job import Job
from mpest.station.link import Link
from mpest.station.mounting import mounted
from mpest.station.ports import Port

_BACK_SECONDS = 30.0  # until a drive is there, or the port again


def chip(port: Port, flash: Esptool, board: Board) -> Identity:
    """Who a chip is on which no MicroPython answers: by its boot loader, which leaves it as it is.

    Raises CliError.
    """
    mac = esp.verify_chip(_device(port), flash).mac
    return Identity(mac, mac, "", board.port, (), 0, ())


def write(
    job: Job,
    port: Port,
    link: Link,
    unique_id: str,
    emit: Emit,
    note: Callable[[str], None],
) -> None:
    """Write the job's firmware; the board's port answers again when this returns.

    unique_id: of the board that gets it; "" for one that can't say it yet, in its boot loader.
    note: told why it is written a second time. Raises CliError, OtherBoard where another board is
    at the port by now.
    """
    assert job.firmware
    _check_pin(job.firmware, job.firmware_sha256 or "")
    flash = job.profile.flash
    if isinstance(flash, Esptool):
        link.close()
        found = esp.verify_chip(_device(port), flash).mac
        if found != unique_id:
            raise OtherBoard(f"{port.name} has board {found} now, not {unique_id}: start again")
        for fraction in esp.write(_device(port), flash, job.firmware, erase=False, note=note):
            emit("progress", step="firmware", fraction=fraction)
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


def _by_drive(file: Path, board: Board, port: Port, flash: Uf2, link: Link, emit: Emit) -> None:
    if port.device:
        raise CliError(
            f"{port.name} is no path of a USB port, so the board's drive cannot be found: "
            "let the line find its ports"
        )
    drive = port.drive()
    if not drive:
        link.boot_loader()
        until = time.monotonic() + _BACK_SECONDS
        while not (drive := port.drive()):
            if time.monotonic() > until:
                raise BoardError(f"no drive of a {board.name} appears at {port.name}")
            time.sleep(0.2)
    size = file.stat().st_size
    with mounted(drive) as folder:
        uf2.check_drive(folder, flash)
        for written in uf2.copy(file, folder):
            emit("progress", step="firmware", fraction=written / size)


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
    probe.answers(port.device or port.name, appear=_BACK_SECONDS, find=port.path)

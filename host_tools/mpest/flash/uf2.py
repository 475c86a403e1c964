"""Firmware for boards with a UF2 boot loader: checks the file, finds the drive, copies."""

import os
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mpest.boards import Board, Uf2
from mpest.exits import CliError, Exit

_BLOCK = 512
_MAGICS = (0x0A324655, 0x9E5D5157, 0x0AB16F30)
_MOST_PAYLOAD = 476
_NOT_FLASHED = 0x1
_HAS_FAMILY = 0x2000
# A block that the RP2350's tools put before the others, against an erratum of its boot ROM (E10).
_ABSOLUTE = 0xE48BFF57
_INFO = "INFO_UF2.TXT"
_LARGEST_INFO = 4096
_CHUNK = 64 << 10


def check(file: Path, board: Board, flash: Uf2) -> int:
    """Size in bytes of a UF2 file that is whole, for this chip, and clear of the board's storage.

    Raises CliError. Format: https://github.com/microsoft/uf2
    """
    data = file.read_bytes()
    if len(data) < _BLOCK or len(data) % _BLOCK or data[:4] != struct.pack("<I", _MAGICS[0]):
        raise CliError(f"{file} is no UF2 file: {board.name} takes {board.firmware}")
    top = flash.base + (flash.size if board.storage.offset is None else board.storage.offset)
    expected = None  # number and count of the next block
    for at in range(0, len(data), _BLOCK):
        first, second, flags, address, size, number, count, family = struct.unpack_from(
            "<8I", data, at
        )
        (last,) = struct.unpack_from("<I", data, at + _BLOCK - 4)
        if (first, second, last) != _MAGICS or size > _MOST_PAYLOAD:
            raise CliError(f"{file} is damaged: block {at // _BLOCK} is no UF2 block")
        if flags & _NOT_FLASHED or (flags & _HAS_FAMILY and family == _ABSOLUTE):
            continue
        if not flags & _HAS_FAMILY or family != flash.family:
            raise CliError(
                f"{file} is for another chip: its family is {family:#010x}, "
                f"{board.name} takes {flash.family:#010x}"
            )
        if (number, count) != (expected or (0, count)):
            raise CliError(f"{file} is damaged: a block is missing before block {number}")
        expected = (number + 1, count)
        if not flash.base <= address <= top - size:
            raise CliError(
                f"{file} reaches into what {board.name} stores (address {address:#x}): "
                "the identity would be lost"
            )
    if expected is None or expected[0] != expected[1]:
        raise CliError(f"{file} is damaged: it ends too early")
    return len(data)


def find_drive(flash: Uf2) -> Path | None:
    """Where the drive of a board that waits for firmware is mounted. Raises CliError."""
    drives = [drive for drive in _mounted() if _board_id(drive) == flash.drive]
    if len(drives) > 1:
        raise CliError(
            f"several {flash.drive} drives are there: name one with --drive "
            f"({', '.join(map(str, drives))})"
        )
    return drives[0] if drives else None


def check_drive(place: Path, flash: Uf2) -> None:
    """Raise CliError unless `place` is the drive of such a chip."""
    board_id = _board_id(place)
    if board_id is None:
        raise CliError(
            f"{place} is no drive of a board that waits for firmware: it has no {_INFO}"
        )
    if board_id != flash.drive:
        raise CliError(f"{place} is the drive of another chip: {board_id}, not {flash.drive}")


def _board_id(place: Path) -> str | None:
    try:
        with (place / _INFO).open("rb") as file:
            text = file.read(_LARGEST_INFO).decode(errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == "Board-ID":
            return value.strip()
    return None


def _mounted() -> list[Path]:
    if sys.platform == "linux":
        lines = Path("/proc/self/mounts").read_text().splitlines()
        # Blanks in names are written as \040.
        fields = [line.split()[1].encode().decode("unicode_escape") for line in lines]
        return [Path(field) for field in fields]
    volumes = Path("/Volumes")
    return sorted(volumes.iterdir()) if volumes.is_dir() else []


def wait_for_drive(flash: Uf2, seconds: float) -> Path | None:
    """`find_drive`, tried for some time."""
    end = time.monotonic() + seconds
    while (drive := find_drive(flash)) is None and time.monotonic() < end:
        time.sleep(0.5)
    return drive


def copy(file: Path, drive: Path) -> Iterator[int]:
    """Copy firmware to the drive; yields bytes written so far. The board then restarts by itself.

    Raises CliError.
    """
    data = file.read_bytes()
    written = 0
    try:
        with (drive / file.name).open("wb", buffering=0) as out:
            while written < len(data):
                written += out.write(data[written : written + _CHUNK])
                yield written
            with suppress(OSError):  # the board restarts with the last block, its drive is gone
                os.fsync(out.fileno())
    except OSError as error:
        if written < len(data):
            raise CliError(f"cannot write {drive}: {error.strerror}", Exit.STORAGE) from None

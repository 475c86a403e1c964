"""Firmware for ESP32 boards, by esptool: a program of its own, whose licence is the GPL."""

import re
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from mpest.boards import SURE_BAUD, Board, Esptool
from mpest.exits import CliError, Exit
from mpest.flash import probe
from mpest.process import Process

_ESPTOOL = (sys.executable, "-m", "esptool")
_LISTEN_SECONDS = 3  # esptool has taken six by then
_FATAL = "A fatal error occurred: "
_PARTITION_TABLE = 0x8000  # in flash, in every firmware of MicroPython
_PARTITION = struct.Struct("<2sBBII16sI")
_PARTITION_MAGIC = b"\xaa\x50"


class Chip(NamedTuple):
    """flash: its size as esptool writes it, such as "4MB". mac: the chip's MAC address, in hex
    without separators, which is machine.unique_id() of its MicroPython."""

    flash: str
    mac: str


def check(file: Path, board: Board, flash: Esptool) -> int:
    """Size in bytes of a firmware file that is for this chip and clear of the board's storage.

    Raises CliError.
    """
    output = "".join(_run([*_ESPTOOL, "image-info", str(file)], f"{file} is no ESP32 firmware"))
    match = re.search(r"^Detected image type: (\S+)", output, re.MULTILINE)
    chip = match[1].lower().replace("-", "") if match else "unknown"
    if chip != flash.chip:
        raise CliError(f"{file} is for another chip: {chip}, not {flash.chip}")
    if "(invalid" in output:
        raise CliError(f"{file} is damaged: a checksum in it is wrong")
    data = file.read_bytes()
    storage = _file_system(data[_PARTITION_TABLE - flash.offset :])
    if storage is None:
        raise CliError(
            f"{file} has no partition table with a file system: it is not the whole firmware "
            f"({board.firmware})"
        )
    if board.storage.offset is not None:
        if storage != board.storage.offset:
            raise CliError(
                f"{file} has its file system at {storage:#x}, {board.name} at "
                f"{board.storage.offset:#x}: the identity would be lost"
            )
        if flash.offset + len(data) > board.storage.offset:
            raise CliError(f"{file} is too large: it reaches into what {board.name} stores")
    return len(data)


def _file_system(table: bytes) -> int | None:
    """Offset in flash of the partition that MicroPython mounts."""
    at = 0
    while table[at : at + 2] == _PARTITION_MAGIC and len(table) >= at + _PARTITION.size:
        _, _, _, offset, _, label, _ = _PARTITION.unpack_from(table, at)
        if label.rstrip(b"\0") in (b"vfs", b"ffat"):
            return int(offset)
        at += _PARTITION.size
    return None


def _verify_chip_command(port: str, flash: Esptool) -> list[str]:
    """Arguments that make esptool check the chip and show its flash."""
    return [*_ESPTOOL, "--port", port, "--chip", flash.chip, "flash-id"]


def write_command(
    port: str, flash: Esptool, file: Path, *, erase: bool, baud: int | None = None
) -> list[str]:
    """Arguments that make esptool write `file`; it reads back what it wrote.

    baud: another than the board's.
    """
    options = ["--erase-all"] if erase else []
    command = [*_ESPTOOL, "--port", port, "--chip", flash.chip]
    command += ["--baud", str(baud or flash.baud), "write-flash", *options]
    return [*command, f"{flash.offset:#x}", str(file)]


def verify_chip(port: str, flash: Esptool) -> Chip:
    """The chip at `port`. Raises CliError if it won't do."""
    try:
        output = "".join(_run(_verify_chip_command(port, flash), f"no {flash.chip} at {port}"))
    except CliError as error:
        if "Failed to connect" not in error.message:
            raise
        does = probe.listen(port, _LISTEN_SECONDS)
        raise CliError(
            f"{error.message} The board {does}. Hold its BOOT button, press RESET, and try again",
            Exit.NETWORK,
        ) from None
    match = re.search(r"^Detected flash size: ((\d+)([KM])B)", output, re.MULTILINE)
    mac = re.search(r"^MAC: +([0-9a-f:]+)$", output, re.MULTILINE)
    if not match or not mac:
        raise CliError(
            f"esptool cannot tell how large the flash at {port} is, or its MAC address",
            Exit.NETWORK,
        )
    if int(match[2]) << {"K": 10, "M": 20}[match[3]] < flash.size:
        raise CliError(
            f"the flash at {port} is too small: {match[1]}, not {flash.size >> 20}MB; "
            "a board.toml of your own may describe a smaller one"
        )
    return Chip(match[1], mac[1].replace(":", ""))


def write(
    port: str, flash: Esptool, file: Path, *, erase: bool, note: Callable[[str], None]
) -> Iterator[float]:
    """Write firmware; yields the part done, 0 to 1. Raises CliError.

    What the line, a cable or a hub can cause is tried once more at SURE_BAUD, and told to `note`.
    """
    try:
        yield from _write(write_command(port, flash, file, erase=erase), port)
    except CliError as error:
        if error.exit_code != Exit.NETWORK:
            raise
        note(f"{error.message}: again at {SURE_BAUD} baud, it was {flash.baud}")
        again = write_command(port, flash, file, erase=erase, baud=SURE_BAUD)
        yield from _write(again, port)


def _write(command: list[str], port: str) -> Iterator[float]:
    for line in _run(command, f"cannot write {port}"):
        if match := re.search(r"^Writing at .*?(\d+(?:\.\d+)?) ?%", line):
            yield float(match[1]) / 100


def _run(command: list[str], failure: str) -> Iterator[str]:
    """Output of esptool as it comes, in lines. Raises CliError that begins with `failure`."""
    reason = ""
    with Process(command) as esptool:
        for line in esptool:
            if not reason.startswith(_FATAL) and line.strip():
                reason = line.strip().removeprefix("ERROR: ")
            yield line
    if esptool.code:
        reason = reason.removeprefix(_FATAL) or "esptool fails without a word"
        code = Exit.USAGE if "image-info" in command or "This chip is" in reason else Exit.NETWORK
        raise CliError(f"{failure}: {reason}", code)

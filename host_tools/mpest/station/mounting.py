"""A boot loader's drive, mounted for as long as firmware is copied onto it."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mpest.exits import CliError, Exit
from mpest.station.usb import Drive

_SECONDS = 20  # a drive that was plugged in a moment ago takes two
# Firmware is written through to the board, and nothing there is to run or to be a device.
_KIND = "vfat"  # no other file system of a stranger's is let into the kernel
_OPTIONS = "rw,sync,noexec,nosuid,nodev"
_NONE = subprocess.DEVNULL


@contextmanager
def mounted(drive: Drive) -> Iterator[Path]:
    """The folder in which a drive is mounted: where somebody else did so, or by ourselves.

    Root mounts it in a folder of its own; others ask udisks. With the last block of its firmware
    a board restarts and the drive is gone, so what fails at the end is passed over. Raises
    CliError.
    """
    place = mounted_at(drive.device)
    if place:
        yield place
    elif os.geteuid() == 0:
        with tempfile.TemporaryDirectory(prefix="mpest-drive-") as folder:
            _run(["mount", "-t", _KIND, "-o", _OPTIONS, drive.device, folder], drive)
            try:
                yield Path(folder)
            finally:
                _try(["umount", "--lazy", folder])
    else:
        asked = ["udisksctl", "mount", "--no-user-interaction", "--block-device", drive.device]
        _run(asked, drive)
        place = mounted_at(drive.device)
        if place is None:
            raise _refused(drive, "udisks mounted it and it is gone again")
        try:
            yield place
        finally:
            _try(["udisksctl", "unmount", "--force", "--block-device", drive.device])


def mounted_at(device: str, table: Path = Path("/proc/self/mounts")) -> Path | None:
    """Where a device is mounted, None if it is not."""
    try:
        lines = table.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:
        source, place, *_ = line.split(" ")
        if _unescaped(source) == device:
            return Path(_unescaped(place))
    return None


def _unescaped(text: str) -> str:
    # A blank or a backslash in a name is three octal digits there.
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _run(command: Sequence[str], drive: Drive) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=_NONE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise _refused(drive, f"{command[0]} does not end") from None
    except OSError as error:
        raise _refused(drive, f"{command[0]}: {error.strerror}") from None
    if done.returncode and mounted_at(drive.device) is None:  # else another program was faster
        raise _refused(drive, (done.stdout.strip().splitlines() or [command[0]])[0])


def _try(command: Sequence[str]) -> None:
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(command, stdin=_NONE, stdout=_NONE, stderr=_NONE, timeout=_SECONDS)


def _refused(drive: Drive, words: str) -> CliError:
    return CliError(
        f"the drive of the board at {drive.path} can't be mounted: {words}", Exit.STORAGE
    )

"""Ports of a station: a board's place, whatever the system calls its device at the moment."""

import os
from dataclasses import dataclass
from pathlib import Path

from mpest.station import usb


@dataclass(frozen=True)
class Plugged:
    """A board at a port. One that was plugged in again, or started over, is another one."""

    device: str
    """Its path now, such as /dev/ttyACM0."""
    number: int
    """Of the device."""
    since: int
    """When the device came, in nanoseconds."""
    serial: str
    """What the board calls itself over USB; "" where it does not, or a converter does."""


@dataclass(frozen=True)
class Port:
    """name: the path of the USB port, or the device's own path where `device` is given.

    root: where `sys` and `dev` lie.
    """

    name: str
    device: str = ""
    root: Path = usb.ROOT

    def path(self) -> str | None:
        """Of its device now; None without one."""
        if self.device:
            return self.device if os.path.exists(self.device) else None
        found = usb.port_at(self.name, self.root)
        return str(self.root / found.device.lstrip("/")) if found else None

    def board(self) -> Plugged | None:
        """What is plugged in, in its boot loader too; None without a board."""
        found = None if self.device else usb.port_at(self.name, self.root)
        path = str(self.root / found.device.lstrip("/")) if found else self.device
        if not path and self.name in usb.boot_loaders(self.root) and (drive := self.drive()):
            path = drive.device
        try:
            state = os.stat(path)
        except OSError:
            return None
        real, serial = os.path.realpath(path), found.serial if found else ""
        return Plugged(real, state.st_rdev, state.st_ctime_ns, serial)

    def drive(self) -> usb.Drive | None:
        """Of the boot loader that is there; None without one."""
        found = usb.drive_at(self.name, self.root)
        return found and usb.Drive(found.path, str(self.root / found.device.lstrip("/")))


def plugged(root: Path = usb.ROOT) -> list[Port]:
    """The serial ports of USB that there are right now, and boards that wait for firmware."""
    paths = [*(found.path for found in usb.ports(root)), *usb.boot_loaders(root)]
    return [Port(path, root=root) for path in paths]

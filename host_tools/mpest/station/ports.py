"""Ports of a station: a board's place, whatever the system calls its device at the moment."""

import os
from dataclasses import dataclass

from mpest.station import usb


@dataclass(frozen=True)
class Port:
    """name: the path of the USB port, or the device's own path where `device` is given."""

    name: str
    device: str = ""

    def path(self) -> str | None:
        """Of its device now; None without one."""
        if self.device:
            return self.device if os.path.exists(self.device) else None
        found = usb.port_at(self.name)
        return found.device if found else None

    def board(self) -> tuple[str, int, int] | None:
        """Another one with each board that is plugged in, or starts over; None without one."""
        try:
            path = self.path() or ""
            state = os.stat(path)
        except OSError:
            return None
        return os.path.realpath(path), state.st_rdev, state.st_ctime_ns


def plugged() -> list[Port]:
    """The serial ports of USB that there are right now."""
    return [Port(found.path) for found in usb.ports()]

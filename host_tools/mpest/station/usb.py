"""Boards by the place of their USB port, from sysfs.

A port keeps its USB path, such as 1-1.4 (bus, port, hub's port), whatever is plugged in there;
/dev/ttyACM0 may be another board after each reset. So what a board shows, its serial port or its
boot loader's drive, is found by that path alone, never by a name, a label or a serial number.

Every function takes `root`, where `sys` and `dev` lie.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path("/")

_DEVICE = re.compile(r"\d+-\d+(\.\d+)*")  # of a USB device in sysfs
_INTERFACE = re.compile(r"\d+-\d+(?:\.\d+)*:(\d+\.\d+)")
_CDC = "cdc_acm"  # a board's own USB; other drivers are of converters, each port being a board
_RP2_BOOT = {("2e8a", "0003"), ("2e8a", "000f")}  # boot loaders of RP2040 and RP2350
_TEXT_BYTES = 256  # of a device's strings, which the device chose


@dataclass(frozen=True)
class Port:
    """A serial port of USB. path: where it is plugged in, which names it for good."""

    path: str
    device: str
    """Such as /dev/ttyACM0, now."""
    vendor: str = ""
    product: str = ""
    """The numbers, four hexadecimal digits each."""
    name: str = ""
    """What the device calls itself."""
    serial: str = ""
    """Its serial number, of a board's own USB alone: a converter's is none of the board's."""


@dataclass(frozen=True)
class Drive:
    """A boot loader's drive. device: its partition, or the whole where it has none."""

    path: str
    device: str


def ports(root: Path = ROOT) -> list[Port]:
    """All serial ports of USB, by their path.

    A board has one, that of its first interface. A converter has one for each of its lines, and so
    for each board: the path of such a line goes on with the interface, as 1-1.4:1.1.
    """
    found: dict[str, list[tuple[str, Port]]] = {}
    for entry in _entries(root / "sys/class/tty"):
        place = _usb(entry)
        if place:
            usb, interface = place
            port = Port(
                usb.name,
                f"/dev/{entry.name}",
                _text(usb / "idVendor"),
                _text(usb / "idProduct"),
                _text(usb / "product"),
                _text(usb / "serial") if _is_cdc(root, entry.name) else "",
            )
            found.setdefault(usb.name, []).append((interface, port))
    listed: list[Port] = []
    for lines in found.values():
        lines.sort(key=lambda line: [int(number) for number in re.findall(r"\d+", line[0])])
        first = lines[0][1].device.rpartition("/")[2]
        if len(lines) > 1 and not _is_cdc(root, first):
            listed += [replace(port, path=f"{port.path}:{interface}") for interface, port in lines]
        else:
            listed.append(lines[0][1])
    return sorted(listed, key=lambda port: order(port.path))


def port_at(path: str, root: Path = ROOT) -> Port | None:
    """The serial port at a USB path now; None while there is none, as in a boot loader."""
    return next((port for port in ports(root) if port.path == path), None)


def boot_loaders(root: Path = ROOT) -> list[str]:
    """USB paths of the boards that wait for firmware on their drive."""
    found = set()
    for entry in _entries(root / "sys/class/block"):
        place = _usb(entry)
        if place and (_text(place[0] / "idVendor"), _text(place[0] / "idProduct")) in _RP2_BOOT:
            found.add(place[0].name)
    return sorted(found, key=order)


def drive_at(path: str, root: Path = ROOT) -> Drive | None:
    """The drive of the boot loader at a USB path; None while there is none."""
    path = path.partition(":")[0]
    for entry in _entries(root / "sys/class/block"):
        place = _usb(entry)
        if place and place[0].name == path and not (entry / "partition").exists():
            partitions = sorted(
                part.name for part in _entries(entry) if (part / "partition").exists()
            )
            return Drive(path, f"/dev/{(partitions or [entry.name])[0]}")
    return None


def plugged(path: str, root: Path = ROOT) -> bool:
    """Whether anything is plugged in at a USB path."""
    return (root / "sys/bus/usb/devices" / path.partition(":")[0]).exists()


def order(path: str) -> list[int]:
    """By which paths are sorted as people count: 1-1.10 after 1-1.9."""
    return [int(number) for number in re.findall(r"\d+", path)]


def _entries(folder: Path) -> Iterator[Path]:
    # A device may go while it is looked at.
    try:
        yield from sorted(folder.iterdir())
    except OSError:
        return


def _usb(entry: Path) -> tuple[Path, str] | None:
    """The USB device that an entry of /sys/class belongs to, and its interface."""
    interface = ""
    try:
        real = entry.resolve(strict=True)
    except OSError:
        return None
    for folder in real.parents:
        match = _INTERFACE.fullmatch(folder.name)
        if match:
            interface = interface or match[1]
        elif _DEVICE.fullmatch(folder.name):
            return folder, interface
    return None


def _is_cdc(root: Path, name: str) -> bool:
    driver = root / "sys/class/tty" / name / "device/driver"
    try:
        return driver.resolve(strict=True).name == _CDC
    except OSError:
        return name.startswith("ttyACM")


def _text(file: Path) -> str:
    """A device's own words, as much as can be printed."""
    try:
        data = file.read_bytes()[:_TEXT_BYTES]
    except OSError:
        return ""
    text = data.decode(errors="replace").strip()
    return "".join(letter for letter in text if letter.isprintable())

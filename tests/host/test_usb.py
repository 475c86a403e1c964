"""Boards are found by the place where they are plugged in, whatever they are called there."""

import random
from pathlib import Path

import pytest
from simulated_usb import CH340, PICO, Usb

from mpest.station import usb
from mpest.station.usb import Drive, Port

HUB = ("05e3", "0610")


@pytest.fixture
def tree(tmp_path: Path) -> Usb:
    return Usb(tmp_path)


def test_ports(tree: Usb) -> None:
    assert usb.ports(tree.root) == []
    tree.device("1-1", HUB)
    tree.serial("1-1.10")
    tree.serial("1-1.9", CH340, product="USB Serial")
    tree.serial("2-3")
    assert usb.ports(tree.root) == [
        Port("1-1.9", "/dev/ttyUSB0", *CH340, "USB Serial"),
        Port("1-1.10", "/dev/ttyACM0", *PICO, "Board"),
        Port("2-3", "/dev/ttyACM1", *PICO, "Board"),
    ]
    assert usb.port_at("2-3", tree.root) == usb.ports(tree.root)[2]
    assert usb.port_at("1-1", tree.root) is None  # a hub
    assert usb.plugged("1-1", tree.root) and not usb.plugged("1-2", tree.root)


def test_a_board_with_two_ports_is_one(tree: Usb) -> None:
    tree.serial("1-1", PICO, lines=2)
    assert [(port.path, port.device) for port in usb.ports(tree.root)] == [("1-1", "/dev/ttyACM0")]


def test_a_converter_with_four_lines_is_four(tree: Usb) -> None:
    tree.serial("1-1", CH340, lines=4)
    assert [(port.path, port.device) for port in usb.ports(tree.root)] == [
        (f"1-1:1.{line}", f"/dev/ttyUSB{line}") for line in range(4)
    ]
    assert usb.plugged("1-1:1.3", tree.root)
    found = usb.port_at("1-1:1.3", tree.root)
    assert found and found.device == "/dev/ttyUSB3"


@pytest.mark.parametrize("partition", [True, False])
def test_a_boot_loader_s_drive(tree: Usb, partition: bool) -> None:
    """A disk of the PC itself, and a stick that calls itself as a Pico does, are none."""
    disk = tree.root / "sys/devices/pci0000:00/0000:00:17.0/ata1/block/sda"
    disk.mkdir(parents=True)
    (tree.root / "sys/class/block/sda").symlink_to(disk)
    tree.boot_loader("1-2")
    name = tree.boot_loader("1-3", partition=partition)
    device = f"/dev/{name}1" if partition else f"/dev/{name}"
    assert usb.drive_at("1-3", tree.root) == Drive("1-3", device)
    assert usb.drive_at("1-4", tree.root) is None
    assert usb.port_at("1-3", tree.root) is None


def test_a_port_that_comes_back_under_another_name(tree: Usb) -> None:
    tree.serial("1-1")
    assert tree.serial("1-2") == ["ttyACM1"]
    for path in ("1-1", "1-2"):
        tree.unplug(path)
    assert usb.ports(tree.root) == []
    tree.serial("1-2")
    tree.serial("1-1")
    found = [usb.port_at(path, tree.root) for path in ("1-1", "1-2")]
    assert [port and port.device for port in found] == ["/dev/ttyACM1", "/dev/ttyACM0"]


@pytest.mark.parametrize("seed", range(4))
def test_eight_at_once(tree: Usb, seed: int) -> None:
    """Eight Picos go to their boot loaders and come back, in any order: none is mixed up."""
    tree.device("1-1", HUB)
    tree.device("1-1.4", HUB)
    paths = [f"1-1.{n}" for n in (1, 2, 3)] + [f"1-1.4.{n}" for n in range(1, 6)]
    there = dict.fromkeys(paths, "")
    names: dict[str, str] = {}
    order = random.Random(seed)
    for path in paths:
        names[path] = tree.serial(path)[0]
        there[path] = "serial"
    for _ in range(40):
        path = order.choice(paths)
        if there[path]:
            tree.unplug(path)
            there[path] = ""
        elif order.random() < 0.5:
            names[path] = f"{tree.boot_loader(path)}1"
            there[path] = "boot loader"
        else:
            names[path] = tree.serial(path)[0]
            there[path] = "serial"
        ports = {port.path: port for port in usb.ports(tree.root)}
        for place, kind in there.items():
            port, drive = ports.get(place), usb.drive_at(place, tree.root)
            expected = f"/dev/{names[place]}"
            assert (port.device if port else None) == (expected if kind == "serial" else None)
            assert (drive.device if drive else None) == (
                expected if kind == "boot loader" else None
            )
            assert usb.plugged(place, tree.root) == bool(kind)


def test_what_a_device_says_of_itself(tree: Usb) -> None:
    folder = tree.device("1-1", PICO)
    (folder / "product").write_bytes(b"\x1b[31m\xff" + b"x" * 9999)
    interface = folder / "1-1:1.0/tty/ttyACM0"
    interface.mkdir(parents=True)
    (tree.root / "sys/class/tty/ttyACM0").symlink_to(interface)
    (port,) = usb.ports(tree.root)
    assert port.name.startswith("[31m") and port.name.isprintable() and len(port.name) < 300


def test_a_device_that_goes_while_it_is_looked_at(tree: Usb) -> None:
    """Links that lead nowhere, as sysfs has them for a moment."""
    tree.serial("1-1")
    (tree.root / "sys/class/tty/ttyACM1").symlink_to("nowhere")
    (tree.root / "sys/class/block/sda").symlink_to("nowhere")
    assert len(usb.ports(tree.root)) == 1
    assert usb.drive_at("1-2", tree.root) is None


def test_this_computer() -> None:
    """Its own sysfs is read without an error, whatever it has."""
    for port in usb.ports():
        assert usb.port_at(port.path) == port

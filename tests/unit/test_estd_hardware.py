"""What tells a board from another with a copy of its card."""

import os

import check
from estd import hardware


def write(root, path, octets):
    folder = root
    for name in path.split("/")[1:-1]:
        folder += "/" + name
        try:
            os.mkdir(folder)
        except OSError:
            pass  # it is there
    with open(root + path, "wb") as file:
        file.write(octets)


def test_what_a_system_tells():
    root = check.folder("hardware")
    assert hardware.number(root) == ""
    write(root, "/etc/machine-id", b"0123456789abcdef0123456789abcdef\n")
    assert hardware.number(root) == "0123456789abcdef0123456789abcdef"
    for name, address, device in (
        ("lo", b"00:00:00:00:00:00\n", True),
        ("br0", b"dc:a6:32:00:00:01\n", False),
        ("eth0", b"02:a6:32:00:00:01\n", True),
        ("wlan0", b"dc:a6:32:aa:bb:cc\n", True),
    ):
        write(root, "/sys/class/net/%s/address" % name, address)
        if device:
            write(root, "/sys/class/net/%s/device/x" % name, b"")
    assert hardware.number(root) == "dca632aabbcc"
    write(root, "/sys/firmware/devicetree/base/serial-number", b"0000000000000000\0")
    assert hardware.number(root) == "dca632aabbcc"
    # Nothing that a subject could not hold.
    write(root, "/sys/firmware/devicetree/base/serial-number", b'10000000,"CN=\0\n')
    assert hardware.number(root) == "10000000CN"
    check.clean(root)


def test_here():
    assert isinstance(hardware.number(), str)

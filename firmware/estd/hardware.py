"""What tells this board from its twins: a number that does not lie on the card.

So a copy of the card in another board is told, and "{id}" in `subject` differs.
"""

import os

from micropython import const

# More of it is no number.
_MAX = const(128)
_NUMBERS = const(("/sys/firmware/devicetree/base/serial-number", "/sys/class/dmi/id/product_uuid"))
_INTERFACES = const("/sys/class/net")
_MACHINE = const("/etc/machine-id")


def number(root=""):
    """Text; "" where the system tells nothing. root: folder in the place of /."""
    for path in _NUMBERS:
        text = _read(root + path)
        if text:
            return text
    return _cpu(root) or _mac(root) or _read(root + _MACHINE)


def _read(path):
    # The text in a file without what cannot be part of a name, "" for none.
    try:
        with open(path, "rb") as file:
            octets = file.read(_MAX)
    except OSError:
        return ""
    text = "".join([chr(octet) for octet in octets if chr(octet).isalpha() or 45 <= octet < 59])
    return text if text.strip("0-:/.") else ""


def _cpu(root):
    # The serial number in /proc/cpuinfo, as of a Raspberry Pi.
    try:
        with open(root + "/proc/cpuinfo") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == "Serial" and value.strip().strip("0"):
                    return value.strip()
    except (OSError, ValueError):
        pass
    return ""


def _mac(root):
    # The address of the first interface that is hardware, as 12 digits.
    try:
        interfaces = sorted(os.listdir(root + _INTERFACES))
    except OSError:
        return ""
    for name in interfaces:
        folder = "%s/%s" % (root + _INTERFACES, name)
        try:
            os.stat(folder + "/device")
        except OSError:
            continue  # such as lo, or a bridge
        address = _read(folder + "/address").replace(":", "")
        # The second digit tells one that was made up at the start.
        if address and not int(address[1], 16) & 2:
            return address
    return ""

"""What tells this board from its twins: a number that does not lie on the card.

So a copy of the card in another board is told, and "{id}" in `subject` differs.
"""

import os

from micropython import const

# More of it is no number.
_MAX = const(128)
_SERIAL = const("/sys/firmware/devicetree/base/serial-number")
_INTERFACES = const("/sys/class/net")
_MACHINE = const("/etc/machine-id")


def number(root=""):
    """Text; "" where the system tells nothing. root: folder in the place of /.

    Only what every user may read: root and the agent's user must find the same.
    """
    return _read(root + _SERIAL) or _mac(root) or _read(root + _MACHINE)


def _read(path):
    # The text in a file without what cannot be part of a name, "" for none.
    try:
        with open(path, "rb") as file:
            octets = file.read(_MAX)
    except OSError:
        return ""
    text = "".join([chr(octet) for octet in octets if chr(octet).isalpha() or 45 <= octet < 59])
    return text if text.strip("0-:/.") else ""


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

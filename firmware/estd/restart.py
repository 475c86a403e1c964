"""Being the program that lies there now: after an upgrade, or with other settings."""

import os
import sys
import time

from micropython import const

from estd import programs

# Of each part, what a package manager would replace.
_MODULES = const(("est", "est.agent", "estd", "estd.run"))
# Until a package manager has written the rest.
_SETTLE = const(3)


def package():
    """What tells the files of this program from those that replace them."""
    stamp = []
    for name in _MODULES:
        try:
            found = os.stat(sys.modules[name].__file__)
            stamp.append((found[1], found[6], found[8]))
        except (AttributeError, KeyError, OSError):
            stamp.append(None)
    return stamp


def settle():
    """Wait until nothing of the package changes any more."""
    before = None
    while before != package():
        before = package()
        time.sleep(_SETTLE)


def restart():
    """Start again under the same process id. Without ffi this ends instead: the supervisor starts
    it again."""
    with open("/proc/self/cmdline", "rb") as file:
        arguments = file.read().split(b"\0")[:-1]
    # CPython finds a virtual environment by its name; MicroPython may be run by a loader.
    programs.execute(sys.executable if hasattr(os, "execv") else "/proc/self/exe", arguments)
    sys.exit(0)

"""An EST (RFC 7030) client for MicroPython. Import the modules you use, such as est.client."""

__version__ = "0.1.0"

import sys


def apart(function, *arguments):
    """The result of `function(*arguments)`. What modules of est it imported are forgotten.

    So their code is in the heap only while it runs: on a board TLS needs the room.
    """
    loaded = list(sys.modules)
    try:
        return function(*arguments)
    finally:
        for name in list(sys.modules):
            if name not in loaded and name[:4] == "est.":
                delattr(sys.modules["est"], name[4:])
                del sys.modules[name]

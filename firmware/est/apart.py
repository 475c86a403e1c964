"""Code that is in the heap only while it runs: on a board TLS needs the room."""

import sys

import est


def apart(function, *arguments):
    """The result of `function(*arguments)`. What modules of est it imported are forgotten."""
    loaded = list(sys.modules)
    try:
        return function(*arguments)
    finally:
        for name in list(sys.modules):
            if name not in loaded and name[:4] == "est.":
                del sys.modules[name]
                delattr(est, name[4:])

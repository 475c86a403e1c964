"""An EST (RFC 7030) client for MicroPython. Import the modules you use, such as est.client."""

__version__ = "0.2.0"

import gc
import sys

from micropython import const

# What takes long is a generator of steps: it yields after each, None or the poll object of what it
# waits for. est.steps runs such beside the tasks of asyncio.
_POLL_MS = const(50)

# Modules that other tasks imported while steps waited; `apart` does not forget them.
others = []


def run(steps):
    """The result of `steps`."""
    try:
        while True:
            waits = next(steps)
            if waits:
                waits.poll(_POLL_MS)
    except StopIteration as stop:
        return stop.value


def apart(function, *arguments):
    """The result of `function(*arguments)`. What modules of est it imported are forgotten.

    So their code is in the heap only while it runs: on a board TLS needs the room.
    """

    def steps():
        return function(*arguments)
        yield

    return run(aparts(steps))


def aparts(function, *arguments):
    """As `apart`, of a function that returns steps; in steps itself."""
    loaded = list(sys.modules)
    steps = None
    try:
        steps = function(*arguments)
        while True:
            yield next(steps)
    except StopIteration as stop:
        return stop.value
    finally:
        if steps:
            steps.close()
            steps = None
        for name in list(sys.modules):
            if name[:4] == "est." and name not in loaded and name not in others:
                if hasattr(sys.modules["est"], name[4:]):  # else it failed to load
                    delattr(sys.modules["est"], name[4:])
                del sys.modules[name]
        # Later, what ended steps left on the stack would keep their modules in the heap.
        gc.collect()

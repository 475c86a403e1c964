"""Runs device code on CPython: stand-ins for what only MicroPython has, and firmware/ to import.

`python cpython.py SCRIPT [ARG...]` runs SCRIPT as MicroPython would.
"""

import importlib
import os
import runpy
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from mpest import shipped

STANDINS = Path(__file__).with_name("standins")


def firmware() -> Path:
    """Folder that holds the `est` package."""
    return shipped.folder("firmware")


def install() -> None:
    """Make `import est` work in this process."""
    for folder in (str(STANDINS), str(firmware())):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    clock: dict[str, object] = {
        "ticks_us": lambda: time.monotonic_ns() // 1000,
        "ticks_ms": lambda: time.monotonic_ns() // 1000000,
        "ticks_diff": lambda end, start: end - start,
        "ticks_add": lambda ticks, delta: ticks + delta,
        "sleep_ms": lambda ms: time.sleep(ms / 1000),
    }
    for name, function in clock.items():
        setattr(time, name, function)
    # CPython counts references; to look at all objects takes long in a large program.
    vars(importlib.import_module("est"))["gc"] = SimpleNamespace(collect=lambda: None)


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)
    # The folder of this file would shadow nothing today; a board has no such folder.
    sys.path.pop(0)
    install()
    sys.argv.pop(0)
    runpy.run_path(sys.argv[0], run_name="__main__")

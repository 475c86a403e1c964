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
from typing import Any

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
    _imitate_time()
    vars(importlib.import_module("est"))["gc"] = _NO_COLLECTION


def become(package: dict[str, Any]) -> None:
    """Make of a module, whose globals these are, the package of its name in firmware/.

    A user's program imports it: what else firmware/ holds stays out of its way, and modules of its
    own come before our stand-ins.
    """
    folder = firmware() / package["__name__"]
    if str(STANDINS) not in sys.path:
        sys.path.append(str(STANDINS))
    _imitate_time()
    package["__path__"] = [str(folder)]
    init = folder / "__init__.py"
    exec(compile(init.read_text(), init, "exec"), package)  # noqa: S102
    if "gc" in package:
        package["gc"] = _NO_COLLECTION


# CPython counts references; to look at all objects takes long in a large program.
_NO_COLLECTION = SimpleNamespace(collect=lambda: None)


def _imitate_time() -> None:
    clock: dict[str, object] = {
        "ticks_us": lambda: time.monotonic_ns() // 1000,
        "ticks_ms": lambda: time.monotonic_ns() // 1000000,
        "ticks_diff": lambda end, start: end - start,
        "ticks_add": lambda ticks, delta: ticks + delta,
        "sleep_ms": lambda ms: time.sleep(ms / 1000),
    }
    for name, function in clock.items():
        setattr(time, name, function)


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)
    # The folder of this file would shadow nothing today; a board has no such folder.
    sys.path.pop(0)
    install()
    sys.argv.pop(0)
    runpy.run_path(sys.argv[0], run_name="__main__")

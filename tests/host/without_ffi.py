"""`micropython -m estd` where ffi is not built in."""

import builtins
import sys

_usual = builtins.__import__


def _import(name, *arguments):
    if name == "ffi":
        raise ImportError("no module named 'ffi'")
    return _usual(name, *arguments)


builtins.__import__ = _import

from estd.__main__ import main  # noqa: E402

sys.exit(main(sys.argv[1:]))

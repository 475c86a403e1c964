"""What the station runs on boards: texts that are sent, not modules that are imported.

Each begins with `common`, and has nothing but the device's own modules. What a board answers is
public: no key, password or one-time password is ever printed.
"""

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent


@cache
def text(*names: str) -> str:
    """The device code of these files of this folder."""
    return "".join((_FOLDER / f"{name}.py").read_text() for name in ("common", *names))


_ONLY = """
import binascii
try:
    import machine
    unique = binascii.hexlify(machine.unique_id()).decode()
except (ImportError, AttributeError):
    unique = open("/unique_id").read()
if unique != {expected!r}:
    raise ValueError({other!r} + unique)
"""
OTHER = "mpest-other "


def only(unique_id: str) -> str:
    """Code that ends what follows on any other board: a ValueError of OTHER and its number."""
    return _ONLY.format(expected=unique_id, other=OTHER)

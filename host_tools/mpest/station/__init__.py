"""A line of stations that makes boards: job, boards, authority, ledger.

`Board` is one board, step by step, for lines that have an executor of their own:
docs/factory.md, "Your own executor".
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpest.station.authority import Authority
    from mpest.station.board import Board
    from mpest.station.identity import Birth, Identity
    from mpest.station.link import Link, Serial
    from mpest.station.request import Request

__all__ = ["Authority", "Birth", "Board", "Identity", "Link", "Request", "Serial"]

_MODULES = {"Birth": "identity", "Link": "link", "Serial": "link"}


def __getattr__(name: str) -> Any:
    # When it is used: the ledger's commands need none of it.
    if name not in __all__:
        raise AttributeError(name)
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, name.lower())}"), name)

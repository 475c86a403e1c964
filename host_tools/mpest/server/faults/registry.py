"""The tables of faults, by the moment they strike, and how a fault is named and found."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from mpest.server import cmc
from mpest.server.ca import Authority, Order
from mpest.server.wire import Part, Refused, Reply

OPERATIONS = (
    "cacerts",
    "csrattrs",
    "simpleenroll",
    "simplereenroll",
    "serverkeygen",
    "fullcmc",
)


@dataclass(frozen=True)
class Context:
    """What the server knows when a fault strikes instead of an answer."""

    authority: str
    """`host:port` as the client addressed it."""
    detour: str
    """Another path for the same operation, where the faults in DETOURS don't strike."""
    retry_after: int
    challenge: Callable[[str], Refused]


_Instead = Callable[[Context], Reply]
_Attributes = Callable[[bytes], bytes]
_Certificate = Callable[[Authority, Order, datetime], x509.Certificate]
_Package = Callable[[Authority, list[x509.Certificate]], bytes]
_Parts = Callable[[list[Part]], list[Part]]
_Cmc = Callable[[Authority, cmc.Answer], cmc.Answer]
_Change = Callable[[Reply], Reply]
_Tls = Callable[[Authority, Order, ec.EllipticCurvePrivateKey], x509.Certificate]
_Function = TypeVar("_Function")

DESCRIPTIONS: dict[str, str] = {
    "digest-no-qop": "offers Digest without qop, as RFC 2069 did, and accepts such an answer",
    "digest-unknown-algorithm": "offers only a Digest algorithm that does not exist",
}
"""Every fault's name and, for people, what it does."""

INSTEAD: dict[str, _Instead] = {}
ATTRIBUTES: dict[str, _Attributes] = {}
CERTIFICATE: dict[str, _Certificate] = {}
PACKAGE: dict[str, _Package] = {}
PARTS: dict[str, _Parts] = {}
CMC: dict[str, _Cmc] = {}
BODY: dict[str, _Change] = {}
DELIVERY: dict[str, _Change] = {}
TLS: dict[str, _Tls] = {}

DETOURS = {"redirect-same-origin", "redirect-elsewhere", "redirect-http"}
"""These send the client to a path where its request works."""


def check_spec(spec: str) -> str:
    """Return `spec`, a fault `NAME` or `NAME@OPERATION`. Raises ValueError."""
    name, at, operation = spec.partition("@")
    if name not in DESCRIPTIONS:
        raise ValueError(f"unknown fault {name!r}")
    if at and operation not in OPERATIONS:
        raise ValueError(f"unknown operation {operation!r} in fault {spec!r}")
    if at and name in TLS:
        raise ValueError(f"{name} strikes before any operation: leave out @{operation}")
    return spec


def names_for(specs: Iterable[str], operation: str) -> set[str]:
    """The fault names among `specs` that apply to `operation`."""
    parts = [spec.partition("@") for spec in specs]
    return {name for name, _, where in parts if where in ("", operation)}


def pick(table: dict[str, _Function], active: set[str]) -> list[_Function]:
    """The functions of the active faults in `table`, in the order of their names."""
    return [table[name] for name in sorted(active & table.keys())]


def fault(
    table: dict[str, _Function], name: str, description: str
) -> Callable[[_Function], _Function]:
    """Enter a function into one of the tables."""

    def register(function: _Function) -> _Function:
        table[name] = function
        DESCRIPTIONS[name] = description
        return function

    return register

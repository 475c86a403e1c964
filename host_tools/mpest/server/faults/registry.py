"""The tables of faults, by the moment they strike, and how a fault is named and found."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import permutations
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from mpest.server import cmc
from mpest.server.authority import Authority
from mpest.server.ca import Order
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

NEEDS = {
    "csrattrs-malformed": "--csrattrs",
    "digest-no-qop": "--auth digest",
    "digest-unknown-algorithm": "--auth digest",
    "no-challenge": "--auth basic, digest or token",
    "no-retry-after": "--approve-after, or another fault that says when to come again",
}
"""The options without which a fault does nothing."""

INSTEAD: dict[str, _Instead] = {}
ATTRIBUTES: dict[str, _Attributes] = {}
CERTIFICATE: dict[str, _Certificate] = {}
PACKAGE: dict[str, _Package] = {}
PARTS: dict[str, _Parts] = {}
CMC: dict[str, _Cmc] = {}
BODY: dict[str, _Change] = {}
NAME: dict[str, _Change] = {}
DELIVERY: dict[str, _Change] = {}
SCRIPT: dict[str, _Change] = {}
TLS: dict[str, _Tls] = {}

DETOURS = {"redirect-same-origin", "redirect-relative", "redirect-elsewhere", "redirect-http"}
"""These send the client to a path where its request works."""

_WORK: tuple[dict[str, Any], ...] = (ATTRIBUTES, CERTIFICATE, PACKAGE, PARTS, CMC, BODY, NAME)
# One of each at a time: a second would take the place of the first.
_SINGLE: tuple[dict[str, Any], ...] = (*_WORK[:-1], INSTEAD, SCRIPT, TLS)
_NO_HTTP = {"garbage-status-line", "cut-connection"}
# Each says something of the content type that the others of its set deny.
_TYPES = (
    {"wrong-content-type", "wrong-boundary"},
    {"wrong-content-type", "short-length"},
    {"wrong-content-type", "old-content-type", "no-content-type"},
    {"wrong-boundary", "no-content-type"},
)


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


def check_together(specs: set[str]) -> set[str]:
    """Return `specs` if they can be combined. Raises ValueError."""
    for one, other in permutations(sorted(specs), 2):
        (first, _, there), (second, _, here) = one.partition("@"), other.partition("@")
        everywhere = there in ("", here)  # where the second strikes
        if (everywhere or not here) and _exclude(first, second):
            raise ValueError(f"{one} and {other} can't be combined")
        if everywhere and _prevents(first, second):
            raise ValueError(f"{one} leaves nothing that {other} could change")
    return specs


def _exclude(first: str, second: str) -> bool:
    """Whether an answer with both would not be what their descriptions say."""
    return (
        (first != second and any(first in table and second in table for table in _SINGLE))
        or (first == "chunked" and second in SCRIPT)
        or (first != second and any({first, second} <= names for names in _TYPES))
    )


def _prevents(first: str, second: str) -> bool:
    """Whether nothing is left of `second` where `first` strikes."""
    if first in _NO_HTTP and (second in DELIVERY or second in SCRIPT):
        return True
    if first == "cut-after-headers" and second in BODY:
        return True
    return first in INSTEAD.keys() - DETOURS and any(second in table for table in _WORK)


def names_for(specs: Iterable[str], operation: str) -> set[str]:
    """The fault names among `specs` that apply to `operation`."""
    parts = [spec.partition("@") for spec in specs]
    return {name for name, _, where in parts if where in ("", operation)}


def pick(table: dict[str, _Function], active: set[str]) -> list[_Function]:
    """The functions of the active faults in `table`, in the order of their names."""
    return [table[name] for name in sorted(active & table.keys())]


def spoil(reply: Reply, active: set[str]) -> Reply:
    """What the active faults make of a 200."""
    for change in pick(BODY, active) + pick(NAME, active):
        reply = change(reply)
    return reply


def deliver(reply: Reply, active: set[str]) -> Reply:
    """How any answer travels."""
    for change in pick(DELIVERY, active) + pick(SCRIPT, active):  # scripts hold the headers
        reply = change(reply)
    return reply


def fault(
    table: dict[str, _Function], name: str, description: str
) -> Callable[[_Function], _Function]:
    """Enter a function into one of the tables."""

    def register(function: _Function) -> _Function:
        table[name] = function
        DESCRIPTIONS[name] = description
        return function

    return register

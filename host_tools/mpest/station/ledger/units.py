"""What a ledger is asked and what it answers. Nothing here needs a database."""

import re
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from mpest.exits import CliError, Exit
from mpest.text import printable

State = Literal["open", "working", "failed", "done", "rework", "aside", "scrapped"]
"""Of a unit.

open: no board has it yet. working: a board has it, whether or not a worker has a lease.
failed: its last run failed; the next claim goes on. done: certificate installed and proven.
rework: was done and is to have a new key. aside: a second board has the same unique id.
scrapped: closed for ever.
"""

# A serial number stands in names, labels and file names; a longer one is a mistake.
MAX_SERIAL = 64
# Of a station, a USB path, a person.
MAX_NAME = 200
# Of a cell of metadata: more is no text that a person wrote.
MAX_TEXT = 2000
# Of why something failed: a board may print megabytes.
MAX_REASON = 500


@dataclass(frozen=True)
class Who:
    """Who does something: the station's name, the stable USB path of its port, the operator."""

    station: str
    port: str
    operator: str

    def __post_init__(self) -> None:
        """Raises CliError for text that can't be shown on a line."""
        for what in ("station", "port", "operator"):
            checked(getattr(self, what), what, MAX_NAME)


@dataclass(frozen=True)
class NewUnit:
    """A board that is to be made. A unique id or MAC address says which one it must be."""

    serial: str
    metadata: dict[str, str]
    unique_id: str = ""
    mac: str = ""


@dataclass(frozen=True)
class Batch:
    """One job's worth of boards."""

    name: str
    digest: str
    """SHA-256 in hex of all that shapes a board: `Job.digest`."""
    quantity: int | None
    """How many boards may be made, or None."""
    details: dict[str, Any]
    opened: datetime


@dataclass(frozen=True)
class Unit:
    """One board's row, as it was when it was read."""

    serial: str
    batch: str
    unique_id: str
    mac: str
    metadata: dict[str, str]
    state: State
    generation: int
    """1, and one more for each rework."""
    failures: int
    """Runs that failed."""
    key_hash: str
    """SHA-256 in hex of the current key's SubjectPublicKeyInfo, or ""."""
    csr: bytes | None
    """The request of that key, DER."""
    pem: str = field(repr=False)
    """The newest certificate for that key and those above it, or ""."""
    label: str
    """The last event of its label, or "": printed, which is to be scanned; scanned; waived, of a
    job that wants no scan; lost. Whether a program printed it is in the history."""
    lease: str | None = field(repr=False)
    """What proves to the ledger that the caller has the unit; None for whoever only looks."""
    lease_until: datetime | None
    station: str
    """Who had it last."""
    port: str

    @property
    def chain(self) -> list[bytes]:
        """The certificates of `pem` in DER; the board's own comes first."""
        return [b64decode(body) for body in re.findall(r"-----\n([^-]+)-----END", self.pem)]


@dataclass(frozen=True)
class Certificate:
    """One certificate that a board was given."""

    serial: str
    """Of the unit."""
    batch: str
    number: str
    """Its own serial number, lower-case hex."""
    fingerprint: str
    """SHA-256 in hex of its DER."""
    key_hash: str
    pem: str
    """With those above it."""
    not_before: datetime
    not_after: datetime
    recorded: datetime
    station: str
    port: str
    operator: str
    proven: datetime | None
    """When the board signed a challenge under it."""
    revoking: datetime | None
    """Since when it is to be revoked."""
    revoked: datetime | None
    current: bool
    """Whether its key is the unit's, and it is the newest for that key."""


@dataclass(frozen=True)
class Event:
    """One line of the history."""

    at: datetime
    batch: str
    serial: str
    """Of the unit; "" for the batch as a whole."""
    station: str
    port: str
    operator: str
    event: str
    """batch, claim, step, request, certificate, finish, fail, release, rework, scrap, label,
    aside, revoke, revoked."""
    step: str
    outcome: str
    seconds: float | None
    detail: dict[str, Any]


@dataclass(frozen=True)
class Counts:
    """How far a batch is. What is not counted under a state has another one."""

    quantity: int | None
    open: int
    working: int
    failed: int
    done: int
    rework: int
    aside: int
    scrapped: int
    first_pass: int
    """Of those done, how many took one run without a failure."""
    labels: int = 0
    """Of those done, how many have a label that was not scanned back."""

    @property
    def made(self) -> int:
        """What counts towards the quantity."""
        return self.working + self.failed + self.done + self.rework


class LedgerError(CliError):
    """The ledger can't be read or written; nothing was changed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.STORAGE)


class NotForThisBoard(CliError):
    """What a claim or a record is refused with; it says what a person should do."""

    def __init__(self, message: str, units: Sequence[Unit] = ()) -> None:
        super().__init__(message, Exit.REFUSED)
        self.units = list(units)

    @property
    def unit(self) -> Unit:
        return self.units[0]


class BlankIdentifier(NotForThisBoard):
    """A unique id or MAC address without content."""


class Provisioned(NotForThisBoard):
    """The board has its certificate."""


class Leased(NotForThisBoard):
    """Another worker has the board's unit, `until`."""

    def __init__(self, message: str, units: Sequence[Unit], until: datetime) -> None:
        super().__init__(message, units)
        self.exit_code = int(Exit.LATER)  # type: ignore[misc]
        self.until = until


class LeaseLost(NotForThisBoard):
    """Another worker has the unit by now: the caller must leave the board alone."""


class Duplicate(NotForThisBoard):
    """Two boards with one unique id, MAC address, serial number or key."""


class ReaderWrong(NotForThisBoard):
    """Three boards with one unique id: whatever reads it is wrong, and the job must stop."""


class OtherSerial(NotForThisBoard):
    """The scanned serial number isn't this board's."""


class ScanNeeded(NotForThisBoard):
    """The board has no unit yet, and gets the one whose label is scanned."""


class NotBegun(NotForThisBoard):
    """No run of the board has failed, and only such boards are wanted."""


class SetAside(NotForThisBoard):
    """The board's unit is set aside."""


class Scrapped(NotForThisBoard):
    """The board's serial number is closed for ever."""


class QuantityReached(NotForThisBoard):
    """The batch has as many boards as it may."""


class NothingOpen(NotForThisBoard):
    """The batch has no unit left for this board."""


class OtherBatch(NotForThisBoard):
    """The board, or the serial number, belongs to another batch."""


class KeyChanged(NotForThisBoard):
    """The board has another key than the ledger has of it."""


class WrongCertificate(NotForThisBoard):
    """A certificate that is not for the key in the ledger, or none at all."""


def identifier(text: str, what: str = "unique id") -> str:
    """`text` in lower-case hex without separators.

    Raises BlankIdentifier where it is empty, all 0 or all F, CliError where it is no hexadecimal.
    """
    digits = re.sub("[:. -]", "", text).lower()
    if set(digits) <= {"0"} or set(digits) == {"f"}:
        raise BlankIdentifier(
            f"the board's {what} is {text or 'empty'!r}, which tells no board from another; "
            "set the board aside"
        )
    if not re.fullmatch(f"[0-9a-f]{{1,{MAX_SERIAL}}}", digits):
        raise CliError(f"{printable(text)!r} is no {what} in hexadecimal")
    return digits


def mac_address(text: str) -> str:
    """`text` as 12 lower-case hex digits. Raises as `identifier` does."""
    digits = identifier(text, "MAC address")
    if len(digits) != 12:
        raise CliError(f"{printable(text)!r} is no MAC address of 12 hexadecimal digits")
    return digits


def checked(text: str, what: str, limit: int = MAX_TEXT) -> str:
    """`text`, which is to be shown on a line. Raises CliError where it can't be."""
    if not text.isprintable():
        raise CliError(f"{what} {printable(text)[:MAX_SERIAL]!r} has a control character")
    if len(text) > limit:
        raise CliError(f"{what} {text[:MAX_SERIAL]!r}... is longer than {limit} characters")
    return text


def checked_name(text: str, what: str) -> str:
    """`text` as the name of a batch or a board's serial number. Raises CliError."""
    if not text or text != text.strip():
        raise CliError(f"{what} {printable(text)!r} is empty, or has spaces around it")
    return checked(text, what, MAX_SERIAL)


def line(text: str) -> str:
    """What is kept of `text` that a board or a server may have written."""
    return printable(text)[:MAX_REASON]

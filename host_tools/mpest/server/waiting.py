"""Requests that wait for approval, by a person or by time."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session, sessionmaker

from mpest.server.principals import ANONYMOUS
from mpest.server.tables import Waiting

# What one user, token, device or station has waiting: a person looks at each. Of nobody in
# particular there may be as many as in all.
_MAX_OF_ONE = 100
# In all, each of up to 3 KiB.
_MAX = 10_000
# What has not come for so long will not: boards that sleep come once in some days.
_SILENT = timedelta(days=7)
_DENIED = timedelta(days=1)  # for so long a request that was turned away stays so
_NOTED = timedelta(hours=1)  # how often it is noted that a request came again


class TooMany(Exception):
    """No more requests may wait; the text says whose."""


@dataclass(frozen=True)
class Came:
    """A request that needs approval."""

    id: str
    owner: str
    """Who sent it, as `principals.Principal` has it."""
    operation: str
    subject: str
    names: str
    """The alternative names, for people."""


@dataclass(frozen=True)
class Standing:
    """What became of it so far."""

    since: datetime
    """When it came first."""
    approved: bool
    denied: bool


class WaitingRoom:
    """The requests on record that wait. Methods raise as those of `database.Database`."""

    def __init__(self, session: sessionmaker[Session]) -> None:
        self._session = session

    def enter(self, came: Came) -> Standing:
        """How it stands with a request that came; a new one waits from now on. Raises TooMany."""
        moment = datetime.now(UTC)
        with self._session.begin() as session:
            row = session.get(Waiting, came.id)
            if row is not None and row.denied and row.denied <= (moment - _DENIED).timestamp():
                session.delete(row)
                row = None
            if row is None:
                row = _admit(session, came, moment)
            elif (row.asked or row.since) <= (moment - _NOTED).timestamp():
                row.asked = moment.timestamp()
            since = datetime.fromtimestamp(row.since, UTC)
            return Standing(since, row.approved, row.denied is not None)

    def requests(self) -> list[Waiting]:
        """Those that nobody approved, oldest first, with those that were turned away."""
        with self._session() as session:
            rows = select(Waiting).where(Waiting.approved.is_(False)).order_by(Waiting.since)
            return list(session.scalars(rows))

    def count(self) -> int:
        """How many wait for a person or for their time."""
        with self._session() as session:
            return _count(session, Waiting.approved.is_(False) & Waiting.denied.is_(None))

    def approve(self, name: str) -> None:
        """The next time this request comes it is granted. Raises KeyError."""
        self._decide(name, approved=True)

    def deny(self, name: str) -> None:
        """This request is refused for a day. Raises KeyError."""
        self._decide(name, approved=False)

    def _decide(self, name: str, *, approved: bool) -> None:
        moment = datetime.now(UTC).timestamp()
        with self._session.begin() as session:
            row = session.get(Waiting, name)
            if row is None:
                raise KeyError(f"no request {name} waits")
            row.approved, row.asked = approved, moment
            row.denied = None if approved else moment


def _admit(session: Session, came: Came, moment: datetime) -> Waiting:
    silent_since = (moment - _SILENT).timestamp()
    last = func.coalesce(Waiting.asked, Waiting.since)
    session.execute(delete(Waiting).where(last <= silent_since))
    own = (Waiting.principal == came.owner) & Waiting.denied.is_(None)
    if came.owner != ANONYMOUS and _count(session, own) >= _MAX_OF_ONE:
        raise TooMany(f"{_MAX_OF_ONE} requests of {came.owner} wait")
    if _count(session, Waiting.id.is_not(None)) >= _MAX:
        raise TooMany(f"{_MAX} requests wait")
    row = Waiting(
        id=came.id,
        subject=came.subject,
        principal=came.owner,
        since=moment.timestamp(),
        approved=False,
        operation=came.operation,
        names=came.names,
        asked=moment.timestamp(),
    )
    session.add(row)
    return row


def _count(session: Session, which: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).select_from(Waiting).where(which)) or 0

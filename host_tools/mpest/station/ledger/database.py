"""The database behind a ledger: opened, brought to the newest tables, written by transactions.

A transaction whose connection was lost is tried again, for as long as PostgreSQL takes to restart.
Whether the first try was committed after all, its lines in the history tell: each call writes them
under a name of its own.
"""

import itertools
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from mpest.exits import CliError
from mpest.station.ledger import schema
from mpest.station.ledger.tables import EventRow
from mpest.station.ledger.units import LedgerError, Who, line

_Result = TypeVar("_Result")

# Eight workers write in turns; a transaction takes milliseconds, a disk that is busy seconds.
_BUSY_SECONDS = 30.0
_CONNECT_SECONDS = 10
# Others may win a race for a number so many times in a row before something else is wrong.
_MAX_RACES = 20
_MAX_PAUSE = 1.0
# PostgreSQL: serialization failure, deadlock, shutdown, crash, not accepting connections.
_PASSING = {"40001", "40P01", "57P01", "57P02", "57P03"}
_MAX_REASON = 200  # characters of what a database says

PATIENCE = timedelta(seconds=30)
"""For so long a lost connection is tried again; PostgreSQL restarts in a few seconds."""


def address(text: str) -> URL:
    """The database that `text` names: sqlite:///PATH, a path, postgresql://... Raises CliError."""
    if "://" not in text:
        return URL.create("sqlite", database=text)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # the text may hold a password
        raise CliError("the ledger's URL can't be read: postgresql://USER@HOST/NAME") from None
    if url.drivername == "sqlite" and url.database not in (None, "", ":memory:"):
        return url
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    raise CliError(
        f"a ledger is a file, or postgresql://USER@HOST/NAME; {url.drivername!r} is neither"
    )


class Writing:
    """One transaction that writes: its session, its time, and its lines of the history."""

    def __init__(self, session: Session, call: str) -> None:
        self.session = session
        self.call = call
        self.now = now(session)
        self._lines = 0

    def note(
        self,
        event: str,
        who: Who,
        *,
        batch_id: int | None,
        unit_id: int | None = None,
        step: str = "",
        outcome: str = "",
        seconds: float | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Append a line to the history."""
        self.session.add(
            EventRow(
                call=f"{self.call}:{self._lines}",
                at=self.now,
                batch_id=batch_id,
                unit_id=unit_id,
                station=who.station,
                port=who.port,
                operator=who.operator,
                event=event,
                step=line(step),
                outcome=line(outcome),
                seconds=seconds,
                detail=dict(detail or {}),
            )
        )
        self._lines += 1


class Database:
    """Raises LedgerError where the database can't be opened, read or written."""

    def __init__(self, text: str, *, create: bool = True, patience: timedelta = PATIENCE) -> None:
        """create: whether a file that is missing is made. patience: of what is tried again."""
        self._patience = patience.total_seconds()
        url = address(text)
        self.shown = url.set(query={}).render_as_string(hide_password=True)
        arguments: dict[str, Any] = {"connect_timeout": _CONNECT_SECONDS}
        if url.drivername == "sqlite":
            self.shown = str(url.database)
            arguments = {"timeout": _BUSY_SECONDS}
            if not create and not Path(self.shown).exists():
                raise LedgerError(f"there is no ledger {self.shown}")
        try:
            self._engine = create_engine(
                url,
                connect_args=arguments,
                hide_parameters=True,  # or errors would quote what is to be stored
                pool_pre_ping=True,
            )
        except SQLAlchemyError:
            raise CliError("the ledger's URL can't be read") from None
        if url.drivername == "sqlite":
            event.listen(self._engine, "connect", _prepare)
            event.listen(self._engine, "begin", _begin)
        self._reads = self._engine.execution_options(reads=True)
        try:
            with self._told():
                schema.bring_up(self._engine)
        except BaseException:
            self.close()
            raise

    @property
    def engine(self) -> Engine:
        return self._engine

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one state of the database; a lost connection is made anew first."""

        def connected(_: int) -> Session:
            session = Session(self._reads)
            session.connection()
            return session

        with self._told(), self._patiently(connected) as session:
            yield session

    def write(
        self, work: Callable[[Writing], _Result], again: Callable[[Session, str], _Result]
    ) -> _Result:
        """What `work` returns, once it is committed.

        again: gives the same from the rows where the answer to a commit was lost.
        """
        call = uuid4().hex

        def attempt(number: int) -> _Result:
            with Session(self._engine, expire_on_commit=False) as session:
                if number and self._is_written(session, call):
                    return again(session, call)
                with session.begin():
                    return work(Writing(session, call))

        return self._patiently(attempt)

    def _patiently(self, attempt: Callable[[int], _Result]) -> _Result:
        """What `attempt` returns, given how many were in vain. Raises LedgerError."""
        give_up = time.monotonic() + self._patience
        pause, races = 0.05, 0
        for number in itertools.count():
            try:
                with self._told(DBAPIError):
                    return attempt(number)
            except IntegrityError as error:  # another process was faster: look again
                races += 1
                if races > _MAX_RACES:
                    raise self._error(error) from None
            except DBAPIError as error:
                if not _passes(error) or time.monotonic() > give_up:
                    raise self._error(error) from None
                time.sleep(pause)
                pause = min(2 * pause, _MAX_PAUSE)
        raise AssertionError  # it counts for ever

    @staticmethod
    def _is_written(session: Session, call: str) -> bool:
        with session.begin():
            first = select(EventRow.id).where(EventRow.call == f"{call}:0")
            return session.scalars(first).first() is not None

    @contextmanager
    def _told(self, *passed: type[SQLAlchemyError]) -> Iterator[None]:
        """Says in one line what the database has against it; those `passed` go through."""
        try:
            yield
        except SQLAlchemyError as error:
            if isinstance(error, passed):
                raise
            raise self._error(error) from None
        except (OSError, schema.Unfit) as error:
            raise LedgerError(f"can't use the ledger {self.shown}: {error}") from None

    def _error(self, error: SQLAlchemyError) -> LedgerError:
        return LedgerError(f"can't use the ledger {self.shown}: {reason(error)}")


def reason(error: SQLAlchemyError) -> str:
    """What the database said, in one line."""
    text = str(getattr(error, "orig", None) or type(error).__name__)
    line = " ".join(text.split("\n")[0].split())
    return line[:_MAX_REASON] or type(error).__name__


def now(session: Session) -> datetime:
    """The database's time: stations whose clocks differ agree on it when a lease ends."""
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    moment: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return moment.astimezone(UTC)


def _passes(error: DBAPIError) -> bool:
    """Whether the same may succeed in a moment."""
    state = getattr(error.orig, "sqlstate", None)
    if isinstance(error.orig, sqlite3.Error):
        return False  # SQLite waited for itself
    return bool(
        error.connection_invalidated
        or state in _PASSING
        or (state or "").startswith("08")
        or (state is None and type(error.orig).__name__ == "OperationalError")
    )


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # `_begin` says BEGIN itself
    # Readers, such as a page or a report, don't hold up workers.
    connection.execute("PRAGMA journal_mode=WAL")
    # Else the last commits may be undone when the power goes.
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin(connection: Connection) -> None:
    reads = connection.get_execution_options().get("reads")
    # Two that both read first and then write would fail each other.
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

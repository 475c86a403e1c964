"""What the server remembers between runs: certificates, waiting requests, lost answers."""

import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import create_engine, delete, event, func, insert, select
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from mpest.exits import CliError, Exit
from mpest.server import secret
from mpest.server.spelling import canonical, canonical_subject
from mpest.server.tables import (
    Answered,
    Issued,
    Revocation,
    Spent,
    Waiting,
    open_tables,
)
from mpest.server.waiting import WaitingRoom

__all__ = ["Database", "Issued", "Revocation", "StoreError", "Stored", "trouble"]

_BUSY_SECONDS = 1.0  # another program holds the file: clients come again before they give up
_REPEAT = timedelta(days=1)  # for so long an answer that was lost can be had again
_CLEANING = timedelta(hours=1)  # how often what is older is erased
_SHOWN_AT_ONCE = 1000  # certificates in one statement, of which SQLite takes some 32,000
_RECORD_BYTES = 8192  # of a large certificate, with a key that the server made

StoreError = SQLAlchemyError
"""What every method raises while the file is locked, full or damaged: nothing was changed."""


def trouble(error: SQLAlchemyError) -> str:
    """What is wrong with the database, in a few words without secrets."""
    return str(getattr(error, "orig", None) or type(error).__name__)


@dataclass(frozen=True)
class Stored:
    """What is recorded beside a certificate, all of it or nothing."""

    owner: str | None = None
    forwarded_by: str | None = None
    challenge_password: str | None = None
    """As `secret.hashed` makes it."""
    request: str | None = None
    """What `Answered.request` holds."""
    sealed_key: bytes | None = None
    spent: tuple[str, str] | None = field(default=None, repr=False)
    """User and HA1 of the one-time password that brought it."""
    waited: str | None = None
    """`Waiting.id` of the request, which waits no more."""


class Database:
    """`est.db` in the server's directory, and `est.db-wal` with what is newest.

    Raises CliError if the file is not ours or can't be used, OSError if it can't be written.
    """

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._next_cleaning = datetime.now(UTC)
        self._engine = create_engine(
            f"sqlite:///{path}",
            connect_args={"timeout": _BUSY_SECONDS},
            hide_parameters=True,  # or errors would show what is to be stored
        )
        event.listen(self._engine, "connect", _prepare)
        self._session: sessionmaker[Session] = sessionmaker(self._engine, expire_on_commit=False)
        self.waiting = WaitingRoom(self._session)
        self._shown: set[str] = set()
        try:
            with self._engine.connect() as connection:
                # A commit takes one fsync, by a rollback journal several. File systems without
                # shared memory stay at that.
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            open_tables(self._engine)
            with self._session() as session:
                for table in (Issued, Waiting, Answered, Spent):
                    session.execute(select(table).limit(1))
            self.checkpoint()  # after a crash the file alone is all again
        except (DatabaseError, ValueError) as error:
            self.close()
            why = trouble(error) if isinstance(error, DatabaseError) else error
            text = f"{path} is not a database of this server: {why}"
            if isinstance(error, OperationalError):  # locked, or the disk is full
                text = f"can't use {path}: {why}"
            raise CliError(text, Exit.STORAGE) from None

    def close(self) -> None:
        self._engine.dispose()

    def checkpoint(self) -> None:
        """Move what `est.db-wal` holds into `est.db`, as far as nobody reads it."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")

    def record(self, certificate: x509.Certificate, stored: Stored = Stored()) -> None:
        """All of it is on the disk when this returns."""
        serial = f"{certificate.serial_number:x}"
        moment = datetime.now(UTC)
        issued = insert(Issued).values(
            serial=serial,
            subject=certificate.subject.rfc4514_string(),
            not_before=certificate.not_valid_before_utc.timestamp(),
            not_after=certificate.not_valid_after_utc.timestamp(),
            der=certificate.public_bytes(Encoding.DER),
            challenge_password=stored.challenge_password,
            owner=stored.owner,
            forwarded_by=stored.forwarded_by,
        )
        hidden = secret.hashed(stored.spent[1]) if stored.spent else ""
        # In place of what the same request brought more than a day ago.
        answered = insert(Answered).prefix_with("OR REPLACE")
        with self._session.begin() as session:
            session.execute(issued)
            if stored.request:
                at, key = moment.timestamp(), stored.sealed_key
                row = {"request": stored.request, "serial": serial, "at": at, "sealed_key": key}
                session.execute(answered.values(row))
            session.execute(delete(Waiting).where(Waiting.id == stored.waited))
            if stored.spent:
                session.add(Spent(user=stored.spent[0], password=hidden, serial=serial))
            if moment >= self._next_cleaning:
                session.execute(delete(Answered).where(Answered.at <= _long_ago(moment)))
        if moment >= self._next_cleaning:
            self._next_cleaning = moment + _CLEANING

    def try_to_record(self) -> None:
        """Write and erase as much as a certificate takes, on the disk too."""
        row = {"request": "", "serial": "", "at": 0, "sealed_key": bytes(_RECORD_BYTES)}
        with self._session.begin() as session:
            session.execute(insert(Answered).values(row))
            session.execute(delete(Answered).where(Answered.request == ""))

    def answered(self, request: str) -> tuple[Issued, bytes | None] | None:
        """The certificate that this request brought, and its sealed key: if that is no day ago,
        and it was neither shown nor revoked since.
        """
        with self._session() as session:
            row = session.get(Answered, request)
            issued = session.get(Issued, row.serial) if row else None
            moment = datetime.now(UTC)
            if (
                row is None
                or issued is None
                or issued.serial in self._shown
                or issued.revoked is not None
                or issued.not_after <= moment.timestamp()
                or row.at <= _long_ago(moment)
            ):
                return None
            return issued, row.sealed_key

    def shown(self, certificate: x509.Certificate) -> None:
        """It was used in TLS: its request is answered with it no more, from now on, even if that
        can't be put on record.
        """
        self._shown.add(f"{certificate.serial_number:x}")
        self.put_shown_on_record()

    def put_shown_on_record(self) -> None:
        """Those too for which that failed before."""
        serials = list(self._shown)[:_SHOWN_AT_ONCE]
        if not serials:
            return
        same = Answered.serial.in_(serials)
        with self._session.begin() as session:
            if session.scalars(select(Answered.request).where(same).limit(1)).first():
                session.execute(delete(Answered).where(same))
        self._shown.difference_update(serials)

    def is_spent(self, user: str, password: str) -> bool:
        """Whether this one-time password brought a certificate."""
        with self._session() as session:
            records = session.scalars(select(Spent.password).where(Spent.user == user)).all()
        return any(secret.fits(password, record) for record in records)

    def forwarded(self, owner: str) -> int:
        """How many certificates a registration authority brought, without their renewals."""
        own = (Issued.forwarded_by == owner) & Issued.owner.is_(None)
        with self._session() as session:
            return session.scalar(select(func.count()).select_from(Issued).where(own)) or 0

    def first(self, owner: str) -> Issued | None:
        """The oldest certificate that is on record under `owner`."""
        with self._session() as session:
            own = select(Issued).where(Issued.owner == owner).order_by(Issued.not_before)
            return session.scalars(own.limit(1)).first()

    def is_taken(self, subject: str, name: str | None) -> bool:
        """Whether anybody has a certificate for this RFC 4514 text, or a user or a token of this
        name any, in whatever spelling."""
        wanted = func.canonical_subject(Issued.subject) == canonical_subject(subject)
        if name is not None:
            holders = [canonical(f"{kind}:{name}") for kind in ("user", "token")]
            for whose in (Issued.owner, Issued.forwarded_by):
                wanted |= func.canonical(func.coalesce(whose, "")).in_(holders)
        with self._session() as session:
            return (
                session.scalars(select(Issued.serial).where(wanted).limit(1)).first() is not None
            )

    def issued(self) -> list[Issued]:
        """All certificates, oldest first."""
        with self._session() as session:
            return list(session.scalars(select(Issued).order_by(Issued.not_before)))

    def find(self, serial: int) -> Issued | None:
        with self._session() as session:
            return session.get(Issued, f"{serial:x}")

    def revoke(self, serial: int, reason: int = 0, since: datetime | None = None) -> None:
        """Raises KeyError for a serial that was never issued. What was said first stays."""
        with self._session.begin() as session:
            row = session.get(Issued, f"{serial:x}")
            if row is None:
                raise KeyError(f"no certificate with serial {serial:x}")
            if row.revoked is None:
                row.revoked = datetime.now(UTC).timestamp()
                lost = since.timestamp() if since else None
                session.merge(Revocation(serial=row.serial, reason=reason, since=lost))

    def revoked(self) -> list[tuple[Issued, Revocation | None]]:
        """All revoked certificates and why."""
        with self._session() as session:
            joined = select(Issued, Revocation).outerjoin(
                Revocation, Issued.serial == Revocation.serial
            )
            found = session.execute(joined.where(Issued.revoked.is_not(None)))
            return [(row[0], row[1]) for row in found]

    def is_revoked(self, certificate: x509.Certificate) -> bool:
        row = self.find(certificate.serial_number)
        return row is not None and row.revoked is not None

    def objection(self, certificate: x509.Certificate) -> str | None:
        """Why this client certificate must be refused, or None."""
        row = self.find(certificate.serial_number)
        if row is None or row.der != certificate.public_bytes(Encoding.DER):
            return "was not issued by this server"
        if row.revoked is not None:
            return "is revoked"
        if row.not_after <= datetime.now(UTC).timestamp():
            return "has expired"
        return None

    def revocations(self) -> int:
        """How many certificates are revoked."""
        with self._session() as session:
            return session.scalar(select(func.count()).select_from(Revocation)) or 0


def _long_ago(moment: datetime) -> float:
    """Until when answers cannot be had again at `moment`."""
    return (moment - _REPEAT).timestamp()


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    for function in (canonical, canonical_subject):
        connection.create_function(function.__name__, 1, function, deterministic=True)
    # What is deleted is overwritten: sealed keys, and secrets of older servers.
    connection.execute("PRAGMA secure_delete=ON")
    # Without it the last commit may be undone when the power goes.
    connection.execute("PRAGMA synchronous=EXTRA")

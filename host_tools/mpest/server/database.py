"""What the server remembers between runs: issued certificates and waiting requests."""

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import create_engine, event, select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from mpest.exits import CliError, Exit


class _Base(DeclarativeBase):
    pass


class Issued(_Base):
    """One certificate. Dates are aware UTC, `serial` is lower-case hex."""

    __tablename__ = "issued"

    serial: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str]
    not_before: Mapped[float]
    not_after: Mapped[float]
    der: Mapped[bytes]
    challenge_password: Mapped[str | None]
    revoked: Mapped[float | None]
    """Seconds since 1970."""


class Revocation(_Base):
    """Why a certificate was revoked. Times are seconds since 1970."""

    __tablename__ = "revocation"

    serial: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[int]
    """CRLReason (RFC 5280 5.3.1)."""
    since: Mapped[float | None]
    """When the key is known or suspected to have been lost."""


class Pending(_Base):
    """A CSR that somebody sent while approval was manual."""

    __tablename__ = "pending"

    csr_sha256: Mapped[str] = mapped_column(primary_key=True)
    principal: Mapped[str] = mapped_column(primary_key=True)
    first_seen: Mapped[float]


class Database:
    """`est.db` in the server's directory. Raises CliError if the file is not ours, OSError if it
    can't be written.
    """

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._engine = create_engine(f"sqlite:///{path}")
        # Without it the last commit may be undone when the power goes.
        event.listen(
            self._engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=EXTRA")
        )
        self._session: sessionmaker[Session] = sessionmaker(self._engine, expire_on_commit=False)
        try:
            _Base.metadata.create_all(self._engine)
            with self._session() as session:
                session.execute(select(Issued).limit(1))
                session.execute(select(Pending).limit(1))
        except DatabaseError as error:
            self.close()
            raise CliError(
                f"{path} is not a database of this server: {error.orig}", Exit.STORAGE
            ) from error

    def close(self) -> None:
        self._engine.dispose()

    def record(self, certificate: x509.Certificate, challenge_password: str | None = None) -> None:
        with self._session.begin() as session:
            session.add(
                Issued(
                    serial=f"{certificate.serial_number:x}",
                    subject=certificate.subject.rfc4514_string(),
                    not_before=certificate.not_valid_before_utc.timestamp(),
                    not_after=certificate.not_valid_after_utc.timestamp(),
                    der=certificate.public_bytes(Encoding.DER),
                    challenge_password=challenge_password,
                )
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

    def first_seen(self, csr_sha256: str, principal: str) -> datetime:
        """When `principal` first sent this CSR: now, if never before."""
        with self._session.begin() as session:
            row = session.get(Pending, (csr_sha256, principal))
            if row is None:
                row = Pending(
                    csr_sha256=csr_sha256,
                    principal=principal,
                    first_seen=datetime.now(UTC).timestamp(),
                )
                session.add(row)
            return datetime.fromtimestamp(row.first_seen, UTC)

"""The tables of `est.db`, and how those of an older server are taken over.

Times are seconds since 1970, serial numbers lower-case hex.
"""

from sqlalchemy import Connection, Engine, FromClause, inspect, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from mpest.server import secret

VERSION = 2
"""`PRAGMA user_version`: 0 kept the challengePassword as it was sent, 1 less of what waits."""
_HASHED = 1


class _Base(DeclarativeBase):
    pass


class Issued(_Base):
    """One certificate."""

    __tablename__ = "issued"

    serial: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str]
    not_before: Mapped[float]
    not_after: Mapped[float]
    der: Mapped[bytes]
    challenge_password: Mapped[str | None]
    """As `secret.hashed` makes it of the request's own."""
    revoked: Mapped[float | None]
    owner: Mapped[str | None]
    """Whose it is, as `principals.Principal` has it; None if nobody's but its holder's."""
    forwarded_by: Mapped[str | None]
    """The registration authority that forwarded the request."""

    @property
    def whose(self) -> str:
        return self.owner or f"certificate:{self.serial}"


class Revocation(_Base):
    """Why a certificate was revoked."""

    __tablename__ = "revocation"

    serial: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[int]
    """CRLReason (RFC 5280 5.3.1)."""
    since: Mapped[float | None]
    """When the key is known or suspected to have been lost."""


class Waiting(_Base):
    """A request that was told to come again."""

    __tablename__ = "waiting"

    id: Mapped[str] = mapped_column(primary_key=True)
    """Of the CSR, the operation and who sent it."""
    subject: Mapped[str]
    principal: Mapped[str]
    """Who sent it, as `Issued.owner` has it."""
    since: Mapped[float]
    approved: Mapped[bool]
    operation: Mapped[str | None]
    names: Mapped[str | None]
    """The alternative names, for people."""
    asked: Mapped[float | None]
    """When it came last, within an hour."""
    denied: Mapped[float | None]
    """When a person turned it away."""


class Answered(_Base):
    """A request whose answer may have been lost: what it is answered with once more."""

    __tablename__ = "answered"

    request: Mapped[str] = mapped_column(primary_key=True)
    """SHA-256 in hex of the operation, the credential and the CSR."""
    serial: Mapped[str] = mapped_column(index=True)
    at: Mapped[float]
    sealed_key: Mapped[bytes | None]
    """PKCS #8 of the key that the server made; opens by the CSR."""


class Spent(_Base):
    """A one-time password that brought a certificate."""

    __tablename__ = "spent"

    number: Mapped[int] = mapped_column(primary_key=True)
    user: Mapped[str] = mapped_column(index=True)
    password: Mapped[str]
    """As `secret.hashed` makes it of HA1 (RFC 7616 3.4.2), which all kinds of login have."""
    serial: Mapped[str]


def open_tables(engine: Engine) -> None:
    """Make what is missing, and take over what an older server left: interrupted anywhere, the
    next start goes on. Raises ValueError for tables of a newer server.
    """
    with engine.begin() as connection:
        found = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if found > VERSION:
        raise ValueError("it is of a newer mpest")
    _Base.metadata.create_all(engine)
    if found == VERSION:
        return
    with engine.begin() as connection:
        _add_columns(connection, Issued.__table__)
        _add_columns(connection, Waiting.__table__)
    with engine.begin() as connection:
        if found < _HASHED:
            _hash_challenges(connection)
        # In the transaction of the hashes: none is hashed twice.
        connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")


def _hash_challenges(connection: Connection) -> None:
    sent = Issued.challenge_password
    for clear in connection.scalars(select(sent).distinct()).all():
        if clear is not None:
            hidden = {"challenge_password": secret.hashed(clear)}
            connection.execute(update(Issued).where(sent == clear).values(hidden))


def _add_columns(connection: Connection, table: FromClause) -> None:
    known = {column["name"] for column in inspect(connection).get_columns(table.description)}
    for column in table.columns:
        if column.name not in known:
            kind = column.type.compile(connection.dialect)
            connection.exec_driver_sql(
                f"ALTER TABLE {table.description} ADD COLUMN {column.name} {kind}"
            )

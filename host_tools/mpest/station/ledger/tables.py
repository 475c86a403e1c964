"""The tables of a ledger, the same on SQLite and PostgreSQL. No secret belongs into any of them.

A change here needs a migration in `migrations/versions`; a test holds both together.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, Double, ForeignKey, Index, MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class Moment(TypeDecorator[datetime]):
    """A time in UTC. SQLite keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            return value.replace(tzinfo=UTC)
        return value.astimezone(UTC) if value else None


class Table(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own form
        datetime: Moment(),
        dict[str, Any]: JSON(),
        float: Double(),
        str: String(),
    }


class BatchRow(Table):
    __tablename__ = "batch"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[str]
    quantity: Mapped[int | None]
    on_demand: Mapped[bool]
    """Whether units are made as boards come: the job lists none."""
    details: Mapped[dict[str, Any]]
    opened: Mapped[datetime]


class UnitRow(Table):
    __tablename__ = "unit"

    id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id"))
    serial: Mapped[str] = mapped_column(unique=True)
    unique_id: Mapped[str | None] = mapped_column(unique=True)
    mac: Mapped[str | None] = mapped_column(unique=True)
    details: Mapped[dict[str, Any]]
    state: Mapped[str]
    generation: Mapped[int]
    failures: Mapped[int]
    key_id: Mapped[int | None]
    """The current key; not a foreign key, for keys point here."""
    label: Mapped[str]
    lease: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    station: Mapped[str]
    port: Mapped[str]

    __table_args__ = (Index(None, "batch_id", "state", "id"),)


class KeyRow(Table):
    """A public key that a board asked a certificate for."""

    __tablename__ = "board_key"

    id: Mapped[int] = mapped_column(primary_key=True)
    unit_id: Mapped[int] = mapped_column(ForeignKey("unit.id"), index=True)
    generation: Mapped[int]
    key_hash: Mapped[str] = mapped_column(unique=True)
    csr: Mapped[bytes]
    recorded: Mapped[datetime]


class CertificateRow(Table):
    __tablename__ = "certificate"

    id: Mapped[int] = mapped_column(primary_key=True)
    key_id: Mapped[int] = mapped_column(ForeignKey("board_key.id"), index=True)
    number: Mapped[str] = mapped_column(index=True)
    fingerprint: Mapped[str] = mapped_column(unique=True)
    pem: Mapped[str]
    not_before: Mapped[datetime]
    not_after: Mapped[datetime]
    recorded: Mapped[datetime]
    station: Mapped[str]
    port: Mapped[str]
    operator: Mapped[str]
    proven: Mapped[datetime | None]
    revoking: Mapped[datetime | None]
    revoked: Mapped[datetime | None]


class TwinRow(Table):
    """One of several boards with the same unique id."""

    __tablename__ = "twin"

    id: Mapped[int] = mapped_column(primary_key=True)
    unique_id: Mapped[str] = mapped_column(index=True)
    board: Mapped[str]
    """Its MAC address, or where it is plugged in."""
    seen: Mapped[datetime]


class EventRow(Table):
    """The history. Triggers refuse to change or remove a row."""

    __tablename__ = "history"

    id: Mapped[int] = mapped_column(primary_key=True)
    call: Mapped[str] = mapped_column(unique=True)
    """Which call wrote it, and as its how manieth: one whose answer was lost finds itself."""
    at: Mapped[datetime] = mapped_column(index=True)
    batch_id: Mapped[int | None] = mapped_column(ForeignKey("batch.id"), index=True)
    unit_id: Mapped[int | None] = mapped_column(ForeignKey("unit.id"), index=True)
    station: Mapped[str]
    port: Mapped[str]
    operator: Mapped[str]
    event: Mapped[str]
    step: Mapped[str]
    outcome: Mapped[str]
    seconds: Mapped[float | None]
    detail: Mapped[dict[str, Any]]

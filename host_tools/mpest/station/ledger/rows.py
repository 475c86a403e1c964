"""Rows of the tables as what callers of a ledger see."""

from collections.abc import Iterator, Sequence

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from mpest.station.ledger.tables import BatchRow, CertificateRow, EventRow, KeyRow, UnitRow
from mpest.station.ledger.units import Batch, Certificate, Event, Unit

# SQLite takes 32,766 values in a statement; older builds of it 999.
MAX_VALUES = 900


def batch_of(row: BatchRow) -> Batch:
    return Batch(row.name, row.digest, row.quantity, row.details, row.opened)


def unit_of(session: Session, row: UnitRow) -> Unit:
    return next(units_of(session, [row]))


def units_of(session: Session, rows: Sequence[UnitRow]) -> Iterator[Unit]:
    """In the order of `rows`."""
    for start in range(0, len(rows), MAX_VALUES):
        some = rows[start : start + MAX_VALUES]
        batch_ids = {row.batch_id for row in some}
        key_ids = {row.key_id for row in some if row.key_id is not None}
        batches = {
            batch.id: batch.name
            for batch in session.scalars(select(BatchRow).where(BatchRow.id.in_(batch_ids)))
        }
        keys: dict[int | None, KeyRow] = {
            key.id: key for key in session.scalars(select(KeyRow).where(KeyRow.id.in_(key_ids)))
        }
        pems: dict[int | None, str] = {
            certificate.key_id: certificate.pem
            for certificate in session.scalars(
                select(CertificateRow)
                .where(CertificateRow.key_id.in_(key_ids))
                .order_by(CertificateRow.id)
            )
        }
        for row in some:
            key = keys.get(row.key_id)
            yield Unit(
                serial=row.serial,
                batch=batches[row.batch_id],
                unique_id=row.unique_id or "",
                mac=row.mac or "",
                metadata=row.details,
                state=row.state,  # type: ignore[arg-type]
                generation=row.generation,
                failures=row.failures,
                key_hash=key.key_hash if key else "",
                csr=key.csr if key else None,
                pem=pems.get(row.key_id, ""),
                label=row.label,
                lease=row.lease,
                lease_until=row.lease_until,
                station=row.station,
                port=row.port,
            )


def certificates_of(session: Session, *conditions: ColumnElement[bool]) -> list[Certificate]:
    """Those that `conditions` name, oldest first."""
    newest = set(
        session.scalars(select(func.max(CertificateRow.id)).group_by(CertificateRow.key_id))
    )
    query = (
        select(CertificateRow, KeyRow, UnitRow, BatchRow.name)
        .join(KeyRow, CertificateRow.key_id == KeyRow.id)
        .join(UnitRow, KeyRow.unit_id == UnitRow.id)
        .join(BatchRow, UnitRow.batch_id == BatchRow.id)
        .where(*conditions)
        .order_by(CertificateRow.id)
    )
    return [
        Certificate(
            serial=unit.serial,
            batch=batch,
            number=row.number,
            fingerprint=row.fingerprint,
            key_hash=key.key_hash,
            pem=row.pem,
            not_before=row.not_before,
            not_after=row.not_after,
            recorded=row.recorded,
            station=row.station,
            port=row.port,
            operator=row.operator,
            proven=row.proven,
            revoking=row.revoking,
            revoked=row.revoked,
            current=key.id == unit.key_id and row.id in newest,
        )
        for row, key, unit, batch in session.execute(query)
    ]


def events_of(session: Session, *conditions: ColumnElement[bool]) -> list[Event]:
    """Those that `conditions` name, oldest first."""
    query = (
        select(EventRow, BatchRow.name, UnitRow.serial)
        .outerjoin(BatchRow, EventRow.batch_id == BatchRow.id)
        .outerjoin(UnitRow, EventRow.unit_id == UnitRow.id)
        .where(*conditions)
        .order_by(EventRow.id)
    )
    return [
        Event(
            at=row.at,
            batch=batch or "",
            serial=serial or "",
            station=row.station,
            port=row.port,
            operator=row.operator,
            event=row.event,
            step=row.step,
            outcome=row.outcome,
            seconds=row.seconds,
            detail=row.detail,
        )
        for row, batch, serial in session.execute(query)
    ]

"""The ledger: which boards there are, who makes them, and with which key and certificate.

A worker claims a unit, reports each step, and finishes, fails or releases it. It has a lease on
the unit meanwhile: where it is killed, another goes on when that has ended, with the same key. A
key is recorded before its request is sent, a certificate before it is installed; so no board has
one that the ledger lacks. Every method is one transaction, on the disk when it returns.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from mpest.exits import CliError
from mpest.station.ledger import rows
from mpest.station.ledger.base import batch_row
from mpest.station.ledger.database import Writing
from mpest.station.ledger.deciding import Deciding
from mpest.station.ledger.reading import Reading
from mpest.station.ledger.tables import BatchRow, UnitRow
from mpest.station.ledger.units import (
    Batch,
    NewUnit,
    Who,
    checked,
    checked_name,
    identifier,
    mac_address,
)
from mpest.station.ledger.working import INTENT, LEASE, Working

__all__ = ["INTENT", "LEASE", "Ledger"]

_MAX_QUANTITY = 10_000_000


class Ledger(Working, Deciding, Reading):
    """One ledger, for any number of threads; a forked process opens its own.

    Raises LedgerError where it can't be opened, read or written: then nothing was changed.
    """

    def open_batch(
        self,
        name: str,
        digest: str,
        quantity: int | None,
        units: Iterable[NewUnit],
        details: dict[str, Any],
        who: Who | None = None,
    ) -> Batch:
        """The batch of this name, made with its units if there is none yet.

        units: none where serial numbers come with the boards. Their metadata and `details` are
        kept as they are: no secret may be among them.
        Raises CliError where the name is that of another job, or a unit can't be in it.
        """
        checked_name(name, "batch")
        if quantity is not None and not 0 < quantity <= _MAX_QUANTITY:
            raise CliError(f"quantity {quantity} isn't from 1 to {_MAX_QUANTITY}")

        def work(writing: Writing) -> Batch:
            known = writing.session.scalars(select(BatchRow).where(BatchRow.name == name)).first()
            if known is not None:
                return go_on(known)
            batch = BatchRow(
                name=name,
                digest=digest,
                quantity=quantity,
                on_demand=not entries,
                details=details,
                opened=writing.now,
            )
            writing.session.add(batch)
            writing.session.flush()
            if entries:
                _refuse_taken(writing.session, entries)
                listed = [{**entry, "batch_id": batch.id} for entry in entries]
                writing.session.execute(insert(UnitRow), listed)
            opener = who or Who("", "", "")
            writing.note("batch", opener, batch_id=batch.id, outcome="opened", detail=details)
            return rows.batch_of(batch)

        def go_on(batch: BatchRow) -> Batch:
            if batch.digest != digest:
                raise CliError(
                    f"batch {name} was begun by another job file, or the files that it names "
                    "have changed: give the job a new name, or put back what it was"
                )
            return rows.batch_of(batch)

        entries = _entries(units)
        return self._database.write(work, lambda session, _: go_on(batch_row(session, name)))


def _entries(units: Iterable[NewUnit]) -> list[dict[str, Any]]:
    """Rows of the table, checked. Raises CliError."""
    entries = []
    for unit in units:
        serial = checked_name(unit.serial, "serial number")
        for column, cell in unit.metadata.items():
            checked(cell, f"{serial}, column {checked(column, 'column')}:")
        entries.append(
            {
                "serial": serial,
                "unique_id": identifier(unit.unique_id) if unit.unique_id else None,
                "mac": mac_address(unit.mac) if unit.mac else None,
                "details": unit.metadata,
                "state": "open",
                "generation": 1,
                "failures": 0,
                "label": "",
                "station": "",
                "port": "",
            }
        )
    return entries


def _refuse_taken(session: Session, entries: list[dict[str, Any]]) -> None:
    """Raises CliError for a serial number, unique id or MAC address that stands twice."""
    for column, what in (
        (UnitRow.serial, "serial number"),
        (UnitRow.unique_id, "unique id"),
        (UnitRow.mac, "MAC address"),
    ):
        values = [entry[column.key] for entry in entries if entry[column.key] is not None]
        twice = [value for value, number in Counter(values).items() if number > 1]
        if twice:
            raise CliError(f"{what} {twice[0]} stands more than once in the job's list")
        for start in range(0, len(values), rows.MAX_VALUES):
            some = values[start : start + rows.MAX_VALUES]
            taken = select(column, BatchRow.name).join(BatchRow, UnitRow.batch_id == BatchRow.id)
            for value, batch in session.execute(taken.where(column.in_(some)).limit(1)):
                raise CliError(f"{what} {value} is already in batch {batch}")

"""What all parts of a ledger share: the database, and one unit's row being changed."""

from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from sqlalchemy import select
from sqlalchemy.orm import Session

from mpest.exits import CliError
from mpest.station.ledger import rows
from mpest.station.ledger.database import PATIENCE, Database, Writing
from mpest.station.ledger.tables import BatchRow, UnitRow
from mpest.station.ledger.units import LeaseLost, Scrapped, SetAside, Unit, Who


class Base:
    def __init__(self, url: str, *, create: bool = True, patience: timedelta = PATIENCE) -> None:
        """url: sqlite:///PATH, a path, or postgresql://USER@HOST/NAME.

        create: whether a file that is missing is made.
        patience: for so long a lost connection is tried again.
        """
        self._database = Database(url, create=create, patience=patience)

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _held(self, unit: Unit, work: Callable[[Writing, UnitRow], None]) -> Unit:
        """`work` on the unit's row, if the caller's lease still holds."""

        def change(writing: Writing, row: UnitRow) -> None:
            if row.state == "aside":
                raise SetAside(f"{row.serial} was set aside: take the board away", [unit])
            if row.state == "scrapped":
                raise Scrapped(f"{row.serial} was scrapped: take the board away", [unit])
            if unit.lease is None or row.lease != unit.lease:
                raise LeaseLost(
                    f"{row.serial} is not this worker's any more: {row.station}, port {row.port}, "
                    "had it last; leave the board alone",
                    [rows.unit_of(writing.session, row)],
                )
            work(writing, row)

        return self._named(unit.serial, change)

    def _named(self, serial: str, work: Callable[[Writing, UnitRow], None]) -> Unit:
        def change(writing: Writing) -> Unit:
            row = unit_row(writing.session, serial, lock=True)
            work(writing, row)
            writing.session.flush()
            return rows.unit_of(writing.session, row)

        return self._database.write(
            change, lambda session, _: rows.unit_of(session, unit_row(session, serial))
        )

    @staticmethod
    def _note(writing: Writing, event: str, who: Who, row: UnitRow, **line: Any) -> None:
        writing.note(event, who, batch_id=row.batch_id, unit_id=row.id, **line)


def batch_row(session: Session, name: str) -> BatchRow:
    row = session.scalars(select(BatchRow).where(BatchRow.name == name)).first()
    if row is None:
        raise CliError(f"the ledger has no batch {name}")
    return row


def unit_row(session: Session, serial: str, *, lock: bool = False) -> UnitRow:
    query = select(UnitRow).where(UnitRow.serial == serial)
    row = session.scalars(query.with_for_update() if lock else query).first()
    if row is None:
        raise CliError(f"the ledger has no board {serial}")
    return row

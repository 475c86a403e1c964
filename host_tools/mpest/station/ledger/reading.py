"""What everybody may see of a ledger."""

from datetime import datetime

from sqlalchemy import func, select

from mpest.station.ledger import rows
from mpest.station.ledger.base import Base, batch_row, unit_row
from mpest.station.ledger.tables import BatchRow, CertificateRow, EventRow, UnitRow
from mpest.station.ledger.units import Batch, Certificate, Counts, Event, State, Unit
from mpest.station.ledger.working import INTENT


class Reading(Base):
    def batches(self) -> list[Batch]:
        """Oldest first."""
        with self._database.read() as session:
            query = select(BatchRow).order_by(BatchRow.id)
            return [rows.batch_of(batch) for batch in session.scalars(query)]

    def units(self, batch: str | None = None, state: State | None = None) -> list[Unit]:
        """In the order of their batches and lists."""
        query = select(UnitRow).order_by(UnitRow.id)
        with self._database.read() as session:
            if batch is not None:
                query = query.where(UnitRow.batch_id == batch_row(session, batch).id)
            if state is not None:
                query = query.where(UnitRow.state == state)
            return list(rows.units_of(session, session.scalars(query).all()))

    def unit(self, serial: str) -> Unit:
        """Raises CliError."""
        with self._database.read() as session:
            return rows.unit_of(session, unit_row(session, serial))

    def has(self, serial: str) -> bool:
        """Whether some batch has a board of this number."""
        with self._database.read() as session:
            query = select(UnitRow.id).where(UnitRow.serial == serial)
            return session.scalars(query).first() is not None

    def history(self, serial: str | None = None, batch: str | None = None) -> list[Event]:
        """Oldest first; of one unit, of a batch, or all."""
        with self._database.read() as session:
            conditions = []
            if serial is not None:
                conditions.append(EventRow.unit_id == unit_row(session, serial).id)
            if batch is not None:
                conditions.append(EventRow.batch_id == batch_row(session, batch).id)
            return rows.events_of(session, *conditions)

    def interrupted(self, serial: str) -> list[str]:
        """Steps whose intent is recorded and whose result isn't: a person must look."""
        last = {
            event.step: event.outcome for event in self.history(serial) if event.event == "step"
        }
        return [step for step, outcome in last.items() if outcome == INTENT]

    def was_done(self, serial: str, step: str) -> bool:
        """Whether the step was done once, in whatever run: for one that cannot be undone."""
        return any(
            (event.event, event.step, event.outcome) == ("step", step, "done")
            for event in self.history(serial)
        )

    def certificates(
        self,
        batch: str | None = None,
        serial: str | None = None,
        station: str | None = None,
        since: datetime | None = None,
    ) -> list[Certificate]:
        """Oldest first. station: which recorded it. since: recorded then or later."""
        with self._database.read() as session:
            conditions = []
            if batch is not None:
                conditions.append(UnitRow.batch_id == batch_row(session, batch).id)
            if serial is not None:
                conditions.append(UnitRow.id == unit_row(session, serial).id)
            if station is not None:
                conditions.append(CertificateRow.station == station)
            if since is not None:
                conditions.append(CertificateRow.recorded >= since)
            return rows.certificates_of(session, *conditions)

    def superseded(self, serial: str | None = None) -> list[Certificate]:
        """What a board must not have any more and isn't revoked: replaced, or of a scrapped one.

        Of one unit, or of all.
        """
        units = self.units() if serial is None else [self.unit(serial)]
        states = {unit.serial: unit.state for unit in units}
        return [
            certificate
            for certificate in self.certificates(serial=serial)
            if certificate.revoked is None
            and (state := states.get(certificate.serial))
            and (state == "scrapped" or (state == "done" and not certificate.current))
        ]

    def counts(self, batch: str) -> Counts:
        with self._database.read() as session:
            row = batch_row(session, batch)
            own = UnitRow.batch_id == row.id
            counted = select(UnitRow.state, func.count()).where(own).group_by(UnitRow.state)
            states: dict[str, int] = dict(session.execute(counted).all())
            first = select(func.count()).select_from(UnitRow).where(own, UnitRow.state == "done")
            labels = first.where(UnitRow.label == "printed")
            first = first.where(UnitRow.failures == 0, UnitRow.generation == 1)
            return Counts(
                quantity=row.quantity,
                first_pass=session.scalar(first) or 0,
                labels=session.scalar(labels) or 0,
                **{
                    state: states.get(state, 0)
                    for state in (
                        "open",
                        "working",
                        "failed",
                        "done",
                        "rework",
                        "aside",
                        "scrapped",
                    )
                },
            )

    def latest(self) -> datetime | None:
        """When the last line of the history was written: a clock before that is wrong."""
        with self._database.read() as session:
            return session.scalar(select(func.max(EventRow.at)))

"""What a person decides about a unit or its certificates."""

from collections.abc import Collection

from sqlalchemy import delete, select

from mpest.exits import CliError
from mpest.station.ledger import rows
from mpest.station.ledger.base import Base
from mpest.station.ledger.database import Writing
from mpest.station.ledger.tables import CertificateRow, EventRow, KeyRow, TwinRow, UnitRow
from mpest.station.ledger.units import MAX_REASON, MAX_SERIAL, Leased, Scrapped, Unit, Who, checked
from mpest.station.ledger.working import INTENT


class Deciding(Base):
    def rework(self, serial: str, who: Who, reason: str) -> Unit:
        """The next claim makes a new key and certificate under the same serial number.

        Also the way back for a unit that was set aside. Raises Scrapped, Leased, CliError.
        """
        reason = _reason(reason)

        def work(writing: Writing, row: UnitRow) -> None:
            session = writing.session
            unit = rows.unit_of(session, row)
            if row.state == "scrapped":
                raise Scrapped(f"{serial} was scrapped and stays so", [unit])
            if row.state == "open":
                raise CliError(f"no board has {serial} yet: there is nothing to rework")
            if row.lease and row.lease_until and row.lease_until > writing.now:
                raise Leased(
                    f"{serial} is being made at {row.station}, port {row.port}: wait for that",
                    [unit],
                    row.lease_until,
                )
            session.execute(delete(TwinRow).where(TwinRow.unique_id == row.unique_id))
            was, row.state = row.state, "rework"
            row.lease, row.lease_until = None, None
            row.generation += 1
            row.key_id = None
            self._note(
                writing,
                "rework",
                who,
                row,
                outcome=reason,
                detail={"was": was, "key_hash": unit.key_hash},
            )

        return self._named(serial, work)

    def scrap(self, serial: str, who: Who, reason: str) -> Unit:
        """Closes a serial number for ever; its certificates are `superseded`."""
        reason = _reason(reason)

        def work(writing: Writing, row: UnitRow) -> None:
            if row.state == "scrapped":
                return
            was, row.state = row.state, "scrapped"
            row.lease, row.lease_until = None, None
            self._note(writing, "scrap", who, row, outcome=reason, detail={"was": was})

        return self._named(serial, work)

    def settle(self, serial: str, who: Who, step: str, *, done: bool, reason: str) -> Unit:
        """What a person found where a step that cannot be undone was cut: done, or to be done.

        Raises CliError where that is not asked.
        """
        reason = _reason(reason)

        def work(writing: Writing, row: UnitRow) -> None:
            last = select(EventRow.outcome).where(
                EventRow.unit_id == row.id, EventRow.event == "step", EventRow.step == step
            )
            newest = last.order_by(EventRow.id.desc()).limit(1)
            if writing.session.scalar(newest) != INTENT:
                raise CliError(f"{serial}: nothing is to be settled about {step}")
            outcome = "done" if done else "undone"
            detail = {"reason": reason}
            self._note(writing, "step", who, row, step=step, outcome=outcome, detail=detail)

        return self._named(serial, work)

    def label(self, serial: str, who: Who, event: str, **detail: bool) -> Unit:
        """event: as Unit.label has it. Each is a line of the history, with `detail`."""
        checked(event, "label", MAX_SERIAL)

        def work(writing: Writing, row: UnitRow) -> None:
            row.label = event
            self._note(writing, "label", who, row, outcome=event, detail=detail)

        return self._named(serial, work)

    def revoking(self, fingerprints: Collection[str], who: Who, reason: str) -> None:
        """Certificates that are to be revoked: before the server is asked to."""
        self._mark(fingerprints, who, "revoke", _reason(reason))

    def revoked(self, fingerprints: Collection[str], who: Who) -> None:
        """Certificates that the server has revoked."""
        self._mark(fingerprints, who, "revoked", "")

    def _mark(self, fingerprints: Collection[str], who: Who, event: str, reason: str) -> None:
        def work(writing: Writing) -> None:
            for fingerprint in fingerprints:
                same = CertificateRow.fingerprint == fingerprint
                row = writing.session.scalars(
                    select(CertificateRow).where(same).with_for_update()
                ).first()
                if row is None:
                    raise CliError(f"the ledger has no certificate {fingerprint}")
                unit = writing.session.get_one(
                    UnitRow, writing.session.get_one(KeyRow, row.key_id).unit_id
                )
                row.revoking = row.revoking or writing.now
                if event == "revoked":
                    row.revoked = row.revoked or writing.now
                self._note(
                    writing,
                    event,
                    who,
                    unit,
                    outcome=reason,
                    detail={"fingerprint": fingerprint, "number": row.number},
                )

        self._database.write(work, lambda session, _: None)


def _reason(reason: str) -> str:
    if not reason.strip():
        raise CliError("say why: the reason is kept in the history")
    return checked(reason.strip(), "reason", MAX_REASON)

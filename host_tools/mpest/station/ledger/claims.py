"""Which unit a board gets: its own, the one it was listed as, or the next open one.

A unit that a board has once stays that board's. Two boards that say the same unique id are both
set aside, for nothing tells which of them a certificate would be for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select

from mpest.station.ledger.database import Writing
from mpest.station.ledger.rows import unit_of
from mpest.station.ledger.tables import BatchRow, TwinRow, UnitRow
from mpest.station.ledger.units import (
    Duplicate,
    Leased,
    NotBegun,
    NothingOpen,
    OtherBatch,
    OtherSerial,
    Provisioned,
    QuantityReached,
    ReaderWrong,
    ScanNeeded,
    Scrapped,
    SetAside,
    Who,
    checked_name,
)

# One board may be a copy of another; three with one unique id are three that were read wrongly.
_MAX_TWINS = 2
# What counts towards a batch's quantity.
MADE = ("working", "failed", "done", "rework")


@dataclass(frozen=True)
class Seen:
    """A board as a station sees it: identifiers as `units.identifier` makes them."""

    who: Who
    unique_id: str
    mac: str
    serial: str | None
    others: Sequence[tuple[str, str]]
    """(port, MAC address) of this station's other boards that say the same unique id right now."""
    scan: bool
    only_failed: bool
    """As in Ledger.claim."""

    def __str__(self) -> str:
        return self.mac or f"{self.who.station} {self.who.port}"

    def twins(self) -> set[str]:
        return {mac or f"{self.who.station} {port}" for port, mac in self.others}


def claim(writing: Writing, batch: BatchRow, board: Seen, lease: timedelta) -> UnitRow:
    """The unit, with a lease that is named after the call.

    Raises NotForThisBoard. Duplicate and ReaderWrong of one unique id have set units aside first:
    the caller must commit.
    """
    session = writing.session
    own = select(UnitRow).where(UnitRow.unique_id == board.unique_id).with_for_update()
    row = session.scalars(own).first()
    _refuse_twins(writing, row, board)
    if row is None and board.mac:  # listed by its MAC address alone
        row = session.scalars(
            select(UnitRow).where(UnitRow.mac == board.mac).with_for_update()
        ).first()
        if row is not None and row.unique_id is not None:
            raise Duplicate(
                f"MAC address {board.mac} is that of {row.serial}, whose board has another unique "
                "id: set this board aside",
                [unit_of(session, row)],
            )
    if row is None or (row.state == "open" and row.batch_id == batch.id):
        _check_may_begin(board)
    if row is None and board.serial:
        row = _named(writing, batch, board)
    if row is None:
        try:
            _make_room(writing, batch)
            row = _new(writing, batch, board) if batch.on_demand else _next_open(writing, batch)
        except (QuantityReached, NothingOpen):
            row = session.scalars(own).first()
            if row is None:
                raise
            # Another worker gave this board the last one meanwhile.
            _check(writing, batch, board, row)
    else:
        _check(writing, batch, board, row)
        if row.state == "open":
            _make_room(writing, batch)
    row.unique_id = board.unique_id
    row.mac = board.mac or row.mac
    row.state = "working"
    row.lease = writing.call
    row.lease_until = writing.now + lease
    row.station, row.port = board.who.station, board.who.port
    session.flush()
    return row


def _check_may_begin(board: Seen) -> None:
    """Whether a board may be begun that was not begun before."""
    if board.only_failed:
        raise NotBegun("no run of this board has failed: put it aside for the usual line")
    if board.scan and not board.serial:
        raise ScanNeeded("scan the label of this board")


def _check(writing: Writing, batch: BatchRow, board: Seen, row: UnitRow) -> None:
    """Whether this board, which has this unit, may go on with it here and now."""
    unit = unit_of(writing.session, row)
    if row.state == "done":
        raise Provisioned(
            f"the board is {row.serial} and has its certificate: nothing to do, or rework it",
            [unit],
        )
    if row.state == "scrapped":
        raise Scrapped(f"{row.serial} was scrapped and stays so: take the board away", [unit])
    if row.state == "aside":
        raise SetAside(f"{row.serial} is set aside: take the board away", [unit])
    if row.batch_id != batch.id:
        raise OtherBatch(
            f"the board is {row.serial} of batch {unit.batch}, which did not finish it: go on "
            f"with that job, or scrap {row.serial}",
            [unit],
        )
    if board.serial not in (None, row.serial):
        raise OtherSerial(
            f"the scan says {board.serial}, but the board is {row.serial}: scan the right label",
            [unit],
        )
    is_own = (row.station, row.port) == (board.who.station, board.who.port)
    if row.lease and row.lease_until and row.lease_until > writing.now and not is_own:
        raise Leased(
            f"{row.serial} is being made at {row.station}, port {row.port}, until "
            f"{row.lease_until:%H:%M:%S} UTC: wait, or plug the board in there",
            [unit],
            row.lease_until,
        )


def _named(writing: Writing, batch: BatchRow, board: Seen) -> UnitRow | None:
    """The unit whose serial number was scanned, for a board that has none yet."""
    session = writing.session
    row = session.scalars(
        select(UnitRow).where(UnitRow.serial == board.serial).with_for_update()
    ).first()
    if row is None:
        if batch.on_demand:
            return None
        raise OtherSerial(f"{board.serial} is no serial number of batch {batch.name}")
    if row.unique_id is not None or (row.mac and row.mac != board.mac):
        raise Duplicate(
            f"{row.serial} is another board's serial number ({row.unique_id or row.mac}): "
            "scan the right label",
            [unit_of(session, row)],
        )
    return row


def _next_open(writing: Writing, batch: BatchRow) -> UnitRow:
    query = (
        select(UnitRow)
        .where(UnitRow.batch_id == batch.id, UnitRow.state == "open")
        .where(UnitRow.unique_id.is_(None), UnitRow.mac.is_(None))
        .order_by(UnitRow.id)
        .limit(1)
    )
    # Workers take different ones at the same time; the last one may come free again: wait for it.
    for skip_locked in (True, False):
        row = writing.session.scalars(query.with_for_update(skip_locked=skip_locked)).first()
        if row is not None:
            return row
    raise NothingOpen(
        f"batch {batch.name} has no serial number left for a board that it does not list"
    )


def _new(writing: Writing, batch: BatchRow, board: Seen) -> UnitRow:
    serial = checked_name(board.serial or board.unique_id, "serial number")
    row = UnitRow(
        batch_id=batch.id,
        serial=serial,
        details={},
        state="open",
        generation=1,
        failures=0,
        label="",
    )
    writing.session.add(row)
    return row


def _make_room(writing: Writing, batch: BatchRow) -> None:
    """One more board in the batch, or QuantityReached."""
    if batch.quantity is None:
        return
    session = writing.session
    # Two workers at once would both find room for the last board.
    session.scalars(select(BatchRow).where(BatchRow.id == batch.id).with_for_update()).one()
    made = session.scalar(
        select(func.count())
        .select_from(UnitRow)
        .where(UnitRow.batch_id == batch.id, UnitRow.state.in_(MADE))
    )
    if (made or 0) >= batch.quantity:
        raise QuantityReached(f"batch {batch.name} has its {batch.quantity} boards: stop")


def _refuse_twins(writing: Writing, row: UnitRow | None, board: Seen) -> None:
    """Sets aside what says the same unique id as other boards."""
    session = writing.session
    known = set(session.scalars(select(TwinRow.board).where(TwinRow.unique_id == board.unique_id)))
    other_mac = {row.mac} if row and row.mac and board.mac and row.mac != board.mac else set()
    if row is not None and other_mac and row.state == "open":
        raise OtherSerial(
            f"the job lists {row.serial} with unique id {board.unique_id} and MAC address "
            f"{row.mac}, the board has {board.mac}: correct the list",
            [unit_of(session, row)],
        )
    if not known and not other_mac and not board.others:
        return
    boards = known | other_mac | board.twins() | {str(board)}
    for new in sorted(boards - known):
        session.add(TwinRow(unique_id=board.unique_id, board=new, seen=writing.now))
    # One board without a MAC address, seen at two ports in turn, is one board.
    macs = sum(" " not in name for name in boards)
    number = max(macs, 1 + len(board.others), _MAX_TWINS)
    if row is not None and row.state != "scrapped":
        row.state, row.lease, row.lease_until = "aside", None, None
    writing.note(
        "aside",
        board.who,
        batch_id=row.batch_id if row else None,
        unit_id=row.id if row else None,
        outcome=f"{number} boards of one unique id",
        detail={"unique_id": board.unique_id, "boards": sorted(boards)},
    )
    session.flush()
    units = [unit_of(session, row)] if row is not None else []
    if number > _MAX_TWINS:
        raise ReaderWrong(
            f"{number} boards say unique id {board.unique_id}: what reads it is wrong; "
            "stop the job",
            units,
        )
    if known:
        raise SetAside(
            f"unique id {board.unique_id} is that of two boards: take this one away", units
        )
    raise Duplicate(f"two boards say unique id {board.unique_id}: set both aside", units)

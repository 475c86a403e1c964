"""Whether a board may begin, and which unit of the batch it is."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from mpest.exits import CliError
from mpest.station.board_run import Bench, BoardRun
from mpest.station.identity import Identity
from mpest.station.ledger.units import (
    Duplicate,
    OtherBatch,
    OtherSerial,
    Provisioned,
    ScanNeeded,
    Unit,
)
from mpest.station.outcome import AGAIN, Waiting

MAX_CLOCK = timedelta(minutes=5)
"""By so much the station's clock may differ from the server's."""


def check_server(bench: Bench) -> None:
    """No board starts while the server is away, or the clock is wrong.

    Raises Waiting then, or what the authority does.
    """
    now = datetime.now(UTC)
    apart = abs(now - bench.authority.now())
    if apart > MAX_CLOCK:
        minutes = apart // timedelta(minutes=1)
        raise Waiting(f"the station's clock is {minutes} minutes from the server's: set it", AGAIN)
    latest = bench.ledger.latest()
    if latest and latest - now > MAX_CLOCK:
        raise Waiting(f"the station's clock is behind the ledger, which says {latest}: set it")


def claim(run: BoardRun, identity: Identity) -> Unit:
    """The unit that the board is or becomes. Raises NotForThisBoard, Stopped and Gone."""
    bench, job = run.bench, run.job
    serial = None
    if job.devices.plugged and not job.devices.scan:
        serial = job.plugged_unit(identity.unique_id, identity.mac).serial
    others = bench.others(identity)

    def claim(serial: str | None) -> Unit:
        return bench.ledger.claim(
            job.name,
            bench.who,
            identity.unique_id,
            identity.mac,
            serial,
            bench.lease,
            others,
            scan=bench.scan is not None,
            only_failed=bench.only_failed,
        )

    try:
        return claim(serial)
    except ScanNeeded:
        return _claim_by_scan(run, claim)
    except Provisioned as error:
        if not bench.rework:
            raise
        bench.ledger.rework(error.unit.serial, bench.who, bench.rework)
        return claim(serial)


def _claim_by_scan(run: BoardRun, claim: Callable[[str], Unit]) -> Unit:
    """No valid scan, no start: until there is one."""
    assert run.bench.scan
    run.step = "wait"
    run.emit("step", step=run.step, outcome="begun")
    while True:
        serial = run.bench.scan()
        try:
            unit = claim(serial)
        except (OtherSerial, OtherBatch, Duplicate) as error:
            run.emit("note", message=error.message)
        else:
            run.emit("step", step=run.step, outcome="done")
            return unit


def refuse_interrupted(run: BoardRun) -> None:
    """Raises CliError where something that cannot be undone was begun, and its end is unknown."""
    interrupted = run.ledger.interrupted(run.unit.serial)
    if interrupted:
        serial, step = run.unit.serial, interrupted[0]
        raise CliError(
            f"{serial}: {step} was begun and its end is not known: a person must look at the "
            f"board, then say what is true: mpest ledger settle {serial} {step}"
        )

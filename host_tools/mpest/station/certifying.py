"""A board's key, its request, and its certificate.

The key is in the ledger before its request is sent, the certificate before it is installed.
"""

import time
from datetime import UTC, datetime

from mpest.flash.application import File
from mpest.station import configuration, contents
from mpest.station.board import NETWORK_SECONDS
from mpest.station.board_run import BoardRun
from mpest.station.certs_only import certs_only, chain_in
from mpest.station.errors import BoardError, RequestDiffers
from mpest.station.ledger.units import LedgerError
from mpest.station.request import Request

_LEDGER_POLL = 1.0  # seconds


def certify(run: BoardRun, files: list[File]) -> list[bytes]:
    """The chain that the board holds then, in DER, its own first. Raises CliError."""
    board, ledger, authority = run.board, run.ledger, run.bench.authority
    cacerts = authority.cacerts()
    job = run.job
    birth = job.birth
    request = Request(
        subject=job.subject_of(run.unit),
        san=tuple(job.san_of(run.unit)),
        key_type=job.key_type,
        hardware=(birth.hardware_type, run.unit.serial.encode()) if birth else None,
        cacerts=cacerts,
        csrattrs=authority.csrattrs(),
        now=int(datetime.now(UTC).timestamp()),
        date=authority.date,
    )
    key_hash = _make_key(run, request, files)

    def ask() -> bytes:
        csr = board.request()
        run.unit = ledger.record_request(run.unit, run.who, key_hash, csr)
        return csr

    csr = run.run("request", ask)
    if job.network:
        return _by_network(run, files)

    def enrol() -> tuple[bytes, str]:
        if known := run.unit.chain:  # it came before the station was cut
            return certs_only(known), authority.date
        answer = authority.enroll(csr)
        _record(run, chain_in(answer, key_hash))
        return answer, authority.date

    answer, date = run.run("enrol", enrol)
    return run.run("install", lambda: board.install(answer, cacerts, date))


def _make_key(run: BoardRun, request: Request, files: list[File]) -> str:
    """Its hash. A request that lies there already must be one that this job asks for."""

    def make() -> str:
        return run.board.make_key(request)

    try:
        return run.run("key", make)
    except RequestDiffers as error:
        if run.unit.key_hash:
            raise
        if not run.bench.wipe:
            raise BoardError(
                f"{error.message}; another job has begun this board: use a new board, or --wipe"
            ) from None
    run.run("settings", lambda: contents.erase(run, files))
    return run.run("key", make)


def _by_network(run: BoardRun, files: list[File]) -> list[bytes]:
    """The board enrols by itself, with what the station lends it and withdraws."""
    lent = run.files(on_the_line=True)
    secrets = configuration.lent(run.job, run.unit)
    seconds = run.seconds("enrol", NETWORK_SECONDS)

    def enrol() -> list[bytes]:
        chain = run.board.enrol_by_network(lent, files, secrets, seconds)
        _record(run, chain)
        return chain

    chain = run.run("enrol", enrol)
    run.skip("install", "the board did it")
    return chain


def _record(run: BoardRun, chain: list[bytes]) -> None:
    """What was issued, also where the ledger is away for long: a server that was asked again might
    issue another one. Raises LedgerError where the line is to stop before."""
    told = False
    while True:
        try:
            run.unit = run.ledger.record_certificate(run.unit, run.who, chain)
        except LedgerError as error:
            if run.stopping():
                raise
            if not told:
                run.emit("note", message=f"{error.message}; the certificate waits for that")
            told = True
            time.sleep(_LEDGER_POLL)
        else:
            return

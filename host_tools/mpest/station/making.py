"""One board, from its claim to its commit.

Nothing is done before what it follows from is in the ledger: the claim before the board is
written, the key before its request is sent, the certificate before it is installed. So whatever
is cut, the same board begins anew, here or at another station, and finds the same key, the same
request and the same certificate.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mpest.exits import CliError, Exit
from mpest.flash import application
from mpest.flash.application import File
from mpest.station import configuration, firmware, hooks, labelling
from mpest.station.authority import Authority, Later, Unreachable
from mpest.station.board import ACCEPT_SECONDS, Board
from mpest.station.certs_only import certs_only, chain_in
from mpest.station.errors import BoardError, Gone, OtherBoard
from mpest.station.events import Emit
from mpest.station.identity import Birth, Identity
from mpest.station.job import Job
from mpest.station.ledger.ledger import INTENT, Ledger
from mpest.station.ledger.units import (
    LeaseLost,
    LedgerError,
    NotForThisBoard,
    NothingOpen,
    QuantityReached,
    ReaderWrong,
    Unit,
    Who,
)
from mpest.station.ledger.units import Provisioned as Done
from mpest.station.link import Link
from mpest.station.outcome import AGAIN, Outcome, Stopped, Waiting
from mpest.station.ports import Port
from mpest.station.request import Request
from mpest.station.steps import Result, Steps

MAX_CLOCK = timedelta(minutes=5)
"""By so much the station's clock may differ from the server's."""

_LONGEST = 300.0  # seconds that a Retry-After is obeyed at most, before it is asked again


@dataclass(frozen=True)
class Bench:
    """What all boards of a worker have in common. others: ports of this station whose boards say
    this unique id too, as the ledger's claim takes them."""

    job: Job
    who: Who
    ledger: Ledger
    authority: Authority
    files: list[File]
    """The application, without what is each board's own."""
    others: Callable[[Identity], list[tuple[str, str]]]
    lease: timedelta
    rework: str = ""
    """Why boards that have their certificate get a new key and another one; "" leaves them."""
    wipe: bool = False
    """Boards that hold what the job does not know are erased; else they fail."""


class Making:
    """The board at the other end of `link`, at `port`."""

    def __init__(
        self,
        bench: Bench,
        port: Port,
        link: Link,
        emit: Emit,
        stopping: Callable[[], bool],
        scanned: str | None = None,
    ) -> None:
        self._bench = bench
        self._stopping = stopping
        self._job = bench.job
        self._ledger = bench.ledger
        self._port = port
        self._link = link
        self._scanned = scanned
        self._plain_emit = emit
        self._steps = Steps(dict(bench.job.limits), link, self._emit)
        birth = Birth() if bench.job.birth else None
        self._board = Board(link, bench.job.profile, birth)
        self.unit: Unit | None = None
        self._step = ""

    def run(self) -> Outcome:
        """Make it, as far as it goes now. Raises nothing that a board, a server, a disk or a
        database can cause."""
        try:
            return self._make()
        except Waiting as error:
            return self._ended("waiting", error, seconds=error.seconds)
        except (Unreachable, Later) as error:
            seconds = min(getattr(error, "seconds", AGAIN), _LONGEST)
            return self._ended("waiting", error, seconds=max(seconds, 1.0))
        except Stopped as error:
            self._release()
            return self._ended("stopped", error)
        except LedgerError as error:
            return self._ended("waiting", error, seconds=AGAIN)
        except (ReaderWrong, QuantityReached, NothingOpen) as error:
            return self._ended("stop", error)
        except Done as error:
            return self._ended("known", error, serial=error.unit.serial)
        except (Gone, OtherBoard) as error:
            self._release()
            return self._ended("unplugged", error)
        except LeaseLost as error:
            return self._ended("refused", error)
        except NotForThisBoard as error:
            if self.unit is None:
                serial = error.units[0].serial if error.units else ""
                return self._ended("refused", error, serial=serial)
            return self._failed(error)
        except CliError as error:
            if self.unit is None and error.exit_code == Exit.NETWORK:  # it may still be starting
                kind = "waiting" if self._port.board() else "unplugged"
                return self._ended(kind, error, seconds=AGAIN)
            return self._failed(error)

    # The steps.

    def _make(self) -> Outcome:
        board, job = self._board, self._job
        self._check_server()
        identity = self._run("identify", board.identify)
        unit = self.unit = self._claim(identity)
        self._steps.record = self._record
        self._refuse_interrupted(unit)
        records = set(application.records(job.profile)) & set(identity.files)
        if unit.generation > 1 and not unit.key_hash and records:
            self._run("key", board.forget)  # a rework gives it a new one
            identity = board.identify()
        self._firmware(unit)
        files = self._files(unit)
        self._run("settings", lambda: self._install_files(unit, identity, files))
        if identity.provisioned and identity.key_hash == unit.key_hash:
            chain = list(identity.chain)
            if not unit.chain:  # by its own network, and then the station was cut
                self.unit = self._ledger.record_certificate(unit, self._bench.who, chain)
            for step in ("key", "request", "enrol", "install"):
                self._skip(step, "it was done before")
        else:
            chain = self._certificate(unit, files)
        self._run("prove", lambda: board.prove(chain))
        self._accept(unit)
        self._label(unit)
        self.unit = self._ledger.finish(unit, self._bench.who, chain)
        board.leave()
        return self._ended("done", None)

    def _certificate(self, unit: Unit, files: list[File]) -> list[bytes]:
        board, who, authority = self._board, self._bench.who, self._bench.authority
        cacerts = authority.cacerts()
        job = self._job
        birth = job.birth
        request = Request(
            subject=job.subject_of(unit),
            san=tuple(job.san_of(unit)),
            key_type=job.key_type,
            hardware=(birth.hardware_type, unit.serial.encode()) if birth else None,
            cacerts=cacerts,
            csrattrs=authority.csrattrs(),
            now=int(datetime.now(UTC).timestamp()),
            date=authority.date,
        )
        key_hash = self._run("key", lambda: board.make_key(request))

        def ask() -> bytes:
            csr = board.request()
            self.unit = self._ledger.record_request(unit, who, key_hash, csr)
            return csr

        csr = self._run("request", ask)
        if job.network:
            return self._by_network(unit, files)

        def enrol() -> tuple[bytes, str]:
            known = self.unit.chain if self.unit else []
            if known:  # it came before the station was cut
                return certs_only(known), authority.date
            answer = authority.enroll(csr)
            chain = chain_in(answer, key_hash)
            self.unit = self._ledger.record_certificate(unit, who, chain)
            return answer, authority.date

        answer, date = self._run("enrol", enrol)
        return self._run("install", lambda: board.install(answer, cacerts, date))

    def _by_network(self, unit: Unit, files: list[File]) -> list[bytes]:
        """The board enrols by itself, with what the station lends it and withdraws."""
        board, who = self._board, self._bench.who
        lent = self._files(unit, on_the_line=True)
        secrets = configuration.lent(self._job, unit)

        def enrol() -> list[bytes]:
            chain = board.enrol_by_network(lent, files, secrets)
            self.unit = self._ledger.record_certificate(unit, who, chain)
            return chain

        chain = self._run("enrol", enrol)
        self._skip("install", "the board did it")
        return chain

    def _check_server(self) -> None:
        """No board starts while the server is away, or the clock is wrong."""
        now = datetime.now(UTC)
        apart = abs(now - self._bench.authority.now())
        if apart > MAX_CLOCK:
            minutes = apart // timedelta(minutes=1)
            raise Waiting(
                f"the station's clock is {minutes} minutes from the server's: set it", AGAIN
            )
        latest = self._ledger.latest()
        if latest and latest - now > MAX_CLOCK:
            raise Waiting(f"the station's clock is behind the ledger, which says {latest}: set it")

    def _claim(self, identity: Identity) -> Unit:
        serial = self._scanned
        if self._job.devices.plugged and serial is None:
            serial = self._job.plugged_unit(identity.unique_id, identity.mac).serial
        others = self._bench.others(identity)

        def claim() -> Unit:
            return self._ledger.claim(
                self._job.name,
                self._bench.who,
                identity.unique_id,
                identity.mac,
                serial,
                self._bench.lease,
                others,
            )

        try:
            return claim()
        except Done as error:
            if not self._bench.rework:
                raise
            self._ledger.rework(error.unit.serial, self._bench.who, self._bench.rework)
            return claim()

    def _refuse_interrupted(self, unit: Unit) -> None:
        interrupted = self._ledger.interrupted(unit.serial)
        if interrupted:
            raise CliError(
                f"{unit.serial}: {', '.join(interrupted)} was begun and its end is not known: "
                "a person must look at the board, then scrap or rework it"
            )

    def _firmware(self, unit: Unit) -> None:
        job = self._job
        pinned = (job.firmware_sha256 or "").lower()
        if not pinned:
            self._skip("firmware", "the job has none")
            return
        written = [
            event.detail.get("sha256")
            for event in self._ledger.history(unit.serial)
            if (event.step, event.outcome) == ("firmware", "done")
        ]
        if written[-1:] == [pinned]:
            self._skip("firmware", "it was done before")
            return
        self._run(
            "firmware",
            lambda: firmware.write(job, self._port, self._link, self._emit),
            sha256=pinned,
        )
        self._board.identify()

    def _install_files(self, unit: Unit, identity: Identity, files: list[File]) -> None:
        board = self._board
        foreign = identity.provisioned and identity.key_hash != unit.key_hash
        unknown = board.unknown(files)
        # A key that the ledger knows is worth more than a tidy board.
        if (foreign or unknown) and self._bench.wipe and not unit.key_hash:
            board.wipe()
            board.identify()
        elif foreign:
            raise BoardError(
                "the board has a certificate that is not of this job: use a new board, or --wipe"
            )
        elif unknown:
            raise BoardError(
                f"there are files on the board that the job does not know: {' '.join(unknown)}: "
                "use a new board, or --wipe"
            )
        board.settings(files)

    def _files(self, unit: Unit, *, on_the_line: bool = False) -> list[File]:
        own, _ = configuration.own_files(self._job, unit, on_the_line=on_the_line)
        # main.py is written last: until then nothing starts.
        *first, main = self._bench.files
        return [*first, *own, main]

    def _accept(self, unit: Unit) -> None:
        job, board = self._job, self._board
        if job.acceptance is None:
            self._skip("accept", "the job has no acceptance script")
        else:
            script = job.acceptance.read_text(encoding="utf-8")
            limit = job.limits.get("accept")
            seconds = (limit and limit.seconds) or ACCEPT_SECONDS
            self._run("accept", lambda: board.accept(script, seconds))
        for fuse in job.irreversible:
            self._record(fuse.name, INTENT, 0.0)
            hooks.run(fuse.name, fuse.run, job, unit, self._port)
            self._record(fuse.name, "done", 0.0)

    def _label(self, unit: Unit) -> None:
        if self._job.label is None:
            self._skip("label", "the job has no label")
            return
        self._run("label", lambda: labelling.make(self._job, unit, self._ledger, self._bench.who))

    # How they are run.

    def _run(self, name: str, action: Callable[[], Result], **detail: str) -> Result:
        if self._stopping():
            raise Stopped
        self._step = name
        result = self._steps.run(name, action, **detail)
        hook = self._job.hooks.after.get(name)
        if hook and self.unit:
            hooks.run(f"the hook after {name}", hook, self._job, self.unit, self._port)
        return result

    def _skip(self, name: str, reason: str) -> None:
        self._step = name
        self._steps.skip(name, reason)

    def _record(self, step: str, outcome: str, seconds: float, **detail: str) -> None:
        assert self.unit
        self._ledger.step(self.unit, self._bench.who, step, outcome, seconds, **detail)

    def _emit(self, event: str, /, **fields: object) -> None:
        if self.unit:
            fields["serial"] = self.unit.serial
        self._plain_emit(event, port=self._port.name, **fields)

    def _ended(
        self, kind: str, error: CliError | None, *, serial: str = "", seconds: float = 0.0
    ) -> Outcome:
        serial = self.unit.serial if self.unit else serial
        return Outcome(kind, error.message if error else "", serial, self._step, seconds)

    def _failed(self, error: CliError) -> Outcome:
        if self.unit is None:
            return self._ended("refused", error)
        with contextlib.suppress(LedgerError, LeaseLost):  # then the lease ends by itself
            self._ledger.fail(self.unit, self._bench.who, self._step, error.message)
        return self._ended("failed", error)

    def _release(self) -> None:
        if self.unit:
            with contextlib.suppress(LedgerError, LeaseLost):
                self._ledger.release(self.unit, self._bench.who)

"""One board's run along the line: what its steps share, and how each of them is run."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from mpest.flash.application import File
from mpest.station import configuration, hooks
from mpest.station.authority import Authority
from mpest.station.board import Board
from mpest.station.events import Emit
from mpest.station.identity import Birth, Identity
from mpest.station.job import Job
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Unit, Who
from mpest.station.link import Link
from mpest.station.outcome import Stopped
from mpest.station.ports import Port
from mpest.station.steps import Result, Steps


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
    only_failed: bool = False
    """No board begins that was not begun before."""
    scan: Callable[[], str] | None = None
    """Waits for the serial number of a board that begins: somebody scans it. Without it the batch
    has the next one. Raises Stopped and Gone."""


class BoardRun:
    """The board at the other end of `link`, at `port`. unit: what it is in the ledger, once it has
    been claimed. step: at which it is."""

    def __init__(
        self, bench: Bench, port: Port, link: Link, emit: Emit, stopping: Callable[[], bool]
    ) -> None:
        self.bench = bench
        self.job = bench.job
        self.ledger = bench.ledger
        self.who = bench.who
        self.port = port
        self.link = link
        self.board = Board(link, bench.job.profile, Birth() if bench.job.birth else None)
        self.step = ""
        self._unit: Unit | None = None
        self._plain_emit = emit
        self.stopping = stopping
        self._steps = Steps(dict(bench.job.limits), link, self.emit)

    @property
    def claimed(self) -> Unit | None:
        return self._unit

    @property
    def unit(self) -> Unit:
        assert self._unit, "nothing but identify comes before the claim"
        return self._unit

    @unit.setter
    def unit(self, unit: Unit) -> None:
        self._unit = unit
        self._steps.record = self.record

    def run(self, name: str, action: Callable[[], Result], **detail: str) -> Result:
        """A step, within its limits, and the job's hook after it. Raises what either does."""
        if self.stopping():
            raise Stopped
        self.step = name
        result = self._steps.run(name, action, **detail)
        if self._unit:
            self.after(name)
        return result

    def after(self, name: str) -> None:
        """The job's hook after a step, of a board that has been claimed. Raises CliError."""
        if hook := self.job.hooks.after.get(name):
            self.hook(f"the hook after {name}", hook)

    def seconds(self, name: str, usual: float) -> float:
        """That one try of a step may take."""
        limit = self.job.limits.get(name)
        return (limit and limit.seconds) or usual

    def skip(self, name: str, reason: str) -> None:
        """A step of which nothing is to be done."""
        self.step = name
        self._steps.skip(name, reason)

    def hook(self, what: str, command: list[str]) -> None:
        """Raises CliError."""
        hooks.run(what, command, self.job, self.unit, self.port)

    def record(self, step: str, outcome: str, seconds: float = 0.0, **detail: str) -> None:
        self.ledger.step(self.unit, self.who, step, outcome, seconds, **detail)

    def emit(self, event: str, /, **fields: object) -> None:
        if self._unit:
            fields["serial"] = self._unit.serial
        self._plain_emit(event, port=self.port.name, **fields)

    def files(self, *, on_the_line: bool = False) -> list[File]:
        """All that the board is to hold. Raises CliError."""
        own, _ = configuration.own_files(self.job, self.unit, on_the_line=on_the_line)
        # main.py is written last: until then nothing starts.
        *first, main = self.bench.files
        return [*first, *own, main]

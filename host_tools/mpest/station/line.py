"""The line: a worker process for each port, what they tell, and when it ends."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from types import FrameType
from typing import Any

from mpest.exits import Exit
from mpest.station import channel, hooks
from mpest.station.events import Emit, Event
from mpest.station.job import Job
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Counts, LedgerError, Who
from mpest.station.own_server import OwnServer
from mpest.station.ports import Port
from mpest.station.processes import Processes, Worker
from mpest.station.scanning import Scans
from mpest.station.worker import Shared

_LOOK = 0.5  # seconds between two looks for ports
_STOP_SECONDS = 60.0  # that workers have for the step at hand once the line is to stop
_MAX_TOLD = 10  # serial numbers in one line
_RECOUNT = 5.0  # seconds between two looks at what other stations have made


@dataclass(frozen=True)
class Options:
    """How a job is run this time.

    operator: who works here; "" where somebody is to say so first. find: the ports there are
    right now. limit: boards at most. rework, wipe, only_failed: as in board_run.Bench. asks:
    somebody is there who can be asked, at a terminal or by the page.
    """

    operator: str
    find: Callable[[], list[Port]]
    limit: int | None = None
    rework: str = ""
    wipe: bool = False
    only_failed: bool = False
    own_server: OwnServer | None = None
    asks: bool = False


class _Now(BaseException):
    """Somebody asked for the end a second time."""


class Line:
    """Runs `job` until its boards are made, or somebody stops it."""

    def __init__(self, job: Job, ledger_url: str, options: Options, emit: Emit) -> None:
        self._job = job
        self._url = ledger_url
        self._options = options
        self._tell = emit
        self._workers: dict[str, Worker] = {}
        self._interrupts = 0
        self._stopping = False
        self._stopped = ""
        self.operator = options.operator
        """Who works here; "" where that is not known, and no board begins."""
        self._scans = Scans(emit)
        self._labels = bool(options.asks and job.label and job.label.scan)
        self._labels_told = False
        self._moved = time.monotonic()
        """When somebody was last seen to work here."""
        self._posted: SimpleQueue[Event] = SimpleQueue()
        self._left = options.limit  # boards that may still be begun; None for any number
        self._counts: Counts | None = None
        self._counted = -_RECOUNT

    def post(self, event: Event) -> None:
        """Tell what was decided beside the line, such as on the page: from any thread."""
        self._posted.put(event)

    def run(self) -> Exit:
        """Raises CliError where it cannot begin."""
        job, options = self._job, self._options
        who = Who(job.station, "", options.operator)
        with Ledger(self._url) as ledger, Processes() as processes:
            units = list(job.units())
            ledger.open_batch(job.name, job.digest, job.quantity, units, _details(job), who)
            if not options.operator:
                self._tell("operator", operator="")
            self._tell(
                "line",
                batch=job.name,
                station=job.station,
                operator=options.operator,
                units=len(units),
            )
            if job.hooks.start:
                hooks.run("the hook at the start", job.hooks.start, job, None, None)
            counts = ledger.counts(job.name)
            with contextlib.suppress(_Now), self._interruptible():
                self._watch(ledger, processes)
            counts = self._counts or counts
            if job.hooks.end:
                hooks.run("the hook at the end", job.hooks.end, job, None, None)
        self._tell("end", message=self._stopped or "all boards are made", **_shown(counts))
        return Exit.DONE if not self._stopped or self._interrupts else Exit.REFUSED

    def _watch(self, ledger: Ledger, processes: Processes) -> None:
        shared = Shared(
            job=self._job,
            operator=self._options.operator,
            ledger=self._url,
            lease=timedelta(seconds=self._job.lease),
            rework=self._options.rework,
            wipe=self._options.wipe,
            only_failed=self._options.only_failed,
            own_server=self._options.own_server,
            labels=self._labels,
        )
        looked = 0.0
        while not self._stopping:
            if time.monotonic() - looked > _LOOK:
                looked = time.monotonic()
                self._look(shared, processes)
            changed = self._listen()
            idle = not any(worker.busy for worker in self._workers.values())
            if changed or (idle and time.monotonic() - self._counted > _RECOUNT):
                self._count(ledger)
            if idle and (self._complete() or self._left == 0) and self._is_labelled(ledger):
                self._stopping = True
            self._ask_again(idle)
        self._end()
        self._count(ledger)

    def _listen(self) -> bool:
        """Take what workers say; whether the counts may have changed."""
        changed = False
        workers = {
            worker.line: worker for worker in self._workers.values() if not worker.line.closed
        }
        if not workers:
            time.sleep(_LOOK / 5)
        for line in wait(list(workers), timeout=_LOOK / 5) if workers else ():
            assert isinstance(line, Connection)
            try:
                words = line.recv()
            except (OSError, EOFError):
                line.close()  # it has ended: `_look` starts another
                continue
            changed = self._heed(workers[line], *words) or changed
        while not self._posted.empty():
            changed = self._event(self._posted.get()) or changed
        return changed

    def _heed(self, worker: Worker, word: str, *words: Any) -> bool:
        """See channel.ToLine."""
        if word == channel.EVENT:
            return self._event(*words)
        if word == channel.BEGIN:
            worker.busy = self._left != 0 and not self._stopping and bool(self.operator)
            if worker.busy and self._left:
                self._left -= 1
            self._answer(worker, [self.operator] if worker.busy else [])
            self._moved = time.monotonic() if worker.busy else self._moved
        elif word == channel.OTHERS:
            worker.board = unique_id, _ = words
            others = sorted(
                (other.port.name, other.board[1])
                for other in self._workers.values()
                if other is not worker and other.board and other.board[0] == unique_id
            )
            self._answer(worker, others)
        elif word == channel.ENDED:
            self._ended(worker, counts=words[0])
        elif word == channel.GONE:
            worker.board = None
            self._moved = time.monotonic()
        elif word == channel.SCAN:
            self._scan(worker, wanted=words[0])
        return False

    def _scan(self, worker: Worker, *, wanted: bool) -> None:
        if not wanted:
            self._scans.leave(worker.port.name)
        elif serial := self._scans.want(worker.port.name):
            channel.scanned(worker.line, serial)

    @staticmethod
    def _answer(worker: Worker, answer: object) -> None:
        with contextlib.suppress(OSError):
            worker.line.send(answer)

    def _ended(self, worker: Worker, *, counts: bool) -> None:
        """Its board is not being made any more. counts: it was one of those begun."""
        if worker.busy and not counts and self._left is not None:
            self._left += 1
        worker.busy = False
        self._scans.leave(worker.port.name)

    def _event(self, event: Event) -> bool:
        """Tell it; whether the counts may have changed."""
        kind = event["event"]
        if kind in ("operator", "scan", "decision"):
            self._moved = time.monotonic()
        if kind == "stop":
            self._stopped = event["message"]
            self._stopping = True
        elif kind == "operator":
            self.operator = event["operator"]
        elif kind == "scan":
            if port := self._scans.take(event["serial"]):
                channel.scanned(self._workers[port].line, event["serial"])
            return False
        self._tell(kind, **{name: value for name, value in event.items() if name != "event"})
        return kind in ("board", "decision")

    def _look(self, shared: Shared, processes: Processes) -> None:
        """Start a worker for each port that has none, also where one ended."""
        for port in self._options.find():
            worker = self._workers.get(port.name)
            if worker and not worker.line.closed:
                continue
            if worker:
                worker.process.join()
                text = f"the worker ended with {worker.process.exitcode}: another begins"
                self._tell("note", port=port.name, message=text)
                self._ended(worker, counts=False)
            self._tell("port", port=port.name, state="free")
            self._workers[port.name] = processes.start(shared, port)

    def _count(self, ledger: Ledger) -> None:
        """See what the ledger has, and tell it where it is new."""
        try:
            counts = ledger.counts(self._job.name)
        except LedgerError as error:
            self._tell("note", message=error.message)
        else:
            if counts != self._counts:
                self._tell("counts", **_shown(counts))
            self._counts = counts
        self._counted = time.monotonic()

    def _is_labelled(self, ledger: Ledger) -> bool:
        """Whether all labels were scanned back, or nobody is there who could."""
        left = self._counts.labels if self._counts else 0
        if not self._labels or not left:
            return True
        if not self._labels_told:
            self._labels_told = True
            with contextlib.suppress(LedgerError):
                made = ledger.units(self._job.name, "done")
                serials = [unit.serial for unit in made if unit.label == "printed"][:_MAX_TOLD]
                text = f"no more boards; labels to be scanned: {left}: {', '.join(serials)}"
                self._tell("note", message=text)
        return False

    def _ask_again(self, idle: bool) -> None:
        """Who works here, where nothing was done for long: before the next board begins."""
        seconds = self._job.idle
        if not (idle and seconds and self._options.asks and self.operator):
            return
        if time.monotonic() - self._moved > seconds:
            self.operator = ""
            self._tell("operator", operator="")

    def _complete(self) -> bool:
        counts = self._counts
        if counts is None or self._options.rework:  # of these, as many as come, up to the limit
            return False
        if self._options.only_failed:
            return counts.failed + counts.working == 0
        if counts.quantity is not None and counts.done >= counts.quantity:
            return True
        left = counts.open + counts.working + counts.failed + counts.rework
        return not self._job.devices.plugged and left == 0

    def _end(self) -> None:
        """Let workers finish the step at hand."""
        for worker in self._workers.values():
            channel.stop(worker.line)
        until = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < until:
            self._listen()
            if all(worker.line.closed for worker in self._workers.values()):
                return

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        def stop(_number: int, _frame: FrameType | None) -> None:
            self._interrupts += 1
            self._stopped = "stopped by hand"
            self._stopping = True
            if self._interrupts > 1:
                raise _Now

        usual = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in usual.items():
                signal.signal(number, handler)


def _details(job: Job) -> dict[str, Any]:
    """Of the job, for the ledger."""
    return {
        "board": job.board,
        "way": job.way,
        "server": job.server.url,
        "subject": job.subject,
        "firmware_sha256": job.firmware_sha256,
    }


def _shown(counts: Counts) -> dict[str, Any]:
    return {name: value for name, value in asdict(counts).items() if name != "scrapped"}

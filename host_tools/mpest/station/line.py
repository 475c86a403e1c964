"""The line: a worker process for each port, what they tell, and when it ends."""

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from types import FrameType
from typing import Any

from mpest.exits import Exit
from mpest.station import channel, hooks
from mpest.station.events import Emit, Event
from mpest.station.job import Job
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Counts, LedgerError, Who
from mpest.station.ports import Port
from mpest.station.worker import Shared, work

_LOOK = 0.5  # seconds between two looks for ports
_STOP_SECONDS = 60.0  # that workers have for the step at hand once the line is to stop
_RECOUNT = 5.0  # seconds between two looks at what other stations have made


@dataclass(frozen=True)
class Options:
    """How a job is run this time.

    limit: boards at most. find: the ports there are right now. rework, wipe: as in
    board_run.Bench.
    """

    operator: str
    find: Callable[[], list[Port]]
    limit: int | None = None
    rework: str = ""
    wipe: bool = False


@dataclass
class _Worker:
    port: Port
    process: BaseProcess
    line: Connection
    busy: bool = False
    """A board is being made."""
    board: tuple[str, str] | None = None
    """(unique id, MAC address) of the one that is there."""


class _Now(BaseException):
    """Somebody asked for the end a second time."""


class Line:
    """Runs `job` until its boards are made, or somebody stops it."""

    def __init__(self, job: Job, ledger_url: str, options: Options, emit: Emit) -> None:
        self._job = job
        self._url = ledger_url
        self._options = options
        self._tell = emit
        self._workers: dict[str, _Worker] = {}
        self._interrupts = 0
        self._stopping = False
        self._stopped = ""
        self._operator = options.operator
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
        with Ledger(self._url) as ledger, _Processes() as processes:
            units = list(job.units())
            ledger.open_batch(job.name, job.digest, job.quantity, units, _details(job), who)
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

    def _watch(self, ledger: Ledger, processes: "_Processes") -> None:
        shared = Shared(
            job=self._job,
            operator=self._options.operator,
            ledger=self._url,
            lease=timedelta(seconds=self._job.lease),
            rework=self._options.rework,
            wipe=self._options.wipe,
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
            if idle and (self._complete() or self._left == 0):
                self._stopping = True
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

    def _heed(self, worker: _Worker, word: str, *words: Any) -> bool:
        """See channel.ToLine."""
        if word == channel.EVENT:
            return self._event(*words)
        if word == channel.BEGIN:
            worker.busy = self._left != 0 and not self._stopping
            if worker.busy and self._left:
                self._left -= 1
            self._answer(worker, [self._operator] if worker.busy else [])
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
        return False

    @staticmethod
    def _answer(worker: _Worker, answer: object) -> None:
        with contextlib.suppress(OSError):
            worker.line.send(answer)

    def _ended(self, worker: _Worker, *, counts: bool) -> None:
        """Its board is not being made any more. counts: it was one of those begun."""
        if worker.busy and not counts and self._left is not None:
            self._left += 1
        worker.busy = False

    def _event(self, event: Event) -> bool:
        """Tell it; whether the counts may have changed."""
        kind = event["event"]
        if kind == "stop":
            self._stopped = event["message"]
            self._stopping = True
        elif kind == "operator":
            self._operator = event["operator"]
        self._tell(kind, **{name: value for name, value in event.items() if name != "event"})
        return kind in ("board", "decision")

    def _look(self, shared: Shared, processes: "_Processes") -> None:
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

    def _complete(self) -> bool:
        counts = self._counts
        if counts is None or self._options.rework:  # of these, as many as come, up to the limit
            return False
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


class _Processes:
    """Of workers. They are ended with the block."""

    def __init__(self) -> None:
        # Not forked: a copy of an open ledger is of no use.
        self._context = multiprocessing.get_context("spawn")
        self._started: list[BaseProcess] = []

    def __enter__(self) -> "_Processes":
        # It would start with the first worker, and let that one's Ctrl-C through.
        resource_tracker.ensure_running()
        return self

    def start(self, shared: Shared, port: Port) -> _Worker:
        line, far = self._context.Pipe()
        process = self._context.Process(target=work, args=(shared, port, far), name=port.name)
        # Ctrl-C in a terminal goes to all of them: this process alone says when to stop.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            far.close()  # so that the pipe ends with the worker
        self._started.append(process)
        return _Worker(port, process, line)

    def __exit__(self, *_: Any) -> None:
        for process in self._started:
            process.kill()
            process.join()


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
    names = ("quantity", "open", "working", "failed", "done", "rework", "aside", "first_pass")
    return {name: getattr(counts, name) for name in names}

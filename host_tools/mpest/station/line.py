"""The line: a worker process for each port, what they tell, and when it ends."""

import contextlib
import multiprocessing
import queue
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from sqlalchemy import make_url

from mpest.exits import Exit
from mpest.station import hooks
from mpest.station.events import Emit, Event
from mpest.station.job import Job
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Counts, LedgerError, Who
from mpest.station.ports import Port
from mpest.station.worker import Shared, ended, work

_LOOK = 0.5  # seconds between two looks for ports
_STOP_SECONDS = 60.0  # that workers have for the step at hand once the line is to stop
_ALL = -1


@dataclass(frozen=True)
class Options:
    """How a job is run this time.

    limit: boards at most. find: the ports there are right now. rework, wipe: as making.Bench has
    them.
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


class Line:
    """Runs `job` until its boards are made, or somebody stops it."""

    def __init__(self, job: Job, ledger_url: str, options: Options, emit: Emit) -> None:
        self._job = job
        self._url = ledger_url
        self._options = options
        self._tell = emit
        self._workers: dict[str, _Worker] = {}
        self._interrupts = 0
        self._stopped = ""
        self._made = 0

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
            shared = processes.shared(job, options, self._url)
            with self._interruptible(shared):
                counts = self._watch(shared, ledger, processes)
            if job.hooks.end:
                hooks.run("the hook at the end", job.hooks.end, job, None, None)
        self._tell("end", message=self._stopped or "all boards are made", **_shown(counts))
        return Exit.DONE if not self._stopped or self._interrupts else Exit.REFUSED

    def _watch(self, shared: Shared, ledger: Ledger, processes: "_Processes") -> Counts:
        counts = ledger.counts(self._job.name)
        looked = 0.0
        while not shared.stop.is_set():
            if time.monotonic() - looked > _LOOK:
                looked = time.monotonic()
                self._look(shared, processes)
            with contextlib.suppress(queue.Empty):
                while True:
                    event = shared.events.get(timeout=_LOOK / 5)
                    if self._heed(event, shared):
                        counts = self._count(ledger, counts)
            with shared.left.get_lock():
                idle = not shared.busy
                if idle and (self._complete(counts) or shared.left.value == 0):
                    shared.stop.set()
        self._end(shared)
        return self._count(ledger, counts)

    def _heed(self, event: Event, shared: Shared) -> bool:
        """Tell an event; whether the counts may have changed."""
        kind = event["event"]
        if kind == "stop":
            self._stopped = event["message"]
            shared.stop.set()
        self._tell(kind, **{name: value for name, value in event.items() if name != "event"})
        return bool(kind == "board")

    def _look(self, shared: Shared, processes: "_Processes") -> None:
        """Start a worker for each port that has none, also where one ended."""
        for port in self._options.find():
            worker = self._workers.get(port.name)
            if worker and worker.process.is_alive():
                continue
            if worker:
                text = f"the worker ended with {worker.process.exitcode}: another begins"
                self._tell("note", port=port.name, message=text)
                ended(shared, port, counts=False)
            self._workers[port.name] = _Worker(port, processes.start(shared, port))

    def _count(self, ledger: Ledger, counts: Counts) -> Counts:
        try:
            counts = ledger.counts(self._job.name)
        except LedgerError as error:
            self._tell("note", message=error.message)
        else:
            self._tell("counts", **_shown(counts))
        return counts

    def _complete(self, counts: Counts) -> bool:
        if self._options.rework:  # as many as come, up to the limit
            return False
        if counts.quantity is not None and counts.done >= counts.quantity:
            return True
        left = counts.open + counts.working + counts.failed + counts.rework
        return not self._job.devices.plugged and left == 0

    def _end(self, shared: Shared) -> None:
        """Let workers finish the step at hand."""
        until = time.monotonic() + _STOP_SECONDS
        while self._interrupts < 2 and time.monotonic() < until:
            with contextlib.suppress(queue.Empty):
                self._heed(shared.events.get(timeout=_LOOK / 5), shared)
                continue
            if not any(worker.process.is_alive() for worker in self._workers.values()):
                return

    @contextlib.contextmanager
    def _interruptible(self, shared: Shared) -> Iterator[None]:
        def stop(_number: int, _frame: FrameType | None) -> None:
            self._interrupts += 1
            self._stopped = "stopped by hand"
            shared.stop.set()

        usual = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in usual.items():
                signal.signal(number, handler)


class _Processes:
    """Workers, and what they share. They are ended with the block."""

    def __init__(self) -> None:
        # Not forked: a copy of an open ledger is of no use.
        self._context = multiprocessing.get_context("spawn")
        self._started: list[BaseProcess] = []

    def __enter__(self) -> "_Processes":
        self._manager = self._context.Manager()
        return self

    def shared(self, job: Job, options: Options, ledger: str) -> Shared:
        limit = _ALL if options.limit is None else options.limit
        return Shared(
            job=job,
            operator=options.operator,
            ledger=ledger,
            events=self._context.Queue(),
            stop=self._context.Event(),
            left=self._context.Value("i", limit),
            busy=self._manager.dict(),
            rework=options.rework,
            wipe=options.wipe,
            lease=timedelta(seconds=job.lease),
            boards=self._manager.dict(),
        )

    def start(self, shared: Shared, port: Port) -> BaseProcess:
        process = self._context.Process(target=work, args=(shared, port), name=port.name)
        # Ctrl-C in a terminal goes to all of them: this process alone says when to stop.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        self._started.append(process)
        return process

    def __exit__(self, *_: Any) -> None:
        for process in self._started:
            process.kill()
            process.join()
        self._manager.shutdown()


def ledger_url(job: Job) -> str:
    """Of the job's ledger, with its password; a file lies beside the job."""
    if "://" not in job.ledger:
        return str(job.source.parent.absolute() / job.ledger)
    if job.ledger_password is None:
        return job.ledger
    password = job.credentials.read("The ledger's password", job.ledger_password)
    return make_url(job.ledger).set(password=password).render_as_string(hide_password=False)


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

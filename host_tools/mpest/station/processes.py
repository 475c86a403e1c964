"""The worker processes of a line, one for each port."""

import multiprocessing
import signal
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from mpest.station.ports import Port
from mpest.station.worker import Shared, work


@dataclass
class Worker:
    port: Port
    process: BaseProcess
    line: Connection
    busy: bool = False
    """A board is being made."""
    board: tuple[str, str] | None = None
    """(unique id, MAC address) of the one that is there."""


class Processes:
    """Of workers. They are ended with the block."""

    def __init__(self) -> None:
        # Not forked: a copy of an open ledger is of no use.
        self._context = multiprocessing.get_context("spawn")
        self._started: list[BaseProcess] = []

    def __enter__(self) -> "Processes":
        # It would start with the first worker, and let that one's Ctrl-C through.
        resource_tracker.ensure_running()
        return self

    def start(self, shared: Shared, port: Port) -> Worker:
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
        return Worker(port, process, line)

    def __exit__(self, *_: Any) -> None:
        for process in self._started:
            process.kill()
            process.join()

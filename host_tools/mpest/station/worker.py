"""The process of one port: makes one board after the other, whatever goes wrong with one."""

import contextlib
import threading
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event as Flag
from typing import Any

from mpest.exits import CliError
from mpest.flash import application
from mpest.station.authority import Authority
from mpest.station.credentials import Credential
from mpest.station.events import Event
from mpest.station.identity import Identity
from mpest.station.job import Job
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import LeaseLost, LedgerError, Who
from mpest.station.link import Serial
from mpest.station.making import Bench, Making
from mpest.station.outcome import Outcome
from mpest.station.ports import Port

_POLL = 0.2  # seconds between two looks whether a board is there
_SETTLE = 1.0  # seconds after a board is plugged in until its port is used
_AFTER_FAULT = 5.0  # seconds, where the worker itself failed


@dataclass(frozen=True)
class Shared:
    """What a worker has in common with the others of its station."""

    job: Job
    operator: str
    ledger: str
    """Its URL."""
    events: "Queue[Event]"
    stop: Flag
    left: Any
    """Value of how many boards may still be begun; negative for any number."""
    busy: MutableMapping[str, bool]
    """Ports whose board is being made; changed under the lock of `left`."""
    boards: MutableMapping[str, tuple[str, str]]
    """(unique id, MAC address) of the board at each port."""
    lease: timedelta
    rework: str = ""
    wipe: bool = False
    """As making.Bench has them."""


def work(shared: Shared, port: Port) -> None:
    """Until `stop`. It is the target of a process."""
    _Worker(shared, port).run()


def ended(shared: Shared, port: Port, *, counts: bool) -> None:
    """The board at `port` is not being made any more. counts: it was one of those begun."""
    with shared.left.get_lock():
        if shared.busy.pop(port.name, False) and not counts:
            shared.left.value += shared.left.value >= 0


def authority_of(job: Job) -> Authority:
    """The job's EST server, with what the station shows it. Raises CliError."""
    server = job.server

    def secret(what: str, credential: Credential | None) -> str | None:
        return job.credentials.read(what, credential) if credential else None

    return Authority(
        server.url,
        str(server.trust),
        certificate=server.certificate,
        key=server.key,
        key_password=secret("The password of the station's key", server.key_password),
        user=server.user,
        password=secret("The station's password", server.password),
        token=secret("The station's token", server.token),
    )


class _Worker:
    def __init__(self, shared: Shared, port: Port) -> None:
        self._shared = shared
        self._port = port
        self._making: Making | None = None
        self._link: Serial | None = None

    def run(self) -> None:
        shared = self._shared
        threading.Thread(target=self._keep_lease, daemon=True).start()
        while not shared.stop.is_set():
            try:
                with contextlib.ExitStack() as stack:
                    bench = self._bench(stack)
                    while not shared.stop.is_set():
                        self._next(bench)
            except CliError as error:
                self._emit("note", port=self._port.name, message=error.message)
                self._pause(_AFTER_FAULT)

    def _bench(self, stack: contextlib.ExitStack) -> Bench:
        job = self._shared.job
        ledger = stack.enter_context(Ledger(self._shared.ledger))
        authority = authority_of(job)
        stack.callback(authority.close)
        return Bench(
            job=job,
            who=Who(job.station, self._port.name, self._shared.operator),
            ledger=ledger,
            authority=authority,
            files=application.files(job.profile, parts=job.parts),
            others=self._others,
            lease=self._shared.lease,
            rework=self._shared.rework,
            wipe=self._shared.wipe,
        )

    def _next(self, bench: Bench) -> None:
        """Wait for a board, make it, and wait until it is gone."""
        board = self._port.board()
        if board is None:
            time.sleep(_POLL)
            return
        self._pause(_SETTLE)
        if self._port.board() != board or not self._begin():
            return
        self._emit("port", port=self._port.name, device=board[0], state="here")
        begun = time.monotonic()
        outcome = self._make(bench)
        seconds = round(time.monotonic() - begun, 3)
        self._emit("board", port=self._port.name, seconds=seconds, **_told(outcome))
        self._ended(counts=outcome.kind in ("done", "failed"))
        if outcome.kind == "stop":
            self._emit("stop", message=outcome.message)
            self._shared.stop.wait()
        until = time.monotonic() + outcome.seconds
        while not self._shared.stop.is_set() and self._port.board() == board:
            if outcome.kind == "waiting" and time.monotonic() > until:
                return
            time.sleep(_POLL)
        self._shared.boards.pop(self._port.name, None)
        self._emit("port", port=self._port.name, state="gone")

    def _make(self, bench: Bench) -> Outcome:
        self._link = Serial(self._port.path() or self._port.name)
        making = Making(bench, self._port, self._link, self._emit, self._shared.stop.is_set)
        self._making = making
        try:
            return making.run()
        finally:
            self._making = None
            self._link.close()

    def _begin(self) -> bool:
        """Whether one more board may be begun."""
        left = self._shared.left
        with left.get_lock():
            if left.value == 0:
                return not self._pause(_POLL)
            left.value -= left.value > 0
            self._shared.busy[self._port.name] = True
        return True

    def _ended(self, *, counts: bool) -> None:
        ended(self._shared, self._port, counts=counts)

    def _others(self, identity: Identity) -> list[tuple[str, str]]:
        boards = self._shared.boards
        boards[self._port.name] = (identity.unique_id, identity.mac)
        return [
            (port, mac)
            for port, (unique_id, mac) in sorted(boards.items())
            if port != self._port.name and unique_id == identity.unique_id
        ]

    def _keep_lease(self) -> None:
        """So that a slow step loses no board to another station."""
        seconds = self._shared.lease.total_seconds() / 3
        ledger: Ledger | None = None
        while True:
            time.sleep(seconds)
            making, link = self._making, self._link
            if making is None or making.unit is None:
                continue
            try:
                ledger = ledger or Ledger(self._shared.ledger)
                who = Who(self._shared.job.station, self._port.name, self._shared.operator)
                ledger.renew(making.unit, who, self._shared.lease)
            except LedgerError:
                pass  # the next record says so
            except LeaseLost:
                if link:
                    link.close()  # the board is another station's

    def _pause(self, seconds: float) -> bool:
        return self._shared.stop.wait(seconds)

    def _emit(self, event: str, /, **fields: Any) -> None:
        self._shared.events.put({"event": event, **fields})


def _told(outcome: Outcome) -> dict[str, Any]:
    told = {"outcome": outcome.kind, "serial": outcome.serial, "step": outcome.step}
    return {**told, "message": outcome.message} if outcome.message else told

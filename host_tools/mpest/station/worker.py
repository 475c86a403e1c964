"""The process of one port: makes one board after the other, whatever goes wrong with one."""

import contextlib
import threading
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

from mpest.exits import CliError
from mpest.flash import application
from mpest.station.authority import SECONDS, Authority
from mpest.station.board_run import Bench
from mpest.station.channel import ToLine
from mpest.station.credentials import Credential
from mpest.station.errors import Gone
from mpest.station.job import Job
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import LedgerError, NotForThisBoard, Who
from mpest.station.link import Serial
from mpest.station.making import Making
from mpest.station.outcome import Outcome, Stopped
from mpest.station.own_server import OwnServer
from mpest.station.ports import Plugged, Port

_POLL = 0.2  # seconds between two looks whether a board is there
_RESTARTS = 5.0  # seconds in which a board that is done is back at its port, its program running
SETTLE = 1.0  # seconds after a board is plugged in until its port is used
_LABEL_POLL = 1.0  # seconds between two looks whether a label was scanned
_AFTER_FAULT = 5.0  # seconds, where the worker itself failed


@dataclass(frozen=True)
class Shared:
    """What a worker has in common with the others of its station."""

    job: Job
    operator: str
    ledger: str
    """Its URL."""
    lease: timedelta
    rework: str = ""
    wipe: bool = False
    only_failed: bool = False
    """As board_run.Bench has them."""
    own_server: OwnServer | None = None
    labels: bool = False
    """Labels are scanned back: until then no other board begins at the port."""


def work(shared: Shared, port: Port, line: Connection) -> None:
    """Until the line is to stop. It is the target of a process."""
    _Worker(shared, port, ToLine(line)).run()


def authority_of(job: Job, own: OwnServer | None = None) -> Authority:
    """The job's EST server, or its own, with what the station shows it. Raises CliError."""
    server, limit = job.server, job.limits.get("enrol")
    seconds = (limit and limit.seconds) or SECONDS
    if own:
        shown = {"user": own.user, "password": own.password}
        return Authority(own.url, own.trust, **shown, seconds=seconds)

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
        seconds=seconds,
    )


class _Worker:
    def __init__(self, shared: Shared, port: Port, line: ToLine) -> None:
        self._shared = shared
        self._port = port
        self._line = line
        self._making: Making | None = None
        self._link: Serial | None = None
        self._unlabelled = ""  # serial number of the last board, whose label is to be scanned
        self._looked = 0.0  # when that was looked for

    def run(self) -> None:
        threading.Thread(target=self._keep_lease, daemon=True).start()
        while not self._line.stopping():
            try:
                with contextlib.ExitStack() as stack:
                    bench = self._bench(stack)
                    while not self._line.stopping():
                        self._next(bench)
            except CliError as error:
                self._emit("note", port=self._port.name, message=error.message)
                self._line.pause(_AFTER_FAULT)

    def _bench(self, stack: contextlib.ExitStack) -> Bench:
        job = self._shared.job
        ledger = stack.enter_context(Ledger(self._shared.ledger))
        authority = authority_of(job, self._shared.own_server)
        stack.callback(authority.close)
        return Bench(
            job=job,
            who=Who(job.station, self._port.name, self._shared.operator),
            ledger=ledger,
            authority=authority,
            files=application.files(job.profile, parts=job.parts),
            others=lambda board: self._line.others(board.unique_id, board.mac),
            lease=self._shared.lease,
            rework=self._shared.rework,
            wipe=self._shared.wipe,
            only_failed=self._shared.only_failed,
            scan=self._scan if job.devices.scan else None,
        )

    def _next(self, bench: Bench) -> None:
        """Wait for a board, make it, and wait until it is gone."""
        board = self._port.board()
        if board is None:
            self._line.pause(_POLL)
            return
        if self._line.pause(SETTLE) or self._port.board() != board:
            return
        operator = self._line.begin() if self._is_labelled(bench.ledger) else None
        if operator is None:
            self._line.pause(_POLL)
            return
        self._emit("port", port=self._port.name, device=board.device, state="here")
        begun = time.monotonic()
        outcome = self._make(replace(bench, who=replace(bench.who, operator=operator)))
        seconds = round(time.monotonic() - begun, 3)
        if outcome.kind != "unplugged":
            # It has started over meanwhile; once it is told, another may take its place.
            board = self._port.board() or board
        self._emit("board", port=self._port.name, seconds=seconds, **_told(outcome))
        self._line.ended(counts=outcome.kind in ("done", "failed"))
        if outcome.kind == "done" and self._shared.labels:
            self._unlabelled = outcome.serial
        if outcome.kind == "stop":
            self._emit("stop", message=outcome.message)
            self._line.pause(None)
        self._after(outcome, board)

    def _after(self, outcome: Outcome, board: Plugged) -> None:
        """Wait until the board is gone, or it is time to go on with it."""
        now = time.monotonic()
        again = now + outcome.seconds if outcome.kind == "waiting" else float("inf")
        restarted = now + _RESTARTS if outcome.kind == "done" and board.serial else now
        while time.monotonic() < again:
            there = self._port.board()
            if time.monotonic() < restarted:
                if there and there.serial != board.serial:
                    break
                board = there or board
            elif there != board:
                break
            if self._line.pause(_POLL):
                return
        else:
            return
        self._line.gone()
        self._emit("port", port=self._port.name, state="gone")

    def _make(self, bench: Bench) -> Outcome:
        self._link = Serial(self._port.device or self._port.name, self._port.path)
        making = Making(bench, self._port, self._link, self._emit, self._line.stopping)
        self._making = making
        try:
            return making.run()
        finally:
            self._making = None
            self._link.close()

    def _is_labelled(self, ledger: Ledger) -> bool:
        """Whether the last board's label was scanned back, or is not wanted any more."""
        if not self._unlabelled:
            return True
        if time.monotonic() - self._looked < _LABEL_POLL:
            return False
        if not self._looked:
            text = f"scan the label of {self._unlabelled} before the next board"
            self._emit("note", port=self._port.name, message=text)
        self._looked = time.monotonic()
        unit = ledger.unit(self._unlabelled)
        if unit.state == "done" and unit.label == "printed":
            return False
        self._unlabelled, self._looked = "", 0.0
        return True

    def _scan(self) -> str:
        """The serial number that is scanned for the board. Raises Stopped, and Gone where the
        board leaves before."""
        board = self._port.board()
        self._line.scan(wanted=True)
        while not self._line.scanned:
            if self._line.pause(_POLL):
                raise Stopped
            if self._port.board() != board:
                self._line.scan(wanted=False)
                raise Gone(f"the board at {self._port.name} was taken out before its label came")
        return self._line.scanned

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
            except NotForThisBoard:
                if link:
                    link.close()  # the board is another station's

    def _emit(self, event: str, /, **fields: Any) -> None:
        self._line.tell({"event": event, **fields})


def _told(outcome: Outcome) -> dict[str, Any]:
    told = {"outcome": outcome.kind, "serial": outcome.serial, "step": outcome.step}
    more = {"message": outcome.message, "history": outcome.history}
    return {**told, **{name: value for name, value in more.items() if value}}

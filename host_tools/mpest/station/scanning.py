"""Labels that a person scans: what a scan is for, and which port gets it.

A serial number that no board has yet is for the board that asks for one: boards ask one after the
other, so that nobody has to say which of them was meant. A label that was printed is scanned back.
"""

import time
from collections import deque

from mpest.exits import CliError
from mpest.station import devices, labels
from mpest.station.events import Emit, Event
from mpest.station.job import Job
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import MAX_SERIAL, Unit, Who, checked

KEPT_SECONDS = 60.0
"""That a scan without a board waits for one: who scans first puts the board in then."""
MAX_OPERATOR = 64
"""Characters of an operator's name or badge."""


def serial_of(job: Job, text: str) -> str:
    """The serial number in what was scanned. Raises CliError."""
    text = text.strip()
    if job.label is None:
        return text
    serial = labels.serial_of(text, job.label.qr)
    if serial is None:
        raise CliError("this is no label of this job")
    return serial


def unit_of(job: Job, ledger: Ledger, serial: str) -> Unit:
    """Raises CliError where it is none of the job's."""
    unit = ledger.unit(checked(serial.strip(), "serial number", MAX_SERIAL))
    if unit.batch != job.name:
        raise CliError(f"{unit.serial} belongs to batch {unit.batch}")
    return unit


def heed(job: Job, ledger: Ledger, text: str, who: Who) -> Event:
    """What a scan is for, as an event for the line; a label that comes back is in the ledger then.

    Raises CliError where it counts for nothing.
    """
    serial = serial_of(job, text)
    event = {"serial": serial, "operator": who.operator}
    if job.devices.scan and job.devices.plugged and not ledger.has(serial):
        if problem := devices.serial_problem(serial):
            raise CliError(problem)
        return {"event": "scan", "what": "scan", **event}
    unit = unit_of(job, ledger, serial)
    if unit.state == "open" and job.devices.scan:
        return {"event": "scan", "what": "scan", **event}
    if job.label is None or not job.label.scan:
        raise CliError("labels of this job are not scanned back")
    if unit.label not in ("printed", "scanned"):
        raise CliError(f"{unit.serial} has no printed label: take this one away")
    if unit.label == "printed":
        ledger.label(unit.serial, who, "scanned")
    return {"event": "decision", "what": "label", "label": "scanned", **event}


def operator_of(name: str) -> str:
    """A name or badge, as the ledger has it. Raises CliError."""
    name = checked(name.strip(), "operator", MAX_OPERATOR)
    if not name:
        raise CliError("say who works here")
    return name


class Scans:
    """Which port gets the next scan. tell: hears of it, as events have it."""

    def __init__(self, tell: Emit) -> None:
        self._tell = tell
        self._ports: deque[str] = deque()
        self._kept: tuple[str, float] | None = None

    def want(self, port: str) -> str | None:
        """The board there asks: the serial number that was scanned for the next one, if any."""
        kept, self._kept = self._kept, None
        if kept and time.monotonic() < kept[1] and not self._ports:
            return kept[0]
        self._ports.append(port)
        self._tell("scan", port=port, state="wanted" if self._ports[0] == port else "turn")
        return None

    def leave(self, port: str) -> None:
        """The board there asks no more."""
        if port not in self._ports:
            return
        asked = self._ports[0]
        self._ports.remove(port)
        self._tell("scan", port=port, state="over")
        if self._ports and self._ports[0] != asked:
            self._tell("scan", port=self._ports[0], state="wanted")

    def take(self, serial: str) -> str | None:
        """The port whose board it is for; None where the next one that asks gets it."""
        if not self._ports:
            self._kept = serial, time.monotonic() + KEPT_SECONDS
            self._tell("note", message=f"{serial} was scanned: put its board in")
            return None
        port = self._ports[0]
        self.leave(port)
        return port

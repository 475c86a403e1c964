"""What the page asks of the ledger, and writes there. It blocks: call it in a thread."""

import threading
from typing import Any

from mpest.exits import CliError
from mpest.station import labelling, labels
from mpest.station.events import Event
from mpest.station.job import Job
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.record import moment
from mpest.station.ledger.units import MAX_SERIAL, Unit, Who, checked

PORT = "page"
"""Stands in the ledger for what was done here."""
_MAX_HISTORY = 500  # lines; the newest
_MAX_OPERATOR = 64  # characters of a name


class Actions:
    def __init__(self, job: Job, ledger_url: str) -> None:
        self._job = job
        self._url = ledger_url
        self._ledger: Ledger | None = None
        self._opening = threading.Lock()

    def close(self) -> None:
        if self._ledger:
            self._ledger.close()

    def board(self, serial: str) -> dict[str, Any]:
        """A board with its history. Raises CliError."""
        unit = self._unit(serial)
        ledger = self._open()
        return {
            "serial": unit.serial,
            "batch": unit.batch,
            "state": unit.state,
            "unique_id": unit.unique_id,
            "label": unit.label,
            "metadata": unit.metadata,
            "generation": unit.generation,
            "failures": unit.failures,
            "history": [
                {
                    "at": moment(event.at),
                    "event": event.event,
                    "step": event.step,
                    "outcome": event.outcome,
                    "reason": str(event.detail.get("reason", "")),
                    "seconds": event.seconds,
                    "station": event.station,
                    "port": event.port,
                    "operator": event.operator,
                }
                for event in ledger.history(unit.serial)[-_MAX_HISTORY:]
            ],
            "certificates": [
                {
                    "number": certificate.number,
                    "until": moment(certificate.not_after),
                    "current": certificate.current,
                    "revoked": certificate.revoked is not None,
                }
                for certificate in ledger.certificates(serial=unit.serial)
            ],
        }

    def label(self, serial: str) -> str | None:
        """Its drawing, None where the job has none. Raises CliError."""
        unit = self._unit(serial)
        if self._job.label is None or unit.batch != self._job.name:
            return None
        return labels.make(self._job, unit).svg

    def rework(self, serial: str, operator: str, reason: str) -> Event:
        unit = self._open().rework(self._own(serial).serial, self._who(operator), reason)
        return _decision("rework", unit, operator)

    def scrap(self, serial: str, operator: str, reason: str) -> Event:
        unit = self._open().scrap(self._own(serial).serial, self._who(operator), reason)
        return _decision("scrap", unit, operator)

    def reprint(self, serial: str, operator: str) -> Event:
        """The same label again; it is to be scanned again."""
        unit = self._own(serial)
        if self._job.label is None:
            raise CliError("the job has no label")
        if not unit.label or unit.state == "scrapped":
            raise CliError(f"{unit.serial} has no label that could be printed again")
        labelling.make(self._job, unit, self._open(), self._who(operator))
        return _decision("label", unit, operator, label="printed")

    def scanned(self, text: str, operator: str) -> Event:
        """A label was scanned back, and counts."""
        unit = self._own(self.serial_of(text))
        if self._job.label is None or not self._job.label.scan:
            raise CliError("labels of this job are not scanned back")
        if unit.label not in ("printed", "scanned"):
            raise CliError(f"{unit.serial} has no printed label: take this one away")
        if unit.label == "printed":
            self._open().label(unit.serial, self._who(operator), "scanned")
        return _decision("label", unit, operator, label="scanned")

    def serial_of(self, text: str) -> str:
        """The serial number in what was scanned. Raises CliError."""
        text = text.strip()
        if self._job.label is None:
            return text
        serial = labels.serial_of(text, self._job.label.qr)
        if serial is None:
            raise CliError("this is no label of this job")
        return serial

    def _open(self) -> Ledger:
        with self._opening:
            if self._ledger is None:
                self._ledger = Ledger(self._url)
            return self._ledger

    def _unit(self, serial: str) -> Unit:
        return self._open().unit(checked(serial.strip(), "serial number", MAX_SERIAL))

    def _own(self, serial: str) -> Unit:
        unit = self._unit(serial)
        if unit.batch != self._job.name:
            raise CliError(f"{unit.serial} belongs to batch {unit.batch}")
        return unit

    def _who(self, operator: str) -> Who:
        return Who(self._job.station, PORT, operator)


def operator_of(name: str) -> str:
    """A name or badge, as the ledger has it. Raises CliError."""
    name = checked(name.strip(), "operator", _MAX_OPERATOR)
    if not name:
        raise CliError("say who works here")
    return name


def _decision(what: str, unit: Unit, operator: str, **more: str) -> Event:
    return {
        "event": "decision",
        "what": what,
        "serial": unit.serial,
        "operator": operator,
        **more,
    }

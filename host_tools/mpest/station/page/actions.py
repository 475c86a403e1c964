"""What the page asks of the ledger, and writes there. It blocks: call it in a thread."""

import threading
from typing import Any

from mpest.station import labelling, labels, scanning
from mpest.station.events import Event
from mpest.station.job import Job
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.record import line, moment
from mpest.station.ledger.units import MAX_SERIAL, Unit, Who, checked

PORT = "page"
"""Stands in the ledger for what was done here."""
_MAX_HISTORY = 500  # lines; the newest


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
            "history": [line(event) for event in ledger.history(unit.serial)[-_MAX_HISTORY:]],
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
        unit = labelling.again(self._job, self._own(serial), self._open(), self._who(operator))
        return _decision("label", unit, operator, label=unit.label)

    def scanned(self, text: str, operator: str) -> Event:
        """A label was scanned, for a board that begins or to be scanned back."""
        return scanning.heed(self._job, self._open(), text, self._who(operator))

    def serial_of(self, text: str) -> str:
        """The serial number in what was scanned. Raises CliError."""
        return scanning.serial_of(self._job, text)

    def _open(self) -> Ledger:
        with self._opening:
            if self._ledger is None:
                self._ledger = Ledger(self._url)
            return self._ledger

    def _unit(self, serial: str) -> Unit:
        return self._open().unit(checked(serial.strip(), "serial number", MAX_SERIAL))

    def _own(self, serial: str) -> Unit:
        return scanning.unit_of(self._job, self._open(), serial)

    def _who(self, operator: str) -> Who:
        return Who(self._job.station, PORT, operator)


def _decision(what: str, unit: Unit, operator: str, **more: str) -> Event:
    return {
        "event": "decision",
        "what": what,
        "serial": unit.serial,
        "operator": operator,
        **more,
    }

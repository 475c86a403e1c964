"""A batch as one document: what the manifest signs and what export templates read."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Certificate, Event, State, Unit

FORMAT = "mpest-manifest"
VERSION = 1
"""Of the document that manifest.schema.json describes. A new field keeps it; one that goes, or
means something else, raises it."""

Document = dict[str, Any]


def document(ledger: Ledger, batch: str, states: Collection[State] | None = None) -> Document:
    """JSON of a batch, of the boards in these states; all but open ones without `states`.

    Raises CliError where there is no such batch.
    """
    counts = ledger.counts(batch)
    (row,) = [one for one in ledger.batches() if one.name == batch]
    events, certificates = defaultdict(list), defaultdict(list)
    for event in ledger.history(batch=batch):
        events[event.serial].append(event)
    for certificate in ledger.certificates(batch=batch):
        certificates[certificate.serial].append(certificate)
    firmware = row.details.get("firmware_sha256", "")
    return {
        "format": FORMAT,
        "version": VERSION,
        "made": moment(datetime.now(UTC)),
        "batch": {
            "name": row.name,
            "job_sha256": row.digest,
            "opened": moment(row.opened),
            "details": row.details,
            "counts": asdict(counts),
        },
        "boards": [
            _board(unit, events[unit.serial], certificates[unit.serial], firmware)
            for unit in ledger.units(batch)
            if (unit.state in states if states else unit.state != "open")
        ],
    }


def _board(
    unit: Unit, events: list[Event], certificates: list[Certificate], firmware: str
) -> Document:
    current = [one for one in certificates if one.current]
    steps = [event for event in events if event.event == "step"]
    flashed = [event.detail["sha256"] for event in steps if _is_flashed(event)]
    return {
        "serial": unit.serial,
        "state": unit.state,
        "unique_id": unit.unique_id,
        "mac": unit.mac,
        "key_sha256": unit.key_hash,
        "certificate": _certificate(current[-1]) if current else None,
        "replaced": [_certificate(one) for one in certificates if not one.current],
        "firmware_sha256": flashed[-1] if flashed else firmware,
        "generation": unit.generation,
        "failures": unit.failures,
        "label": unit.label,
        "metadata": unit.metadata,
        "steps": [
            {
                "at": moment(event.at),
                "step": event.step,
                "outcome": event.outcome,
                "seconds": event.seconds,
                "station": event.station,
                "operator": event.operator,
            }
            for event in steps
        ],
    }


def _is_flashed(event: Event) -> bool:
    return event.step == "firmware" and isinstance(event.detail.get("sha256"), str)


def _certificate(certificate: Certificate) -> Document:
    return {
        "number": certificate.number,
        "sha256": certificate.fingerprint,
        "pem": certificate.pem,
        "not_before": moment(certificate.not_before),
        "not_after": moment(certificate.not_after),
        "recorded": moment(certificate.recorded),
        "station": certificate.station,
        "operator": certificate.operator,
        "proven": moment(certificate.proven) if certificate.proven else None,
        "revoked": moment(certificate.revoked) if certificate.revoked else None,
    }


def line(event: Event) -> Document:
    """A line of the history, as the page and the line's events have it."""
    return {
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


def moment(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""What each board of a job would get, without one: `mpest provision --dry-run`."""

import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Any

from mpest.exits import CliError
from mpest.station import configuration, ledger_place, validate
from mpest.station.job import Job
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import NewUnit
from mpest.station.problems import one_line

# What only the board can tell, or its label.
_UNIQUE_ID, _MAC, _SERIAL = "UNIQUE-ID", "MAC", "SERIAL"


def would(made: Job, limit: int | None, only_failed: bool) -> Iterator[dict[str, Any]]:
    """Each unit as it would be, secrets hidden, and the job. Raises CliError."""
    count = 0
    units = _failed(made) if only_failed else made.units()
    for unit in islice(units, limit):
        count += 1
        yield _unit(made, unit)
    if made.devices.plugged and not only_failed:
        yield _unit(made, NewUnit("", {}))
    yield {
        "event": "job",
        "name": made.name,
        "board": made.board,
        "way": made.way,
        "server": made.server.url,
        "units": count,
        "quantity": made.quantity,
        "digest": made.digest,
    }


def _failed(made: Job) -> Iterator[NewUnit]:
    """Of the batch, as the ledger has it. Raises CliError."""
    with Ledger(ledger_place.url(made), create=False, patience=timedelta(0)) as ledger:
        for unit in ledger.units(made.name, "failed"):
            yield NewUnit(unit.serial, unit.metadata, unit.unique_id, unit.mac)


def _unit(made: Job, unit: NewUnit) -> dict[str, Any]:
    known = unit.unique_id or _UNIQUE_ID, unit.mac or _MAC
    shown = NewUnit(unit.serial, unit.metadata, *known)
    try:
        if made.devices.plugged:
            shown = made.plugged_unit(*known, scanned=_SERIAL)
        subject, names = made.subject_of(shown), made.san_of(shown)
        settings = configuration.settings(made, shown, ask=False, hide=True)
    except CliError:  # these words are no digits
        return _unit(made, validate.sample(unit))
    return {
        "event": "unit",
        "serial": shown.serial,
        "unique_id": unit.unique_id,
        "mac": unit.mac,
        "subject": subject,
        "san": names,
        "settings": settings,
        "metadata": unit.metadata,
    }


def text(event: dict[str, Any]) -> str:
    if event["event"] == "unit":
        lines = [event["serial"], f"  subject   {event['subject']}"]
        lines += [f"  name      {name}" for name in event["san"]]
        if event["settings"] is not None:
            settings = json.dumps(event["settings"], ensure_ascii=False)
            lines.append(f"  settings  {settings}")
        return "\n".join(map(one_line, lines))
    units = f"{event['units']} boards" if event["units"] else "whatever is plugged in"
    most = f", {event['quantity']} at most" if event["quantity"] else ""
    return (
        f"{event['name']}: {units} of {event['board']}{most}, certified by {event['server']}\n"
        f"digest {event['digest']}"
    )

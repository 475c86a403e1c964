"""What `mpest ledger` prints: a table for people, one JSON object a line for machines."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click

from mpest.station.ledger.record import moment
from mpest.station.ledger.units import Certificate, Unit
from mpest.text import printable, table


def listed(
    entries: Sequence[dict[str, Any]], as_json: bool, shown: Sequence[str], none: str
) -> None:
    """shown: the members that people see. none: what is said where there are no entries."""
    if as_json:
        for entry in entries:
            click.echo(json.dumps(entry))
        return
    if not entries:
        click.echo(none)
        return
    rows = [[_cell(entry[name]) for name in shown] for entry in entries]
    click.echo(table([[name.replace("_", " ") for name in shown], *rows]))


def _cell(value: object) -> str:
    return "-" if value in ("", None) else printable(str(value))


def told(certificates: Sequence[Certificate], event: str, as_json: bool) -> None:
    """Say of each of them what happened."""
    for one in certificates:
        if as_json:
            click.echo(json.dumps({**certificate_entry(one), "event": event}))
        else:
            click.echo(f"{event} {one.number} of {one.serial}")


def board_entry(unit: Unit) -> dict[str, Any]:
    return {
        "event": "board",
        "serial": unit.serial,
        "batch": unit.batch,
        "state": unit.state,
        "unique_id": unit.unique_id,
        "mac": unit.mac,
        "key_sha256": unit.key_hash,
        "generation": unit.generation,
        "failures": unit.failures,
        "label": unit.label,
        "station": unit.station,
        "port": unit.port,
        "lease_until": moment(unit.lease_until) if unit.lease_until else None,
        "metadata": unit.metadata,
    }


def certificate_entry(certificate: Certificate) -> dict[str, Any]:
    times = {
        name: moment(value)
        for name, value in asdict(certificate).items()
        if isinstance(value, datetime)
    }
    return {"event": "certificate", **asdict(certificate), **times}

"""What shapes the boards of a job, as one SHA-256: a batch whose digest changed is another."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mpest import boards
from mpest.boards import Board
from mpest.station.credentials import Credential
from mpest.station.entries import Network
from mpest.station.ledger.units import NewUnit

_OF_THE_STATION = {
    *("source", "station", "ledger", "ledger_password", "lease", "limits", "boards", "page"),
    *("idle", "serve"),
    *("certificate", "key", "key_password", "user", "password", "token", "print", "csv"),
}
"""Entries that shape no board."""


def _shape(value: object) -> Any:
    """What of an entry shapes a board, as JSON has it: files by their SHA-256."""
    match value:
        case Credential():
            return "secret"
        case BaseModel():
            fields = type(value).model_fields
            left_out = _OF_THE_STATION if not isinstance(value, Network) else set()
            return {name: _shape(getattr(value, name)) for name in fields if name not in left_out}
        case Path():
            return (
                hashlib.sha256(value.read_bytes()).hexdigest() if value.is_file() else str(value)
            )
        case dict():
            return {name: _shape(entry) for name, entry in value.items()}
        case list():
            return [_shape(entry) for entry in value]
    return value


def digest(job: BaseModel, board: Board, units: Sequence[NewUnit]) -> str:
    """In hex. Files count by their content, wherever they lie; secrets do not count.

    What may differ between the stations of one batch is left out: where ledger, secrets and the
    station's certificate are, the printer, and how long steps may take.
    """
    profile = [file for file in (board.folder / boards.PROFILE, board.wiring) if file.exists()]
    listed = [(unit.serial, unit.unique_id, unit.mac, unit.metadata) for unit in units]
    shape = {"job": _shape(job), "board": _shape(profile), "units": listed}
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()

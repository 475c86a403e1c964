"""The server's log: lines that nothing which clients send can break or forge."""

import json
import logging
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mpest.text import printable


def as_json(event: dict[str, Any]) -> str:
    """An event on one line, in ASCII, after the time of it."""
    return json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **event})


def place(error: BaseException) -> str:
    """The kind of an error and where it was raised: its text may hold what is secret."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return type(error).__name__ + where


class OneLine(logging.Formatter):
    """What libraries report, without tracebacks: they are long, and quote what clients sent."""

    def __init__(self, in_json: bool) -> None:
        super().__init__()
        self._in_json = in_json

    def format(self, record: logging.LogRecord) -> str:
        reason = record.getMessage()
        if record.exc_info and record.exc_info[1]:
            reason += f": {place(record.exc_info[1])}"
        if self._in_json:
            return as_json({"event": "library", "library": record.name, "reason": reason})
        return printable(reason)

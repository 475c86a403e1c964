"""What became of a board that was at a port."""

from dataclasses import dataclass
from typing import Any

from mpest.exits import CliError

AGAIN = 10.0
"""Seconds until what is away is asked again."""


@dataclass(frozen=True)
class Outcome:
    """What became of a board, by kind:

    done, failed; known: it has its certificate already; refused: nothing was done to it;
    unplugged: it goes on when it is back; stopped: with the next start; waiting: for server,
    ledger or clock, and goes on by itself after `seconds`; stop: the job cannot go on.
    """

    kind: str
    message: str = ""
    serial: str = ""
    step: str = ""
    seconds: float = 0.0
    history: tuple[dict[str, Any], ...] = ()
    """Of a board that is left alone: its life so far, oldest first, as record.line has it."""


class Stopped(CliError):
    """Somebody asked for the end; the board goes on another time."""

    def __init__(self) -> None:
        super().__init__("stopped; the board goes on with the next start")


class Waiting(CliError):
    """Not now: again in so many seconds."""

    def __init__(self, message: str, seconds: float = AGAIN) -> None:
        super().__init__(message)
        self.seconds = seconds

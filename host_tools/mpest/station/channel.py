"""What a line and the worker of one port say to each other, by a pipe of their own.

They share no lock and no queue: a worker that is killed holds up no other, and the workers of a
line that is killed find their pipe closed, and stop.
"""

import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from mpest.station.events import Event

EVENT, BEGIN, OTHERS, ENDED, GONE = "event", "begin", "others", "ended", "gone"
SCAN = "scan"
"""The first word of what a worker says; see the methods of `ToLine`."""
_STOP, _SCANNED = "stop", "scanned"


def stop(worker: Connection) -> None:
    """Have the worker at the other end finish the step at hand."""
    with suppress(OSError):
        worker.send(_STOP)


def scanned(worker: Connection, serial: str) -> None:
    """Say which serial number was scanned for its board."""
    with suppress(OSError):
        worker.send((_SCANNED, serial))


class ToLine:
    """The worker's end. It is for one thread, but for `tell`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._stopped = False
        self._scanned: str | None = None

    def tell(self, event: Event) -> None:
        self._say(EVENT, event)

    def begin(self) -> str | None:
        """The operator of one more board, None where none may be begun."""
        answer = self._ask(BEGIN)
        return answer[0] if answer else None

    def others(self, unique_id: str, mac: str) -> list[tuple[str, str]]:
        """(port, MAC address) of the station's other boards that say this unique id now."""
        return self._ask(OTHERS, unique_id, mac) or []

    def ended(self, *, counts: bool) -> None:
        """The board that was begun is not being made any more. counts: as one of `--limit`."""
        self._say(ENDED, counts)

    def gone(self) -> None:
        """No board is at the port."""
        self._say(GONE)

    def scan(self, *, wanted: bool) -> None:
        """Whether the board needs the serial number of a label that is scanned."""
        self._scanned = None
        self._say(SCAN, wanted)

    @property
    def scanned(self) -> str | None:
        """The serial number, once there is one."""
        return self._scanned

    def stopping(self) -> bool:
        return self.pause(0)

    def pause(self, seconds: float | None) -> bool:
        """Wait so long, None for ever, or until the line is to stop; whether it is."""
        if not self._stopped:
            with suppress(OSError):
                if not self._connection.poll(seconds):
                    return False
            self._take()
        return self._stopped

    def _say(self, *words: Any) -> None:
        try:
            with self._sending:
                self._connection.send(words)
        except OSError:
            self._stopped = True

    def _ask(self, *words: Any) -> Any:
        """The answer; None where nobody is there any more."""
        self._say(*words)
        while _is_unasked(answer := self._take()):
            pass
        return answer

    def _take(self) -> Any:
        try:
            said = self._connection.recv()
        except (OSError, EOFError):
            said = None
        if _is_unasked(said) and said != _STOP:
            self._scanned = said[1]
        self._stopped = self._stopped or said in (_STOP, None)
        return said


def _is_unasked(said: Any) -> bool:
    return said == _STOP or (isinstance(said, tuple) and said[:1] == (_SCANNED,))

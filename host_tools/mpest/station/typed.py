"""What is typed at the terminal while the line runs: names, and what a scanner types there."""

import contextlib
import os
import sys
import termios
import threading
from collections.abc import Callable
from types import TracebackType

from mpest.exits import CliError
from mpest.station.events import Event
from mpest.station.job import Job
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Who
from mpest.station.scanning import heed, operator_of

TERMINAL = "terminal"
"""Stands as the port in the ledger for what was scanned here."""
OPERATOR = "operator "
"""Before a name: from now on somebody else works here."""
_MAX_LINE = 1000  # characters; labels have 213 at most


def is_there() -> bool:
    """Whether somebody may type here: a program in the background would be stopped for it."""
    with contextlib.suppress(OSError, ValueError):
        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    return False


class Typed:
    """Reads the terminal in a thread. Use it as a context.

    operator: who works here now, "" where the next line is a name. tell: takes events to the line.
    """

    def __init__(
        self, job: Job, ledger: str, operator: Callable[[], str], tell: Callable[[Event], None]
    ) -> None:
        self._job = job
        self._url = ledger
        self._operator = operator
        self._tell = tell
        self._terminal: list[object] | None = None

    def __enter__(self) -> "Typed":
        with contextlib.suppress(termios.error):
            self._terminal = termios.tcgetattr(sys.stdin)
            quiet = termios.tcgetattr(sys.stdin)
            quiet[3] &= ~termios.ECHO  # it would stand amid the table of the ports
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, quiet)
        threading.Thread(target=self._read, name="typed", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._terminal:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._terminal)  # type: ignore[arg-type]

    def _read(self) -> None:
        # Without sys.stdin, whose lock would hold up the end of the program.
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            ledger: Ledger | None = None
            rest = b""
            while part := os.read(sys.stdin.fileno(), _MAX_LINE):
                *lines, rest = (rest + part).split(b"\n")
                rest = rest[-_MAX_LINE:]
                for line in lines:
                    text = line.decode(errors="replace").strip()
                    try:
                        ledger = ledger or stack.enter_context(Ledger(self._url))
                        self._heed(text, ledger)
                    except CliError as error:
                        self._tell({"event": "note", "message": f"not done: {error.message}"})

    def _heed(self, text: str, ledger: Ledger) -> None:
        """Raises CliError."""
        operator = self._operator()
        if not operator or text.startswith(OPERATOR):
            name = operator_of(text.removeprefix(OPERATOR))
            self._tell({"event": "operator", "operator": name})
        elif text:
            who = Who(self._job.station, TERMINAL, operator)
            self._tell(heed(self._job, ledger, text, who))

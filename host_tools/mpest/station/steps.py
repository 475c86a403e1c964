"""The named steps of one board: each is timed, tried again within its limits, and recorded."""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from mpest.exits import CliError
from mpest.station.entries import Limit
from mpest.station.errors import Garbled, Gone, Silent, StartedOver
from mpest.station.events import Emit
from mpest.station.link import Link

Result = TypeVar("Result")

# What a bad contact or a board that starts over causes: the same step again may pass.
_TRANSPORT = (Garbled, Silent, StartedOver)
_RETRIES = 1
# Cut by its time this one would leave a board with what was lent to it: who does it sees to it.
_TIMED = ("enrol",)

Record = Callable[..., None]
"""record(step, outcome, seconds, **detail) into the ledger's history."""


class Steps:
    """Runs steps on the board behind `link`. limits: by the step's name, as the job has them."""

    def __init__(self, limits: dict[str, Limit], link: Link, emit: Emit) -> None:
        self._limits = limits
        self._link = link
        self._emit = emit
        self.record: Record | None = None
        """Set once there is a unit."""

    def run(self, name: str, action: Callable[[], Result], **detail: Any) -> Result:
        """What `action` returns, in one of its tries. Raises what the last one does."""
        limit = self._limits.get(name) or Limit()
        retries = _RETRIES if limit.retries is None else limit.retries
        for left in range(retries, -1, -1):
            begun = time.monotonic()
            self._emit("step", step=name, outcome="begun")
            try:
                result = self._within(None if name in _TIMED else limit.seconds, action)
            except CliError as error:
                again = left > 0 and isinstance(error, _TRANSPORT)
                outcome = "again" if again else "failed"
                self._tell(name, outcome, begun, reason=error.message, **detail)
                if again:
                    continue
                raise
            self._tell(name, "done", begun, **detail)
            return result
        raise AssertionError("the last try returns or raises")

    def skip(self, name: str, reason: str) -> None:
        """Nothing is to be done."""
        self._emit("step", step=name, outcome="skipped", message=reason)

    def _tell(self, name: str, outcome: str, begun: float, **detail: Any) -> None:
        seconds = round(time.monotonic() - begun, 3)
        told = {"message": detail["reason"]} if "reason" in detail else {}
        self._emit("step", step=name, outcome=outcome, seconds=seconds, **told)
        if self.record:
            self.record(name, outcome, seconds, **detail)

    def _within(self, seconds: int | None, action: Callable[[], Result]) -> Result:
        if seconds is None:
            return action()
        late = threading.Event()

        def end() -> None:
            late.set()
            self._link.close()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            return action()
        except Gone:
            if late.is_set():
                text = f"the board at {self._link.name} took longer than {seconds} s"
                raise Silent(text) from None
            raise
        finally:
            timer.cancel()

"""Events as JSON on standard output, one a line. The line never waits for whoever reads them."""

import json
import os
import queue
import sys
import threading
from types import TracebackType
from typing import Any

MAX_LINES = 10_000
"""Waiting to be read; some megabytes. What comes then is left out, and counted."""
_LAST_SECONDS = 5.0  # for what is left to be read at the end


class Output:
    """An `Emit`. Use it as a context."""

    def __init__(self) -> None:
        self._lines: queue.Queue[bytes | None] = queue.Queue(MAX_LINES)
        self._lost = 0
        self._thread = threading.Thread(target=self._write, name="output", daemon=True)

    def __enter__(self) -> "Output":
        sys.stdout.flush()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._lines.put(None, timeout=_LAST_SECONDS)
        except queue.Full:
            return
        self._thread.join(_LAST_SECONDS)

    def __call__(self, event: str, /, **fields: Any) -> None:
        seconds = _LAST_SECONDS if event == "end" else 0.0  # that one a slow reader gets, too
        if self._lost and self._put({"event": "lost", "count": self._lost}, seconds):
            self._lost = 0
        if self._lost or not self._put({"event": event, **fields}, seconds):
            self._lost += 1

    def _put(self, event: dict[str, Any], seconds: float) -> bool:
        line = json.dumps(event).encode() + b"\n"
        try:
            if seconds:
                self._lines.put(line, timeout=seconds)
            else:
                self._lines.put_nowait(line)
        except queue.Full:
            return False
        return True

    def _write(self) -> None:
        # Not by sys.stdout, whose lock would hold up the end of the program.
        descriptor, is_open = sys.stdout.fileno(), True
        while (line := self._lines.get()) is not None:
            while is_open and line:
                try:
                    line = line[os.write(descriptor, line) :]
                except OSError:  # nobody reads any more; boards are made all the same
                    is_open = False

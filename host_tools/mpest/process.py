"""Runs a program and reads its lines as they come."""

import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO


class Process:
    """`with Process(command) as process: for line in process: ...`, then `process.code`.

    What it writes to standard error is among the lines, unless `errors` takes it. given: its
    standard input. Where the block is left before the program ends, or after so many seconds,
    the program is killed. Raises OSError where it cannot start.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        given: str | None = None,
        errors: IO[str] | None = None,
        seconds: float | None = None,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        umask: int = -1,
    ) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors or subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            cwd=cwd,
            env=env,
            umask=umask,
        )
        self._limit = threading.Timer(seconds, self._process.kill) if seconds else None
        if self._limit:
            self._limit.start()
        if given is not None:
            assert self._process.stdin
            try:
                with self._process.stdin:
                    self._process.stdin.write(given)
            except BrokenPipeError:
                pass  # its exit code says why it does not read

    def __enter__(self) -> "Process":
        return self

    def __iter__(self) -> Iterator[str]:
        assert self._process.stdout
        # "yield from" would close it where the caller breaks.
        for line in self._process.stdout:  # noqa: UP028
            yield line
        self._process.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def code(self) -> int:
        """Its exit code once it has ended, negative if a signal ended it."""
        return self._process.wait()

    def kill(self) -> None:
        """End it, if it still runs. It may have been called before."""
        if self._limit:
            self._limit.cancel()
        self._process.kill()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()

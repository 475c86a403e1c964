"""The client of a Linux board, on each runtime, beside a test server."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mpest import runtimes
from mpest.sim import cpython

# MicroPython of whoever builds it without ffi.
WITHOUT_FFI = "micropython without ffi"
# A loaded machine takes its time for an enrolment.
_SECONDS = 60


def command(runtime: str, checkout: Path | None = None) -> tuple[list[str], dict[str, str]]:
    """What starts the agent, its options not yet, and the environment for it.

    checkout: a copy of this one, with host_tools and firmware.
    """
    environment = {key: value for key, value in os.environ.items() if key != "NOTIFY_SOCKET"}
    if runtime == "cpython":
        if checkout:
            environment["PYTHONPATH"] = str(checkout / "host_tools")
        return [sys.executable, "-m", "mpest", "agent"], environment
    program = runtimes.find("micropython")
    firmware = checkout / "firmware" if checkout else cpython.firmware()
    environment |= program.env | {"MICROPYPATH": f"{firmware}:.frozen"}
    if runtime == WITHOUT_FFI:
        return [*program.argv, str(Path(__file__).parent / "host/without_ffi.py")], environment
    return [*program.argv, "-m", "estd"], environment


class LinuxAgent:
    """An agent in folder `folder`: `config` is what it is given, `state` where it lives."""

    def __init__(
        self,
        url: str,
        anchors: Path,
        folder: Path,
        runtime: str,
        user: str = "board",
        password: str = "correct horse",
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.runtime = runtime
        self.checkout: Path | None = None
        self.state = folder / "state"
        self.export = folder / "export"
        self.hook_log = folder / "hooks.log"
        (folder / "secret").write_text(password + "\n")
        (folder / "secret").chmod(0o600)
        self.config: dict[str, Any] = {
            "url": url,
            "anchors": str(anchors),
            "subject": "CN=board-1,O=Example",
            "san": ["DNS:board-1.example"],
            "user": user,
            "secret_file": "secret",
            "state": str(self.state),
            "export": {"folder": str(self.export)},
        }

    def file(self, **changes: Any) -> Path:
        """config.json, with these changes."""
        path = self.folder / "config.json"
        path.write_text(json.dumps(self.config | changes))
        return path

    def run(self, *arguments: str, **changes: Any) -> subprocess.CompletedProcess[str]:
        start, environment = command(self.runtime, self.checkout)
        return subprocess.run(
            [*start, *arguments, "--config", str(self.file(**changes))],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return found

    @contextmanager
    def running(self, *before: str, **changes: Any) -> Iterator["Running"]:
        """The agent as a daemon. before: words of what starts it."""
        start, environment = command(self.runtime, self.checkout)
        log = self.folder / "log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [*before, *start, "--config", str(self.file(**changes))],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            yield Running(process, log)
        finally:
            process.kill()
            process.wait()


class Running:
    """A daemon and what it says."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    def text(self) -> str:
        return self._log.read_text()

    def says(self, words: str, times: int = 1) -> None:
        """Wait until it has said `words` so often."""
        end = time.monotonic() + _SECONDS
        while self.text().count(words) < times:
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < end, f"{words!r} is not in {self.text()}"
            time.sleep(0.1)

    def hang_up(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def switches(self) -> int:
        """How often it has given the processor away by itself: each is a wakeup later."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])

"""Programs of the user's own around the steps. A hook that fails fails the board, not the line."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from select import select

from mpest.exits import CliError, Exit
from mpest.station import leash
from mpest.station.job import AnyUnit, Job
from mpest.station.ports import Port

_SECONDS = 300  # for one program
_KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "TZ", "USER")
_MAX_SHOWN = 200  # characters of its last line
_MAX_TAIL = 4096  # bytes kept of what it prints
_LOOK = 0.2  # seconds; what it leaves running may hold its output open


def run(what: str, command: list[str], job: Job, unit: AnyUnit | None, port: Port | None) -> None:
    """Run `command`, whose words are templates where there is a unit. Raises CliError.

    It finds what it is about in the environment, and little else there. It is killed where this
    process is.
    """
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {"MPEST_BATCH": job.name, "MPEST_STATION": job.station}
    if port:
        environment |= {"MPEST_PORT": port.name, "MPEST_DEVICE": port.device}
    command = job.command_of(command, unit)
    if unit:
        environment |= {
            "MPEST_SERIAL": unit.serial,
            "MPEST_UNIQUE_ID": unit.unique_id,
            "MPEST_MAC": unit.mac,
        }
    leashed = [sys.executable, "-I", "-S", str(Path(leash.__file__)), *command]
    try:
        # In a session of its own: no Ctrl-C, and nobody's kill of a process group, reaches it.
        with subprocess.Popen(
            leashed,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        ) as program:
            tail = _printed(program)
            in_time = program.poll() is not None
        code = program.returncode
    except OSError as error:
        raise CliError(f"{what}: cannot run {command[0]}: {error}", Exit.USAGE) from None
    if code or not in_time:
        ended = f"ended with {code}" if in_time else f"was ended after {_SECONDS} s"
        lines = tail.decode(errors="replace").strip().splitlines() or ["no message"]
        shown = lines[-1].strip()[:_MAX_SHOWN]
        raise CliError(f"{what}: {command[0]} {ended}: {shown}", Exit.REFUSED)


def _printed(program: "subprocess.Popen[bytes]") -> bytes:
    """The end of what it prints, once it has ended or its time is over."""
    assert program.stdout
    out = program.stdout.fileno()
    end = time.monotonic() + _SECONDS
    tail, is_open = b"", True
    while is_open and time.monotonic() < end:
        ended = program.poll() is not None
        if select([out], [], [], 0 if ended else _LOOK)[0]:
            part = os.read(out, _MAX_TAIL)
            tail = (tail + part)[-_MAX_TAIL:]
            is_open = bool(part)
        elif ended:
            break
    if not is_open:
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(max(end - time.monotonic(), 0))
    return tail

"""Programs of the user's own around the steps. A hook that fails fails the board, not the line."""

import os
import subprocess

from mpest.exits import CliError, Exit
from mpest.process import Process
from mpest.station.job import AnyUnit, Job
from mpest.station.ports import Port

_SECONDS = 300  # for one program
_KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "TZ", "USER")
_MAX_SHOWN = 200  # characters of its last line


def run(what: str, command: list[str], job: Job, unit: AnyUnit | None, port: Port | None) -> None:
    """Run `command`, whose words are templates where there is a unit. Raises CliError.

    It finds what it is about in the environment, and little else there.
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
    last = "no message"
    try:
        with Process(command, seconds=_SECONDS, env=environment) as program:
            for line in program:
                last = line.strip() or last
        code = program.code
    except (OSError, subprocess.SubprocessError) as error:
        raise CliError(f"{what}: cannot run {command[0]}: {error}", Exit.USAGE) from None
    if code:
        ended = f"ended with {code}" if code > 0 else f"was ended, perhaps after {_SECONDS} s"
        raise CliError(f"{what}: {command[0]} {ended}: {last[:_MAX_SHOWN]}", Exit.REFUSED)

"""What a machine that has more to do takes of a program's time."""

import os
from contextlib import suppress
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def seconds(pid: int) -> float:
    """For how long the main thread of a process has run so far, or waited for a processor.

    What is left of the time that passed, the process waited of its own will. 0 where Linux does
    not tell.
    """
    with suppress(OSError, ValueError, IndexError):
        ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
        return (int(ran) + int(waited)) / 1e9
    return 0.0


def ran(pid: int) -> float:
    """The CPU seconds of a process's main thread so far. 0 where Linux does not tell."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    return 0.0


def session(leader: int) -> float:
    """The CPU seconds of a session's processes, with those that ended and were waited for.

    leader: its first process. 0 where Linux does not tell, or all have ended.
    """
    ticks = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            # The name of the program may hold anything, blanks and brackets too.
            fields = entry.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader:
                ticks += sum(map(int, fields[11:15]))
    return ticks / _TICK

"""What a machine that has more to do takes of a program's time."""

from contextlib import suppress
from pathlib import Path


def seconds(pid: int) -> float:
    """For how long the main thread of a process has run so far, or waited for a processor.

    What is left of the time that passed, the process waited of its own will. 0 where Linux does
    not tell.
    """
    with suppress(OSError, ValueError, IndexError):
        ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
        return (int(ran) + int(waited)) / 1e9
    return 0.0

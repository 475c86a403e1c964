"""Boards behind a serial port: pseudo terminals, and one that answers as a board does."""

import os
import subprocess
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mpest.runtimes import Program
from mpest.station.link import SIMULATED

PICO_W = ("rp2", "Raspberry Pi Pico W with RP2040")


@contextmanager
def terminal() -> Iterator[tuple[int, str]]:
    """The board's end of a pseudo terminal, and the name of the other."""
    near, far = os.openpty()
    tty.setraw(far)
    try:
        yield near, os.ttyname(far)
    finally:
        os.close(near)
        os.close(far)


@contextmanager
def board(
    program: Program, root: Path, port_of: tuple[str, str] = PICO_W, seconds: float = 0
) -> Iterator[str]:
    """The port of one that answers, after so many seconds; its files are in `root`."""
    root.mkdir(exist_ok=True)
    with (
        terminal() as (near, port),
        subprocess.Popen(
            [*program.argv, SIMULATED, *port_of, str(seconds)],
            stdin=near,
            stdout=near,
            cwd=root,
            env={**os.environ, **program.env},
        ) as process,
    ):
        try:
            yield port
        finally:
            process.kill()

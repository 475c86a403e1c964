"""Boards that QEMU emulates: real MicroPython firmware, its serial REPL on a pty.

The table `emulator` of a board's board.toml is its `Profile`.
"""

from mpest.emulator.count import in_microseconds, instructions
from mpest.emulator.firmware import build, compiler
from mpest.emulator.machine import BoardError, Machine
from mpest.emulator.profile import Profile

__all__ = [
    "BoardError",
    "Machine",
    "Profile",
    "build",
    "compiler",
    "in_microseconds",
    "instructions",
]

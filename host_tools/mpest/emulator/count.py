"""Counts the instructions that a board executes for a piece of Python."""

from mpest.emulator.machine import Machine

_NS = 64  # of virtual time an instruction, by the shift of machine._COUNTING

_TIMED = """
import gc, time
def _work():
    {statement}
def _nothing():
    pass
def _timed(work):
    gc.collect()
    start = time.ticks_us()
    work()
    return time.ticks_diff(time.ticks_us(), start)
_timed(_nothing)
_overhead = _timed(_nothing)
"""
_PRINTED = "print(_timed(_work) - _overhead)\n"


def instructions(
    machine: Machine, setup: str, statement: str, rounds: int = 1, timeout: float = 300
) -> list[int]:
    """Instructions of each of `rounds` runs of `statement`, after `setup`.

    The garbage is collected before each run, and what is collected in it counts. machine: made
    with counting=True. Resolution: 1 us of virtual time, 16 instructions; 8 * 10^9 at most.
    """
    code = setup + _TIMED.format(statement=statement) + _PRINTED * rounds
    return [in_microseconds(int(line)) for line in machine.run(code, timeout).split()]


def in_microseconds(time: int) -> int:
    """Instructions that a counting machine executes in `time` by its timer."""
    return time * 1000 // _NS

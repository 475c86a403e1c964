"""Fuzzes one target under atheris: `one.py NAME FOLDER [libFuzzer's arguments]`.

FOLDER holds its inputs; with a file in its place that one is repeated.

Only errors of est.errors may come out, and no input may take more memory than what follows from
its size.
"""

import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path

import atheris

from mpest.sim import cpython

cpython.install()
with atheris.instrument_imports(include=["est"]):
    from targets import TARGETS

from est.errors import EstError  # noqa: E402

# Bytes for an input of none, and for each of its bytes: several times what real messages take, a
# thousandth of what an attack would have to reach.
_MEMORY = 1 << 18
_MEMORY_FOR_A_BYTE = 256


def main(name: str) -> None:
    function = TARGETS[name][0]

    def once(data: bytes) -> None:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        with suppress(EstError):
            function(data)
        taken = tracemalloc.get_traced_memory()[1] - before
        if taken > _MEMORY + _MEMORY_FOR_A_BYTE * len(data):
            raise MemoryError(f"{len(data)} bytes of input took {taken} of memory")

    # What is imported late counts for no input.
    given = Path(sys.argv[2])
    for seed in given.parent.glob(f"{given.name}/*"):
        with suppress(EstError):
            function(seed.read_bytes())
    tracemalloc.start()
    atheris.Setup([sys.argv[0], *sys.argv[2:]], once)
    atheris.Fuzz()


main(sys.argv[1])

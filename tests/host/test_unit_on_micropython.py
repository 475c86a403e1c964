"""The unit tests once more, on the interpreters that boards run."""

import os
import subprocess
from pathlib import Path

import pytest

from mpest.sim import cpython

UNIT = Path(__file__).parents[1] / "unit"
# The emulated machine is about ten times slower: outside CI it takes every tenth vector.
SAMPLE = {"micropython": "1", "micropython-armhf": "1" if os.environ.get("CI") else "10"}


@pytest.mark.timeout(660)
@pytest.mark.parametrize("interpreter", SAMPLE)
@pytest.mark.parametrize("file", sorted(path.name for path in UNIT.glob("test_*.py")))
def test_passes(file, interpreter, program):
    found = program(interpreter)
    done = subprocess.run(
        # The vectors are larger than anything a board reads.
        [*found.argv, "-X", "heapsize=32m", str(UNIT / "run.py"), str(UNIT / file)],
        env={
            **os.environ,
            **found.env,
            "MICROPYPATH": f"{cpython.firmware()}:.frozen",
            "MPEST_SAMPLE": SAMPLE[interpreter],
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    print(done.stdout)
    assert done.returncode == 0
    assert " 0 failed" in done.stdout.splitlines()[-1]


def test_every_file_of_wycheproof_is_used():
    vectors = os.environ.get("MPEST_VECTORS") or UNIT.parents[2] / "shared/vectors"
    names = [path.name for path in Path(vectors, "wycheproof").glob("*.json")]
    if not names and os.environ.get("CI") != "true":
        pytest.skip("needs the vectors")
    tests = "".join(path.read_text() for path in UNIT.glob("test_*.py"))
    assert names
    assert [name for name in names if f'"{name.removesuffix("_test.json")}"' not in tests] == []

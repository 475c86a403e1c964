"""Threads that draw random bytes and multiply at the same time, on MicroPython and here."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mpest import shipped
from mpest.runtimes import Program

# argv: the folder of est.
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
if sys.implementation.name == "cpython":
    from mpest.sim import cpython
    cpython.install()
    sys.setswitchinterval(1e-6)
import _thread
import os
import time
from est import ec_steps, entropy, steps
from est.curves import P384

def source(count):
    time.sleep(0)
    return os.urandom(count)

entropy.use(source)
private = bytes(47) + b"\\7"
public = P384.public(private)
signature = P384.sign(private, bytes(48))
drawn = []
wrong = []
left = [4]

def work(kind):
    try:
        if kind < 2:
            for _ in range(400):
                drawn.append(entropy.random(32))
        elif kind == 2:
            for _ in range(3):
                stepped = steps.run(ec_steps.verify(P384, public, bytes(48), signature))
                if not stepped:
                    wrong.append("in steps")
        else:
            for _ in range(3):
                if P384.public(private) != public:
                    wrong.append("at once")
    except Exception as error:
        wrong.append(repr(error))
    left[0] -= 1

for kind in range(4):
    _thread.start_new_thread(work, (kind,))
deadline = time.time() + 60
while left[0] and time.time() < deadline:
    time.sleep(0.01)
if left[0] or wrong or len(drawn) != 800 or len(set(drawn)) != 800:
    sys.exit("%s left, %d and %d drawn: %s" % (left, len(drawn), len(set(drawn)), wrong))
if not P384.verify(public, bytes(48), signature):
    sys.exit("afterwards")
"""


@pytest.mark.parametrize("runtime", ["cpython", "micropython"])
def test_threads(program: Callable[[str], Program], tmp_path: Path, runtime: str) -> None:
    argv = [sys.executable] if runtime == "cpython" else program(runtime).argv
    script = tmp_path / "threads.py"
    script.write_text(PROGRAM)
    done = subprocess.run(
        [*argv, script, shipped.folder("firmware")], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr

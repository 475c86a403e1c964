"""Starts tests/faults/cuts.py on MicroPython, and judges what it counted."""

import json
import os
import subprocess
from pathlib import Path

from mpest import runtimes
from mpest.sim import cpython

PROGRAM = Path(__file__).with_name("cuts.py")
SCENARIOS = (
    "enrol",
    "once same",
    "once 401",
    "by calls",
    "waiting",
    "renewal",
    "renewal by calls",
    "renewal waiting",
    "rollover",
    "proof refused",
    "aside used",
    "aside by calls",
    "no verdict",
    "server key",
    "upgrade",
    "upgrade first",
    "revocation",
)
DISKS = ("littlefs", "fat")
# {mutant: where it shows}. littlefs by itself leaves a file that was being replaced as it was.
MUTANTS = {
    "one slot": ("renewal", "fat"),
    "erase before save": ("renewal", "littlefs"),
    "no checksum": ("renewal", "fat"),
    "no answer record": ("once 401", "littlefs"),
}
OUTCOMES = (
    "ok",
    "lost",
    "mixed",
    "second key",
    "crashed",
    "leftover",
    "stranded",
    "stranded as allowed",
    "file system lost",
)
GOOD = ("ok", "stranded as allowed", "file system lost")
_HEAP = "128m"
_SECONDS = 4 * 3600


def run(scenario, disk, **options):
    """The object that cuts.py prints; see its options. Raises RuntimeError with what it said."""
    given = [f"{name}={value}" for name, value in options.items()]
    done = start(scenario, disk, *given, capture_output=True, text=True, timeout=_SECONDS)
    if done.returncode:
        raise RuntimeError(f"{scenario} on {disk}: {(done.stdout + done.stderr)[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def start(*arguments, **options):
    """cuts.py as a finished process; options are those of subprocess.run."""
    program = runtimes.find("micropython")
    return subprocess.run(
        [*program.argv, "-X", f"heapsize={_HEAP}", str(PROGRAM), *arguments],
        env={**os.environ, **program.env, "MICROPYPATH": f"{cpython.firmware()}:.frozen"},
        stdin=subprocess.DEVNULL,
        **options,
    )


def bad(result):
    """How many cuts of a result ended as none may."""
    return sum(
        count
        for counts in result["counts"].values()
        for outcome, count in counts.items()
        if outcome not in (*GOOD, "cuts")
    )


def noticed(result):
    """How many clean cuts of a mutant's result lost or mixed identities, or asked for others."""
    kinds = ("lost", "mixed", "second key", "stranded")
    return sum(result["counts"]["clean"].get(kind, 0) for kind in kinds)


def told(result):
    """A line for each failure that is named, with what repeats it."""
    for failure in result["failures"]:
        path = failure.split(": ")[0]
        names = f'"{result["scenario"]}" {result["disk"]}'
        options = f"seed={result['seed']} age={result['age']} only={path}"
        yield f"{failure}; again: tests/faults/soak.py one-cut {names} {options}"


def total(results):
    """One row of counts, by outcome; second cuts are told apart only in their number."""
    row = dict.fromkeys(("places", "cuts", "second cuts", *OUTCOMES), 0)
    for result in results:
        row["places"] += result["places"]
        for variant, counts in result["counts"].items():
            for outcome, count in counts.items():
                second = outcome == "cuts" and variant.startswith("second")
                row["second cuts" if second else outcome] += count
    return row

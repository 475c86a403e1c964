"""Milliseconds that P-256 takes on each MicroPython found.

Medians in a warm process, but `cold_sign`: import of est.ec to the first signature, in a new one.
"""

import json
import os
import statistics
import subprocess
import sys

from report import EST, report

from mpest.runtimes import RuntimeMissing, find

ROUNDS = 15
COLD_STARTS = 5

COLD = """
from time import ticks_diff, ticks_us
start = ticks_us()
from est.ec import P256
P256.sign(bytes(31) + b"\\x07", bytes(range(32)))
print(ticks_diff(ticks_us(), start))
"""
WARM = f"""
from time import ticks_diff, ticks_us
from est.ec import P256
times = {{"key_pair": [], "sign": [], "verify": []}}
digest = bytes(range(32))
def timed(name, operation, *arguments):
    start = ticks_us()
    result = operation(*arguments)
    times[name].append(ticks_diff(ticks_us(), start))
    return result
def new_pair():
    private = P256.generate()
    return private, P256.public(private)
for _ in range({ROUNDS + 1}):
    private, public = timed("key_pair", new_pair)
    signature = timed("sign", P256.sign, private, digest)
    if not timed("verify", P256.verify, public, digest, signature):
        raise SystemExit("a good signature is refused")
import json
print(json.dumps(times))
"""


def run(program, code):
    done = subprocess.run(
        [*program.argv, "-c", code],
        env={**os.environ, **program.env, "MICROPYPATH": f"{EST.parent}:.frozen"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{program.name}: {done.stderr}")
    return json.loads(done.stdout)


def milliseconds(times):
    return round(statistics.median(times) / 1000, 2)


rows = []
for name in ("micropython", "micropython-armhf"):
    try:
        program = find(name)
    except RuntimeMissing as missing:
        print(f"Left out: {missing.message}", file=sys.stderr)
        continue
    warm = {key: milliseconds(times[1:]) for key, times in run(program, WARM).items()}
    cold = milliseconds([run(program, COLD) for _ in range(COLD_STARTS)])
    rows.append({"runtime": name, "version": program.version, **warm, "cold_sign": cold})
if not rows:
    sys.exit(2)
report("bench", rows)

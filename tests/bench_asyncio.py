"""How late other tasks come while a board enrols and renews beside them (est.task).

A ticker of 1 ms runs beside the agent on MicroPython, installed as .mpy, with a server that
answers after a pause. Its delays are compared with the longest single call into TLS of the same
run, which computes a whole flight and cannot be cut.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from report import ROOT, report

from mpest import packages
from mpest.exits import CliError
from mpest.runtimes import find
from mpest.server import ServerConfig, running_server

ARCH = "x64"
BOARD = ROOT / "tests/host/asyncio_board.py"
RENEWALS = 5
CASES = {
    "P-256, chain of one": {"root_key": "P-256"},
    "P-256, chain of two": {"root_key": "P-256", "chain_length": 2},
    "RSA-4096 root, chain of two": {"root_key": "RSA-4096", "chain_length": 2},
}


def measure(folder: Path, library: Path, settings: dict) -> dict:
    config = ServerConfig(
        directory=folder / "ca",
        auth="basic",
        users={"board": "secret"},
        faults={"late"},
        **settings,
    )
    program = find("micropython")
    (folder / "state").mkdir(parents=True)
    with running_server(config) as server:
        root = x509.load_pem_x509_certificate(server.ca_pem.read_bytes())
        board = {
            "url": server.url,
            "anchors": [root.public_bytes(Encoding.DER).hex()],
            "state": str(folder / "state"),
            "user": "board",
            "password": "secret",
            "renewals": RENEWALS,
            "bench": True,
        }
        done = subprocess.run(
            [*program.argv, str(BOARD)],
            input=json.dumps(board) + "\n",
            capture_output=True,
            text=True,
            env={**os.environ, **program.env, "MICROPYPATH": f"{library}:.frozen"},
            timeout=600,
        )
    if done.returncode:
        raise CliError(f"the board broke down: {done.stderr[-500:]}")
    found: dict = json.loads(done.stdout.splitlines()[-1])
    return found


rows = []
with tempfile.TemporaryDirectory() as work:
    packages.build_mpy(Path(work), ARCH)
    for number, (name, settings) in enumerate(CASES.items()):
        found = measure(Path(work) / str(number), Path(work) / "lib", settings)
        rows.append(
            {
                "server": name,
                "ticks": found["ticks"],
                "late p99 ms": round(found["p99"], 2),
                "worst ms": round(found["worst"], 2),
                "longest flight ms": round(found["flight"], 2),
                "worst/flight": f"{found['worst'] / found['flight']:.2f}",
            }
        )
report("bench-asyncio", rows)

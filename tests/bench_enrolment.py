"""A whole enrolment's wall time: the device code on MicroPython against libest's C client.

Both start as a process and enrol with a password at the same server, in turns, since machines are
noisy. estclient is given a P-256 key, for it would make one of RSA, and fetches nothing else; the
device, installed as .mpy, fetches CA certificates and attributes, makes its key, and stores all of
it.
"""

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from report import report

from mpest import packages
from mpest.exits import CliError
from mpest.runtimes import find
from mpest.server import ServerConfig, running_server
from mpest.sim.board_process import run_board

ROUNDS = 9
ARCH = "x64"
USER, PASSWORD = "board", "a password"


def device(server, folder):
    root = x509.load_pem_x509_certificate(server.ca_pem.read_bytes())
    config = {
        "url": server.url,
        "anchors": [root.public_bytes(Encoding.DER).hex()],
        "subject": "CN=board",
        "user": USER,
        "password": PASSWORD,
        "operations": ["enroll"],
    }
    events = list(run_board(config, "micropython", folder, folder.parent / "lib"))
    if events[-1]["event"] != "enroll":
        raise CliError(f"the device does not enrol: {events[-1]}")


def estclient(server, folder):
    program = find("estclient")
    folder.mkdir()
    key = folder.parent / "key.pem"
    if not key.exists():
        pem = (Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        key.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(*pem))
    command = [*program.argv, "-e", "-x", key, "-u", USER, "-h", PASSWORD]
    command += ["--common-name", "board", "-s", "127.0.0.1", "-p", str(server.port), "-o", folder]
    environment = {**os.environ, **program.env, "EST_OPENSSL_CACERT": str(server.ca_pem)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode or not list(folder.glob("cert-*")):
        raise CliError(f"estclient does not enrol: {done.stdout[-500:]}")


CLIENTS = {"est on MicroPython": device, "libest's estclient": estclient}

with tempfile.TemporaryDirectory() as work:
    config = ServerConfig(
        directory=Path(work) / "ca",
        auth="basic",
        users={USER: PASSWORD},
    )
    packages.build_mpy(Path(work), ARCH)
    seconds = {name: [] for name in CLIENTS}
    with running_server(config) as server:
        for count in range(ROUNDS + 1):
            for name, client in CLIENTS.items():
                start = time.perf_counter()
                client(server, Path(work) / f"{client.__name__}-{count}")
                if count:  # the first warms the caches
                    seconds[name].append(time.perf_counter() - start)
median = {name: statistics.median(values) for name, values in seconds.items()}
ours, theirs = median.values()
rows = [
    {"client": name, "median_ms": round(value * 1000), "ratio": f"{value / theirs:.2f}"}
    for name, value in median.items()
]
report("bench-enrolment", rows)

"""Enrolments per second at `mpest serve` and at libest's estserver, by 1, 8 and 64 clients.

Each client opens a connection, sends its password and a request, reads the certificate, and begins
anew, as boards do. The servers have their turns one after the other, since machines are noisy, and
the clients are some processes, since one would be slower than the servers.
"""

import base64
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from ssl import create_default_context

import libest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from report import report

from mpest.exits import CliError
from mpest.runtimes import RuntimeMissing, find

CLIENTS = (1, 8, 64)
SECONDS = 5
TURNS = 3
PROCESSES = 4
MPEST = [sys.executable, "-c", "from mpest.cli import main; main()"]


@contextmanager
def ours(folder):
    """Port and CA certificate of a running server."""
    folder.mkdir()
    (folder / "users").write_text(f"{libest.USER['user']}:{libest.USER['password']}\n")
    command = [*MPEST, "serve", "--dir", folder / "ca", "--port", "0", "--json"]
    command += ["--auth", "basic", "--users", folder / "users"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    first = json.loads(server.stdout.readline())
    # What it prints is read, or it would wait.
    threading.Thread(target=server.stdout.read, daemon=True).start()
    try:
        yield first["port"], folder / "ca/ca.pem"
    finally:
        server.terminate()
        server.wait()


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@contextmanager
def theirs(folder):
    with libest.running(find("estserver"), folder, openssl, ["-b"]) as site:
        yield site.port, site.ca


SERVERS = {"mpest serve": ours, "libest's estserver": theirs}


def clients(port, ca, count, seconds):
    """Prints how many enrolments succeeded, how many did not, and the median of milliseconds."""
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name.from_rfc4514_string(f"CN={libest.USER['user']}")
    )
    body = base64.encodebytes(csr.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))
    login = base64.b64encode(":".join(libest.USER.values()).encode()).decode()
    headers = {
        "Content-Type": "application/pkcs10",
        "Content-Transfer-Encoding": "base64",
        "Authorization": f"Basic {login}",
    }
    context = create_default_context(cafile=ca)
    took = []
    counts = Counter()

    def enrol():
        begun = time.monotonic()
        connection = HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
        try:
            connection.request("POST", "/.well-known/est/simpleenroll", body, headers)
            answer = connection.getresponse()
            answer.read()
            good = answer.status == 200
        except (OSError, HTTPException):
            good = False
        finally:
            connection.close()
        counts[good] += 1
        if good:
            took.append(time.monotonic() - begun)

    def work():
        while time.monotonic() < end:
            enrol()

    end = time.monotonic() + seconds
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps([counts[True], counts[False], [round(one * 1000) for one in took]]))


def measure(port, ca, count):
    """(enrolments, failures, milliseconds of each) of so many clients in SECONDS."""
    shares = [len(range(number, count, PROCESSES)) for number in range(PROCESSES)]
    command = [sys.executable, __file__, str(port), str(ca)]
    started = [
        subprocess.Popen([*command, str(share), str(SECONDS)], stdout=subprocess.PIPE)
        for share in shares
        if share
    ]
    found = [json.loads(process.communicate()[0]) for process in started]
    good, bad, took = zip(*found, strict=True)
    return sum(good), sum(bad), [one for each in took for one in each]


def main():
    with tempfile.TemporaryDirectory() as work, ExitStack() as stack:
        running = {}
        for number, (name, server) in enumerate(SERVERS.items()):
            try:
                running[name] = stack.enter_context(server(Path(work, str(number))))
            except RuntimeMissing as missing:
                print(f"Left out: {missing.message}", file=sys.stderr)
        rows = []
        for count in CLIENTS:
            measured = {name: [] for name in running}
            for _ in range(TURNS):
                for name, server in running.items():
                    measured[name].append(measure(*server, count))
            for name, turns in measured.items():
                if not any(good for good, *_ in turns):
                    raise CliError(f"nobody enrols at {name}")
                rows.append(
                    {
                        "server": name,
                        "clients": count,
                        "per_second": round(
                            statistics.median(good for good, *_ in turns) / SECONDS, 1
                        ),
                        "failures": sum(bad for _, bad, _ in turns),
                        "median_ms": round(
                            statistics.median(one for *_, took in turns for one in took)
                        ),
                    }
                )
    report("bench-serving", rows)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        clients(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    else:
        main()

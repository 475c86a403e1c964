"""A crowd of clients that say nothing, little or nonsense, and boards that enrol all the same.

`run` starts `mpest serve` with so many file descriptors, and processes of clients that connect
from 127.0.0.2 to 127.0.0.9, do as little as they can, and come again when they are sent away.
Meanwhile boards enrol: each must, at the first try. `hostile` sends headers without end, and TLS
and HTTP that are malformed. Both look at what the server's log and memory have grown to.
"""

import asyncio
import base64
import http.client
import json
import random
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

ADDRESSES = [f"127.0.0.{number}" for number in range(2, 10)]
CLIENTS, BOARDS, SECONDS, DESCRIPTORS = 5000, 50, 120, 1024
LOG = 1_000_000  # octets
# Megabytes for 90 of code and 768 connections; so many visits as there are would take far more.
MEMORY = 400
USER, PASSWORD = "board", "correct horse"
_PROCESSES = 4
_PATIENCE = 60  # seconds for one enrolment
_AGAIN = 1.0  # seconds until a client that was sent away is back
_MPEST = [sys.executable, "-c", "from mpest.cli import main; main()"]
_POST = (
    b"POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/pkcs10\r\nContent-Length: 900\r\n"
)


@dataclass
class Server:
    """`mpest serve` as a process."""

    process: subprocess.Popen[bytes]
    folder: Path
    port: int

    @property
    def log(self) -> int:
        """Octets."""
        return (self.folder / "log").stat().st_size

    @property
    def memory(self) -> int:
        """Megabytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        kilobytes = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(kilobytes.split()[1]) // 1024

    def enrol(self, number: int) -> str | None:
        """What is wrong, if anything is, when a board enrols with its password."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name.from_rfc4514_string(f"CN=board-{number}")
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject)
        body = base64.encodebytes(csr.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        headers = {"Content-Type": "application/pkcs10"}
        context = ssl.create_default_context(cafile=self.folder / "ca/ca.pem")
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=_PATIENCE, context=context
        )
        try:
            for status in (401, 200):
                connection.request("POST", "/.well-known/est/simpleenroll", body, headers)
                answer = connection.getresponse()
                text = answer.read()
                if answer.status != status:
                    return f"board {number}: {answer.status} {text[:100]!r}"
                headers["Authorization"] = f"Basic {login}"
        except (OSError, http.client.HTTPException) as error:
            return f"board {number}: {error!r}"
        finally:
            connection.close()
        return None


@contextmanager
def _server(descriptors: int) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "users").write_text(f"{USER}:{PASSWORD}\n")
        command = [*_MPEST, "serve", "--dir", folder / "ca", "--port", "0", "--json"]
        command += ["--auth", "basic", "--users", folder / "users", "--open"]

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=limit)
        try:
            while not (first := (folder / "log").read_text().partition("\n"))[1]:
                assert process.poll() is None, first[0]
                time.sleep(0.05)
            yield Server(process, folder, json.loads(first[0])["port"])
        finally:
            process.terminate()
            process.wait()


def run(
    clients: int = CLIENTS,
    boards: int = BOARDS,
    seconds: float = SECONDS,
    descriptors: int = DESCRIPTORS,
) -> dict[str, Any]:
    """Let boards enrol, one after the other over so many seconds, beside a crowd.

    Returns counts, and as `problems` a list of texts, empty where all is well.
    """
    with _server(descriptors) as server:
        share = clients // _PROCESSES
        command = [sys.executable, __file__, str(server.port), str(share)]
        crowd = [
            subprocess.Popen([*command, str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for seed in range(_PROCESSES)
        ]
        try:
            for process in crowd:  # each says when all of its clients have tried
                assert process.stdout
                process.stdout.readline()
            with ThreadPoolExecutor(boards) as pool:
                begun = time.monotonic()
                enrolments = []
                for number in range(boards):
                    time.sleep(max(begun + number * seconds / boards - time.monotonic(), 0))
                    enrolments.append(pool.submit(server.enrol, number))
                problems = [text for one in enrolments if (text := one.result())]
            enrolled = boards - len(problems)
            counts: Counter[str] = Counter()
            for process in crowd:
                out, _ = process.communicate(b"\n")
                counts.update(json.loads(out))
        finally:
            for process in crowd:
                process.kill()
                process.wait()
        if server.process.poll() is not None:
            problems.append("the server has ended")
        problems += _grown(server)
        return {
            "clients": clients,
            "boards": boards,
            "enrolled": enrolled,
            **counts,
            "log": server.log,
            "megabytes": server.memory,
            "problems": problems,
        }


def _grown(server: Server) -> Iterator[str]:
    if server.log > LOG:
        yield f"the log has {server.log} octets"
    if server.memory > MEMORY:
        yield f"the server has {server.memory} megabytes"


def _bombs(chance: random.Random) -> Iterator[tuple[bool, bytes]]:
    """Whether TLS is set up first, and what is sent then."""
    get = b"GET /.well-known/est/cacerts HTTP/1.1\r\nHost: x\r\n"
    while True:
        yield True, get + b"A: " + b"x" * 100_000
        yield True, get + b"".join(b"H%d: x\r\n" % number for number in range(5000))
        yield True, get + (b"B: " + b"y" * 8000 + b"\r\n") * 60
        yield True, b"GET /" + b"z" * 100_000
        yield True, chance.randbytes(chance.randrange(1, 500)) + b"\r\n\r\n"
        yield True, b"\r\n" * 1000 + b"POST / HTTP/9.9\r\n\r\n"
        yield True, _POST.replace(b"900", b"99999999999999999999") + b"\r\n"
        yield True, _POST.replace(b"900", b"-1") + b"Content-Length: 3\r\n\r\nabc"
        yield True, _POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"
        yield True, _POST + b"Expect: nonsense\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"
        yield False, chance.randbytes(chance.randrange(1, 500))
        yield False, b"\x16\x03\x01" + chance.randbytes(2) + b"\x01" + chance.randbytes(300)
        yield False, get + b"\r\n"


def hostile(count: int, seed: int, descriptors: int = DESCRIPTORS) -> dict[str, Any]:
    """Send so many malformed things; a board enrols before, and after, and after each hundred."""
    with _server(descriptors) as server:
        problems = [text] if (text := server.enrol(0)) else []
        bombs = _bombs(random.Random(seed))
        with ThreadPoolExecutor(16) as pool:
            for begun in range(0, count, 100):
                batch = [next(bombs) for _ in range(min(100, count - begun))]
                list(pool.map(lambda bomb: _throw(server.port, *bomb), batch))
                if text := server.enrol(1 + begun):
                    problems.append(text)
        text = (server.folder / "log").read_text()
        if "Traceback" in text:
            problems.append(text[text.index("Traceback") :][:2000])
        return {
            "sent": count,
            "log": server.log,
            "megabytes": server.memory,
            "problems": [*problems, *_grown(server)],
        }


def _throw(port: int, in_tls: bool, octets: bytes) -> None:
    with (
        suppress(OSError),
        socket.create_connection(("127.0.0.1", port), 60, (ADDRESSES[0], 0)) as tcp,
    ):
        if not in_tls:
            tcp.sendall(octets)
            tcp.shutdown(socket.SHUT_WR)
            tcp.recv(1000)
            return
        with _context().wrap_socket(tcp) as tls:
            tls.sendall(octets)
            tls.settimeout(0.3)  # some wait for more
            tls.recv(1000)


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# The clients, as a program of their own.


class _Crowd:
    def __init__(self, port: int) -> None:
        self.counts: Counter[str] = Counter()
        self._port = port
        self._context = _context()

    async def one(self, kind: int, address: str) -> None:
        """Come again and again."""
        while True:
            with suppress(OSError):
                await self._visit(kind, address)
            self.counts["visits"] += 1
            await asyncio.sleep(_AGAIN)

    async def _visit(self, kind: int, address: str) -> None:
        tls = self._context if kind in (2, 3, 4) else None
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=tls, local_addr=(address, 0)
        )
        try:
            if kind == 1:  # half a ClientHello
                writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            elif kind == 3:  # slow-loris
                for octet in _POST:
                    if writer.transport.is_closing():
                        break
                    writer.write(bytes((octet,)))
                    await asyncio.sleep(1)
            elif kind == 4:
                writer.write(_POST + b"\r\nMIIB")
            await reader.read()  # until the server has enough
        finally:
            writer.transport.abort()


async def _clients(port: int, count: int, seed: int) -> None:
    chance = random.Random(seed)
    crowd = _Crowd(port)
    # Most do not even speak: that costs the client nothing, and so is what a server sees most of.
    kinds = chance.choices(range(5), (60, 10, 10, 10, 10), k=count)
    tasks = [asyncio.create_task(crowd.one(kind, chance.choice(ADDRESSES))) for kind in kinds]
    await asyncio.sleep(3)
    print(flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(json.dumps(crowd.counts), flush=True)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(_clients(*map(int, sys.argv[1:])))

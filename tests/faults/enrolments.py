"""Clients that enrol all at once while the server is killed, its database is locked and its disk
full: each gets what it asked for, once.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import random
import signal
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import busy
import ports
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
)
from line import MEMORY

# The server: killed from outside, and by itself right before or after a certificate is on record,
# with this chance. `full` is how many octets a file may have, or 0. A flaw is put in by its name.
PROGRAM = """
import asyncio, json, os, random, resource, signal, sys
from mpest.server import EstServer, ServerConfig
from mpest.server.database import Database

told = json.loads(sys.argv[1])
chance = random.Random()
record = Database.record

def kill():
    if chance.random() < told["chance"] / 2:
        os.kill(os.getpid(), signal.SIGKILL)

def recorded(self, *arguments):
    kill()
    record(self, *arguments)
    kill()

Database.record = recorded
if told["flaw"] == "forgetful":
    Database.answered = lambda *_: None
if told["flaw"] == "hasty":
    Database.record = lambda *_: kill()

async def serve():
    async with EstServer(ServerConfig.model_validate(told["config"])):
        if told["full"]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (told["full"], resource.RLIM_INFINITY))
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(serve())
"""
LIFE_SECONDS = 1.0
# On a machine that has more to do a life is longer: until the server had so much of a processor,
# or the second time has passed.
RAN_SECONDS, LONGEST_SECONDS = 0.25, 10.0
# Each third life has a disk that is full once some certificates are on record.
FULL_EACH, FULL_OCTETS = 3, 60_000
LOCKED_SECONDS = 10.0
# Between two tries of a client, drawn from these; many share the time.
WAIT_SECONDS = (0.05, 0.5)
MANY = 50


@dataclass
class _Server:
    """One that is started again whenever it is killed."""

    config: dict[str, Any]
    chance: float
    flaw: str
    starts: int = 0
    full: int = 0

    async def keep(self) -> None:
        """Start it, kill it, and so on until cancelled."""
        for life in itertools.count():
            full = FULL_OCTETS if life % FULL_EACH == FULL_EACH - 1 else 0
            told = {
                "config": self.config,
                "chance": self.chance,
                "flaw": self.flaw,
                "full": full,
            }
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", PROGRAM, json.dumps(told), stdout=subprocess.PIPE
            )
            try:
                assert process.stdout
                if await process.stdout.readline():
                    self.starts += 1
                    self.full += bool(full)
                    await _life(process)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGKILL)
                await process.wait()


async def _life(process: asyncio.subprocess.Process) -> None:
    """Wait for the moment at which it is killed, or has killed itself."""
    begun, ran = time.monotonic(), busy.ran(process.pid)
    while process.returncode is None:
        lived = time.monotonic() - begun
        if lived > LONGEST_SECONDS:
            return
        if lived > LIFE_SECONDS and busy.ran(process.pid) > ran + RAN_SECONDS:
            return
        await asyncio.sleep(0.05)


@dataclass
class _Client:
    """A device that has two certificates: the second renews the first, where the password is good
    for one, or is of a key that the server makes."""

    name: str
    url: str
    chance: random.Random
    patience: float = 1
    """Of which the time between two tries is a multiple."""
    tries: int = 0
    put_off: int = 0
    """Answers of 503."""
    delivered: list[x509.Certificate] = field(default_factory=list)

    async def live(self, ca: Path, once: bool) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        context = await self._context(ca)
        await self._send(context, "simpleenroll", key)
        if once:
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            with tempfile.NamedTemporaryFile() as file:
                file.write(pem + self.delivered[0].public_bytes(Encoding.PEM))
                file.flush()
                context.load_cert_chain(file.name)
            await self._send(context, "simplereenroll", ec.generate_private_key(ec.SECP256R1()))
        else:
            await self._send(context, "serverkeygen", key)

    async def _context(self, ca: Path) -> ssl.SSLContext:
        while not ca.exists():
            await asyncio.sleep(0.1)
        return ssl.create_default_context(cafile=ca)

    async def _send(
        self, context: ssl.SSLContext, operation: str, key: ec.EllipticCurvePrivateKey
    ) -> None:
        """One request, until it is answered. Raises AssertionError if it is refused."""
        subject = x509.Name.from_rfc4514_string(f"CN={self.name}")
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject)
        body = base64.encodebytes(csr.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))
        headers = {"Content-Type": "application/pkcs10"}
        if operation != "simplereenroll":
            login = base64.b64encode(f"{self.name}:password".encode()).decode()
            headers["Authorization"] = f"Basic {login}"
        while True:
            self.tries += 1
            with contextlib.suppress(OSError, aiohttp.ClientError, TimeoutError):
                connector = aiohttp.TCPConnector(ssl=context, force_close=True)
                async with (
                    aiohttp.ClientSession(connector=connector) as session,
                    session.post(f"{self.url}/{operation}", data=body, headers=headers) as answer,
                ):
                    content = await answer.read()
                    if answer.status == 200:
                        self.delivered.append(_certificate(content))
                        return
                    assert answer.status == 503, f"{self.name}, {operation}: {content!r}"
                    self.put_off += 1
            await asyncio.sleep(self.patience * self.chance.uniform(*WAIT_SECONDS))


def _certificate(content: bytes) -> x509.Certificate:
    """That of an answer, which for a key of the server's has two parts."""
    if content.startswith(b"--"):
        boundary = content.partition(b"\r\n")[0]
        content = content.split(boundary)[2].partition(b"\r\n\r\n")[2]
    return pkcs7.load_der_pkcs7_certificates(base64.b64decode(content))[0]


def _problems(clients: list[_Client], path: Path) -> list[str]:
    """What of the record is not as it was delivered."""
    with contextlib.closing(sqlite3.connect(path)) as store:
        rows = store.execute("select der from issued").fetchall()
    record = [x509.load_der_x509_certificate(der) for (der,) in rows]
    names = Counter(one.subject.rfc4514_string() for one in record)
    serials = {one.serial_number for one in record}
    problems = []
    for client in clients:
        for one in client.delivered:
            if one not in record:
                problems.append(f"{client.name}: a certificate was delivered and is not on record")
        if names[f"CN={client.name}"] > 2:
            count = names[f"CN={client.name}"]
            problems.append(f"{client.name}: {count} certificates for two requests")
        if len({one.serial_number for one in client.delivered}) != 2:
            problems.append(f"{client.name}: one certificate for two requests")
    if len(serials) != len(record):
        problems.append("a serial number twice")
    return problems


async def _lock(path: Path, seconds: float) -> None:
    """Keep the server from writing for so long, once it has begun."""
    while not path.exists() or not path.stat().st_size:
        await asyncio.sleep(0.1)
    await asyncio.sleep(LIFE_SECONDS)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA busy_timeout = 60000")
        other.execute("BEGIN IMMEDIATE")
        await asyncio.sleep(seconds)
        other.execute("ROLLBACK")


async def _run(
    clients: int, seed: int, chance: float, flaw: str, locked: float, folder: Path
) -> dict[str, Any]:
    names = [f"device-{number}" for number in range(clients)]
    once = set(names[::2])
    port = ports.reserve()
    config = {
        "directory": str(folder / "ca"),
        "port": port,
        "auth": "basic",
        "open": False,
        "users": dict.fromkeys(names, "password"),
        "once": sorted(once),
    }
    server = _Server(config, chance, flaw)
    devices = [
        _Client(
            name,
            f"https://127.0.0.1:{port}/.well-known/est",
            random.Random(f"{seed} {name}"),
            max(1, clients / MANY),
        )
        for name in names
    ]
    keeping = asyncio.create_task(server.keep())
    locking = asyncio.create_task(_lock(folder / "ca/est.db", locked))
    ca = folder / "ca/ca.pem"
    found = await asyncio.gather(
        *(device.live(ca, device.name in once) for device in devices), return_exceptions=True
    )
    for task in (keeping, locking):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    problems = [str(one) or repr(one) for one in found if one is not None]
    return {
        "clients": clients,
        "kills": server.starts,
        "full": server.full,
        "locked": locked,
        "certificates": sum(len(device.delivered) for device in devices),
        "tries": sum(device.tries for device in devices),
        "put off": sum(device.put_off for device in devices),
        "problems": [*problems, *_problems(devices, folder / "ca/est.db")],
    }


def run(
    clients: int = 300,
    seed: int = 0,
    *,
    chance: float = 0.02,
    flaw: str = "",
    locked: float = LOCKED_SECONDS,
) -> dict[str, Any]:
    """So many clients at once. Returns counts, and as `problems` a list of texts, empty where all
    is well. chance: that the server dies at a certificate. flaw: forgetful or hasty, of a server
    that a test must find out. locked: for how many seconds another program locks the database.
    """
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        return asyncio.run(_run(clients, seed, chance, flaw, locked, Path(folder)))

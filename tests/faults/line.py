"""Boards that are driven line by line, and what a server and a disk say of them."""

import functools
import json
import os
import select
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any

import busy
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from mpest import runtimes
from mpest.server import EstServer
from mpest.sim import cpython
from mpest.sim.board_process import stored_identity

PROGRAM = Path(__file__).with_name("line_program.py")
USER, PASSWORD = "board", "correct horse"
# Where nothing is written to a disk, which would be most of the time.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
# Longer than any answer takes: a board that is silent for so long hangs.
SILENCE = 60.0

Answer = dict[str, Any]


_program = functools.cache(runtimes.find)


def environment() -> dict[str, str]:
    """For a program of this folder that is started by itself: where it imports from.

    Not all of sys.path, which tests add doubles to.
    """
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    given = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*folders, *([given] if given else [])])}


class Silent(Exception):
    """The board said nothing for too long, or ended."""


class Line:
    """A board process named `name` in folder `state`, which talks to a server at `port`.

    flaw: as line_program.py names them. root: what it trusts in DER, else the server's root.
    prefix: words before the command, of a program that runs it. program: another than
    line_program.py. others: more of what that is told.
    """

    def __init__(
        self,
        server: EstServer,
        runtime: str,
        state: Path,
        port: int = 0,
        name: str = "board-1",
        flaw: str = "",
        root: bytes = b"",
        prefix: Sequence[str] = (),
        program: Path = PROGRAM,
        **others: Any,
    ) -> None:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        environment = dict(os.environ)
        if runtime == "cpython":
            command = [sys.executable, "-u", str(Path(cpython.__file__)), str(program)]
        else:
            found = _program(runtime)
            command = [*found.argv, str(program)]
            environment.update(found.env, MICROPYPATH=f"{cpython.firmware()}:.frozen")
        self._process = subprocess.Popen(
            [*prefix, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            umask=0o077,
            bufsize=0,
        )
        self._rest = b""
        self._busy = 0.0
        self._config = {
            "url": f"https://127.0.0.1:{port or server.port}",
            "state": str(state),
            "subject": f"CN={name}",
            "flaw": flaw,
            "anchors": [(root or root_of(server)).hex()],
            "user": USER,
            "password": PASSWORD,
            **others,
        }

    def start(self) -> None:
        """Wait until the board has loaded its program. Raises Silent."""
        self.say(**self._config)
        self.hear()

    def begin(self, command: str) -> None:
        """Wait for nothing."""
        self.say(**self._config)
        self.say(do=command, timeout=30)

    def say(self, **fields: Any) -> None:
        assert self._process.stdin
        self._busy = busy.seconds(self._process.pid)
        self._process.stdin.write(json.dumps(fields).encode() + b"\n")

    def ready(self) -> bool:
        """Whether an answer is there."""
        assert self._process.stdout
        return b"\n" in self._rest or bool(select.select([self._process.stdout], [], [], 0)[0])

    def hear(self, seconds: float = SILENCE) -> Answer:
        """The next answer. Raises Silent.

        Of its `ms` the board waited so many for others: `waited`.
        """
        assert self._process.stdout
        until = time.monotonic() + seconds
        while b"\n" not in self._rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise Silent(f"nothing for {seconds} s")
            data = self._process.stdout.read(65536)
            if not data:
                raise Silent(f"ended with {self._process.wait()}")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        answer: Answer = json.loads(line)
        if "ms" in answer:
            ran = busy.seconds(self._process.pid) - self._busy
            answer["waited"] = answer["ms"] - round(ran * 1000)
        return answer

    def do(self, command: str, timeout: int = 30) -> Answer:
        self.say(do=command, timeout=timeout)
        return self.hear()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def resources(self) -> tuple[int, int]:
        """How many files the board has open, and how many KB of memory."""
        process = Path("/proc", str(self._process.pid))
        memory = next(
            text for text in (process / "status").read_text().splitlines() if "VmRSS" in text
        )
        return len(os.listdir(process / "fd")), int(memory.split()[1])

    def __enter__(self) -> "Line":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream
            stream.close()


def root_of(server: EstServer) -> bytes:
    """The server's root of today, in DER."""
    root = x509.load_pem_x509_certificate(server.ca_pem.read_bytes())
    return root.public_bytes(Encoding.DER)


class Issued:
    """The certificates that a server issued, in the order in which it did."""

    def __init__(self, server: EstServer) -> None:
        self._path = server.config.directory / "est.db"

    def count(self) -> int:
        """How many there are by now: a place to look `since`."""
        with closing(sqlite3.connect(self._path)) as database:
            (found,) = database.execute("select max(rowid) from issued").fetchone()
        return found or 0

    def since(self, place: int, name: str) -> list[x509.Certificate]:
        """Those for common name `name`."""
        with closing(sqlite3.connect(self._path)) as database:
            rows = database.execute(
                "select der from issued where rowid > ? and subject = ? order by rowid",
                (place, f"CN={name}"),
            ).fetchall()
        return [x509.load_der_x509_certificate(row[0]) for row in rows]


def spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def fingerprint(certificate: x509.Certificate) -> str:
    return sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def identity(state: Path) -> x509.Certificate | None:
    """The certificate that lies in `state`. Raises AssertionError where its key is another."""
    chain, key = stored_identity(state)
    if not chain:
        return None
    leaf = x509.load_der_x509_certificate(chain[0])
    private = load_pem_private_key(key.encode(), None)
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public == spki(leaf), "the certificate is of another key"
    return leaf


def works(server: EstServer, folder: Path) -> bool:
    """Whether a page that demands a certificate lets the identity in `folder` in."""
    chain, key = stored_identity(folder)
    context = ssl.create_default_context(cafile=server.ca_pem)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(key + "".join(ssl.DER_cert_to_PEM_cert(one) for one in chain))
        file.flush()
        context.load_cert_chain(file.name)
    url = f"https://127.0.0.1:{server.probe_port}/"
    try:
        with urllib.request.urlopen(url, context=context, timeout=30) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def show(found: dict[str, Any]) -> list[str]:
    """Print counts; returns the problems."""
    problems: list[str] = found.pop("problems")
    print(", ".join(f"{count} {name}" for name, count in found.items()))
    return problems

"""A board that has an identity and uses it, the CA it is of, and a server that asks for it."""

import json
import os
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mpest import runtimes
from mpest.server.ca import Order, Signer, common_name, new_ca, new_key, now
from mpest.server.tls import TlsIdentity, general_name
from mpest.sim import cpython

# What the programs of boards begin with.
PRELUDE = """
import binascii, gc, json, socket, sys
settings = json.loads(sys.stdin.readline())
from est import store
from est.parts import Known
records = store.Store(settings["state"])
known = Known(records)

def take(name):
    # What the agent does when it has renewed.
    items = [binascii.unhexlify(item) for item in settings[name]]
    for _ in (0, 1):
        records.save("identity", store.pack({"generation": 1}, *items))

def trust(*names):
    records.save("anchors", store.pack({}, *[binascii.unhexlify(settings[one]) for one in names]))

def dial(port):
    sock = socket.socket()
    sock.connect(socket.getaddrinfo("127.0.0.1", port)[0][-1])
    return sock

def ask(stream, text=b"hello"):
    stream.write(text + b"\\n")
    line = b""
    while line[-1:] != b"\\n":
        octet = stream.read(1)
        if not octet:
            raise OSError(104)
        line += octet
    return line.strip().decode()

def tell(value):
    print(json.dumps(value))

def failure(function, *arguments, **named):
    try:
        function(*arguments, **named)
    except OSError as error:
        return str(error)
    return ""

"""


@dataclass(frozen=True)
class Pki:
    """A root and the intermediates below it; the last one issues."""

    signers: list[Signer]

    @classmethod
    def of(cls, length: int = 1, name: str = "root") -> "Pki":
        """One whose chains have so many certificates without the root."""
        signers = [new_ca(name)]
        for number in range(1, length):
            signers.append(new_ca(f"{name} intermediate {number}", signers[-1]))
        return cls(signers)

    @property
    def root(self) -> bytes:
        return self.signers[0].certificate.public_bytes(Encoding.DER)

    def issue(
        self,
        name: str,
        *san: str,
        days: int = 9,
        purposes: tuple[x509.ObjectIdentifier, ...] = Order.purposes,
    ) -> TlsIdentity:
        """A certificate with its chain and key; ended where `days` are negative."""
        key = new_key()
        names = x509.SubjectAlternativeName([general_name(one) for one in san]) if san else None
        begin = now() + timedelta(days=min(days, 0) - 1)
        leaf = self.signers[-1].sign(
            Order(common_name(name), key.public_key(), names, purposes=purposes),
            now() + timedelta(days=days),
            begin,
        )
        return TlsIdentity([leaf, *(one.certificate for one in self.signers[:0:-1])], key)


def items(identity: TlsIdentity) -> list[str]:
    """Key and chain, as a board stores them, in hex."""
    key = identity.key.private_bytes(
        Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )
    return [key.hex(), *(one.public_bytes(Encoding.DER).hex() for one in identity.chain)]


def run(runtime: str, code: str, state: Path, *path: Path, **settings: Any) -> list[Any]:
    """What the program `code` of a board tells; `path` holds other modules of its own."""
    board = start(runtime, code, state, *path, **settings)
    output, errors = board.communicate(timeout=100)
    assert board.returncode == 0, output + errors
    return [json.loads(line) for line in output.splitlines()]


def start(
    runtime: str, code: str, state: Path, *path: Path, **settings: Any
) -> "subprocess.Popen[str]":
    state.mkdir(exist_ok=True)
    script = state.parent / f"{state.name}.py"
    script.write_text(PRELUDE + code)
    environment = dict(os.environ)
    if runtime == "cpython":
        command = [sys.executable, "-u", str(Path(cpython.__file__)), str(script)]
    else:
        program = runtimes.find(runtime)
        command = [*program.argv, str(script)]
        found = ":".join(map(str, (*path, cpython.firmware())))
        environment.update(program.env, MICROPYPATH=f"{found}:.frozen")
    board = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    assert board.stdin
    board.stdin.write(json.dumps({**settings, "state": str(state)}) + "\n")
    board.stdin.flush()
    return board


def client_context(pki: Pki, identity: TlsIdentity | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=pki.root)
    if identity:
        identity.load_into(context)
    return context


def server_context(identity: TlsIdentity, clients: Pki | None) -> ssl.SSLContext:
    """Demands a client certificate of `clients`, whose root alone it knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    identity.load_into(context)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.root)
    return context


@contextmanager
def line_server(identity: TlsIdentity, clients: Pki | None) -> Iterator[int]:
    """Port of a server that answers each line with the CN of the client's certificate."""
    context = server_context(identity, clients)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            try:
                with context.wrap_socket(self.request, server_side=True) as stream:
                    shown = dict(one[0] for one in stream.getpeercert()["subject"])
                    name = shown["commonName"].encode()
                    while stream.recv(100):
                        stream.sendall(name + b"\n")
            except (OSError, KeyError, TypeError):
                pass  # what the client did is the client's to tell

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()

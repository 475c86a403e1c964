"""Whether a server shows a certificate, seen from each runtime."""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256

from mpest.server.ca import Order, common_name, new_ca, new_key, now
from mpest.server.tls import TlsIdentity
from mpest.sim import cpython

PROGRAM = """\
import json, sys
from estd import verify
for line in sys.stdin:
    print(json.dumps(verify.failure(*json.loads(line))))
"""


class Server(threading.Thread):
    """Accepts as the function says, which gets the socket and a context with the certificate."""

    def __init__(self, accept, identity: TlsIdentity) -> None:
        super().__init__(daemon=True)
        self._accept = accept
        self._identity = identity
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.start()

    def run(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._identity.load_into(context)
            with sock, contextlib.suppress(OSError):
                self._accept(sock, context)


def any_client(sock, context) -> None:
    with context.wrap_socket(sock, True) as stream:
        stream.recv(1)


def demands_certificates(version):
    def accept(sock, context) -> None:
        context.maximum_version = version
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_default_certs()
        with context.wrap_socket(sock, True) as stream:
            stream.recv(1)

    return accept


def postgres(answer):
    def accept(sock, context) -> None:
        if sock.recv(8) == b"\0\0\0\x08\x04\xd2\x16\x2f":
            sock.sendall(answer)
            any_client(sock, context)

    return accept


def hangs_up(sock, context) -> None:
    sock.recv(1)


@pytest.fixture(scope="module")
def identity() -> TlsIdentity:
    root = new_ca("root")
    key = new_key()
    leaf = root.sign(Order(common_name("server"), key.public_key()), now() + timedelta(days=1))
    return TlsIdentity([leaf], key)


@pytest.fixture(params=["cpython", "micropython", "micropython-armhf"])
def ask(request: pytest.FixtureRequest, program, tmp_path: Path) -> Iterator:
    runtime = request.param
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    environment = dict(os.environ)
    if runtime == "cpython":
        command = [sys.executable, "-u", str(Path(cpython.__file__)), str(script)]
    else:
        found = program(runtime)
        command = [*found.argv, str(script)]
        environment |= {**found.env, "MICROPYPATH": f"{cpython.firmware()}:.frozen"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as process:

        def failure(address: str, sha256: str) -> str | None:
            process.stdin.write(json.dumps([address, sha256]) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield failure
        process.stdin.close()


def test_what_servers_show(ask, identity) -> None:
    sha256 = identity.chain[0].fingerprint(SHA256()).hex()
    shown = {
        "any": any_client,
        "TLS 1.2 with certificates": demands_certificates(ssl.TLSVersion.TLSv1_2),
        "TLS 1.3 with certificates": demands_certificates(ssl.TLSVersion.TLSv1_3),
    }
    for name, accept in shown.items():
        port = Server(accept, identity).port
        assert ask(f"127.0.0.1:{port}", sha256) is None, name
        assert ask(f"localhost:{port}", "00" + sha256[2:]) == (
            f"localhost:{port} shows another certificate"
        )
    port = Server(postgres(b"S"), identity).port
    assert ask(f"postgres:127.0.0.1:{port}", sha256) is None
    port = Server(postgres(b"N"), identity).port
    assert "it has no TLS" in ask(f"postgres:127.0.0.1:{port}", sha256)
    port = Server(hangs_up, identity).port
    assert f"127.0.0.1:{port} does not show its certificate" in ask(f"127.0.0.1:{port}", sha256)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        assert f"{address} does not show its certificate" in ask(address, sha256)

"""Other programs go by the server's lists of revoked certificates, for a chain of CAs too."""

import os
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import broker
import nginx
import ports
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mpest.runtimes import Program
from mpest.server import EstServer, ServerConfig, running_server
from mpest.server.authority import Authority
from mpest.server.tls import own_identity

START_SECONDS = 60
NGINX = nginx.https(
    "{folder}/server.pem",
    "{folder}/server.key",
    """
        ssl_client_certificate {ca}/ca.pem;
        ssl_verify_client on;
        ssl_verify_depth 4;
        ssl_crl {ca}/crl.pem;
        return 200 "$ssl_client_s_dn";
""",
)

CHAINS = pytest.mark.parametrize("server", [1, 2, 4], indirect=True)


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EstServer]:
    """A server with a chain of the length that is the parameter."""
    config = ServerConfig(directory=tmp_path / "ca", chain_length=request.param)
    with running_server(config) as running:
        yield running


def board(server: EstServer, folder: Path, name: str) -> tuple[ssl.SSLContext, int]:
    """TLS as a board that enrolled has it, with its chain, and its certificate's serial number."""
    certificate, key = server.new_identity(name)
    chain = [one.public_bytes(Encoding.PEM) for one in server.ca_certificates[:-1]]
    (folder / name).write_bytes(b"".join([key, certificate, *chain]))
    context = ssl.create_default_context(cafile=server.ca_pem)
    context.load_cert_chain(folder / name)
    return context, x509.load_pem_x509_certificate(certificate).serial_number


@contextmanager
def web_server(found: Program, server: EstServer, folder: Path) -> Iterator[tuple[Path, int]]:
    """Its folder and port."""
    folder.mkdir()
    length = len(server.ca_certificates)
    authority = Authority.open(server.config.directory, length)
    identity = own_identity(authority, "127.0.0.1", cmc_ra=False)
    chain = [one.public_bytes(Encoding.PEM) for one in identity.chain]
    (folder / "server.pem").write_bytes(b"".join(chain))
    key = identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server.key").write_bytes(key)
    port = ports.reserve()
    user = "user root;" if os.getuid() == 0 else ""
    text = NGINX.format(folder=folder, ca=server.config.directory, port=port, user=user, load="")
    (folder / "nginx.conf").write_text(text)
    command = [*found.argv, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"]
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            command, env={**os.environ, **found.env}, stdout=out, stderr=out
        )
    try:
        until = time.monotonic() + START_SECONDS
        while not (folder / "pid").exists():
            assert process.poll() is None, (folder / "out").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        yield folder, port
    finally:
        process.terminate()
        process.wait()


def answer(port: int, context: ssl.SSLContext) -> tuple[int, str]:
    """nginx completes the handshake of whom it refuses, and says why."""
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(f"https://127.0.0.1:{port}/", timeout=60) as found:
            return found.status, found.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@CHAINS
def test_nginx(server: EstServer, tmp_path: Path, program: Callable[[str], Program]) -> None:
    good, _ = board(server, tmp_path, "good")
    bad, serial = board(server, tmp_path, "bad")
    with web_server(program("nginx"), server, tmp_path / "before") as (_, port):
        assert answer(port, good) == (200, "CN=good")
        assert answer(port, bad) == (200, "CN=bad")
    server.revoke(serial)
    with web_server(program("nginx"), server, tmp_path / "after") as (_, port):
        assert answer(port, good) == (200, "CN=good")
        status, text = answer(port, bad)
        assert status == 400
        assert "The SSL certificate error" in text


@CHAINS
def test_mosquitto(server: EstServer, tmp_path: Path) -> None:
    broker.need()
    good, _ = board(server, tmp_path, "good")
    bad, serial = board(server, tmp_path, "bad")
    crl = server.config.directory / "crl.pem"
    authority = Authority.open(server.config.directory, len(server.ca_certificates))
    identity = own_identity(authority, "127.0.0.1", cmc_ra=False)
    root = server.ca_certificates[-1]
    with broker.Broker(identity, root, crl.read_bytes()) as mosquitto:
        shake_hands(mosquitto.port, good)
        shake_hands(mosquitto.port, bad)
        server.revoke(serial)
        mosquitto.revoke(crl.read_bytes())
        shake_hands(mosquitto.port, good)
        with pytest.raises(ssl.SSLError, match=r"(?i)revoked"):
            shake_hands(mosquitto.port, bad)


def shake_hands(port: int, context: ssl.SSLContext) -> None:
    """With TLS 1.2, where the server's verdict is part of it."""
    with (
        socket.create_connection(("127.0.0.1", port), 60) as tcp,
        context.wrap_socket(tcp, server_hostname="127.0.0.1"),
    ):
        pass

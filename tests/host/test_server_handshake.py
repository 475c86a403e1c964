"""The server's operator hears why TLS failed."""

import socket
import ssl
import time
from contextlib import suppress

import pytest
from server_client import tls_context

from mpest.server import ServerConfig, running_server
from mpest.server.command import _line


@pytest.fixture
def server(tmp_path):
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        yield server


def connect(server, context):
    with (
        socket.create_connection(("127.0.0.1", server.port), 60) as tcp,
        context.wrap_socket(tcp, server_hostname="127.0.0.1") as tls,
    ):
        tls.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return tls.recv(100)


def reason(server):
    # The server may hear of it after the client has.
    deadline = time.monotonic() + 60
    while not server.failed_handshakes and time.monotonic() < deadline:
        time.sleep(0.01)
    (found,) = server.failed_handshakes
    assert not server.events
    return found


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_of_another_ca(server, tmp_path, version):
    with running_server(ServerConfig(directory=tmp_path / "other")) as other:
        context = tls_context(server, other.new_identity("board-1"))
    context.maximum_version = version
    with suppress(ssl.SSLError, ConnectionError):
        assert not connect(server, context)
    assert reason(server).startswith("certificate verify failed: ")
    assert _line({"event": "handshake", "reason": "why"}) == "TLS handshake failed: why"


def test_a_client_that_does_not_trust_the_server(server):
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(server, ssl.create_default_context())
    assert "unknown ca" in reason(server)


def test_plain_http(server):
    with socket.create_connection(("127.0.0.1", server.port), 60) as tcp:
        tcp.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while tcp.recv(100):
            pass
    assert reason(server) == "http request"


def test_nothing_to_say_of_those_that_work(server):
    assert connect(server, tls_context(server)).startswith(b"HTTP/1.1 404")
    assert connect(server, tls_context(server, server.new_identity("board-1")))
    assert not server.failed_handshakes

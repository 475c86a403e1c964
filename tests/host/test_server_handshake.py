"""The server's operator hears why TLS failed."""

import socket
import ssl
import time
import urllib.request
from contextlib import suppress

import pytest
from prometheus_client.parser import text_string_to_metric_families
from server_client import tls_context

from mpest.server import ServerConfig, running_server
from mpest.server.config import Limits
from mpest.server.metrics import Metrics
from mpest.server.serving import as_line


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


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def reason(server):
    # The server may hear of it after the client has.
    wait_until(lambda: server.failed_handshakes)
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
    assert as_line({"event": "handshake", "reason": "why"}) == "TLS handshake failed: why"


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


def counted(server):
    """How many handshakes failed, by reason, as /metrics says."""
    context = ssl.create_default_context(cafile=server.ca_pem)
    with urllib.request.urlopen(server.origin + "/metrics", context=context) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {
        sample.labels["reason"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "mpest_handshakes_failed_total"
    }


def test_failures_are_counted_by_reason(server, tmp_path):
    with running_server(ServerConfig(directory=tmp_path / "other")) as other:
        foreign = tls_context(server, other.new_identity("board-1"))
    old = tls_context(server)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers("AES256-SHA")
    before = counted(server)
    assert set(before.values()) == {0}
    assert set(before) >= {"client certificate", "server not trusted", "not TLS", "late", "other"}
    for context in (foreign, ssl.create_default_context(), old):
        with suppress(ssl.SSLError, ConnectionError):
            assert not connect(server, context)
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), 60) as tcp, suppress(OSError):
            tcp.sendall(garbage)
            while tcp.recv(100):
                pass
    wait_until(lambda: sum(counted(server).values()) >= 5)
    assert {reason: count for reason, count in counted(server).items() if count} == {
        "client certificate": 1,
        "server not trusted": 1,
        "version or cipher": 1,
        "not TLS": 2,
    }


def test_who_is_late_is_counted(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca", limits=Limits(handshake=0.1))
    with running_server(config) as server:
        with socket.create_connection(("127.0.0.1", server.port), 60) as tcp:
            assert not tcp.recv(100)
        wait_until(lambda: counted(server)["late"] == 1)


@pytest.mark.parametrize("why", ["", "no reason", "x" * 10_000, "a reason of tomorrow's OpenSSL"])
def test_reasons_are_bounded(why):
    metrics = Metrics(lambda: 0)
    metrics.count_handshake(why)
    assert b'mpest_handshakes_failed_total{reason="other"} 1.0' in metrics.reply().body

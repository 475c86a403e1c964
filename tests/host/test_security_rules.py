"""What RFC 7030 has a client refuse or enforce, each rule under its section.

Elsewhere: trust anchors (3.3.1, 4.1.3) and id-kp-cmcRA (3.6.1) in test_trust.py, linking (3.5) in
test_linking.py, sizes and malformed answers in test_device.py, the links of appendix A.1 in
tests/unit/test_rollover.py.
"""

import hashlib
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from board_bench import Bench

from mpest.relay import Relay
from mpest.server import EstServer, ServerConfig, running_server

# IANA's numbers. NULL: without encryption; anonymous; export grade; DES and 3DES.
NULL = {0x00, 0x01, 0x02, 0x2C, 0x2D, 0x2E, 0x3B, 0xB0, 0xB1, 0xB4, 0xB5, 0xB8, 0xB9, 0xC001}
NULL |= {0xC006, 0xC00B, 0xC010, 0xC015, 0xC039, 0xC03A, 0xC03B, 0xC0B4, 0xC0B5}
ANONYMOUS = {0x17, 0x18, 0x19, 0x1A, 0x1B, 0x34, 0x3A, 0x46, 0x6C, 0x6D, 0x89, 0x9B, 0xA6, 0xA7}
ANONYMOUS |= {0xBF, 0xC5, *range(0xC015, 0xC01A), 0xC046, 0xC047, 0xC05A, 0xC05B, 0xC084, 0xC085}
EXPORT = {0x03, 0x06, 0x08, 0x0B, 0x0E, 0x11, 0x14, 0x17, 0x19, *range(0x26, 0x2C)}
EXPORT |= set(range(0x60, 0x66))
DES = {0x09, 0x0A, 0x0C, 0x0D, 0x0F, 0x10, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1B, 0x1E, 0x1F, 0x22}
DES |= {0x23, 0x8B, 0x8F, 0x93, 0xC003, 0xC008, 0xC00D, 0xC012, 0xC017, 0xC01A, 0xC01B, 0xC01C}
DES |= {0xC034}


def requests(server: EstServer) -> list[dict[str, Any]]:
    return [event for event in server.events if event["event"] == "request"]


def test_rfc7030_3_https_only(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/.well-known/est"
        event = bench.run("enroll", url=url)
        assert event["type"] == "UsageError"
        assert "https://" in event["message"]
        with pytest.raises(BlockingIOError):
            listener.accept()


def client_hello(bench: Bench) -> bytes:
    """The first handshake message of the board, without its header."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        found: list[bytes] = []

        def take() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as stream:
                header = stream.read(5)
                found.append(stream.read(int.from_bytes(header[3:], "big")))

        thread = threading.Thread(target=take)
        thread.start()
        bench.run("cacerts", url=f"https://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    return found[0][4:]


def test_rfc7030_3_3_tls_1_2_and_good_suites(bench: Bench) -> None:
    hello = client_hello(bench)
    assert hello[:2] == b"\3\3"  # TLS 1.2, which stands for 1.3 too
    at = 35 + hello[34]
    end = at + 2 + int.from_bytes(hello[at : at + 2], "big")
    suites = {int.from_bytes(hello[one : one + 2], "big") for one in range(at + 2, end, 2)}
    assert len(suites) > 1
    assert not suites & (NULL | ANONYMOUS | EXPORT | DES)
    at = end + 1 + hello[end] + 2
    versions = b""
    while at < len(hello):
        size = int.from_bytes(hello[at + 2 : at + 4], "big")
        if hello[at : at + 2] == b"\0\x2b":  # supported_versions
            versions = hello[at + 5 : at + 4 + size]
        at += 4 + size
    assert {versions[one : one + 2] for one in range(0, len(versions), 2)} <= {b"\3\3", b"\3\4"}


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_rfc7030_3_3_old_tls_is_refused(bench: Bench) -> None:
    """A server that goes no higher than TLS 1.1, though its certificate is good."""
    (context,) = bench.server._contexts
    context.minimum_version = ssl.TLSVersion.TLSv1_1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    control = ssl.create_default_context(cafile=bench.server.ca_pem)
    control.minimum_version = ssl.TLSVersion.TLSv1
    control.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", bench.server.port)) as plain,
        control.wrap_socket(plain, server_hostname="127.0.0.1") as stream,
    ):
        assert stream.version() == "TLSv1.1"
    event = bench.run("enroll")
    assert event["type"] == "PeerError", event
    assert "(-" not in event["message"] and "'" not in event["message"], event
    assert bench.server.credentials_seen == 0


def test_rfc7030_4_1_1_bootstrap_sends_no_credentials(bench: Bench) -> None:
    trust = {"anchors": None, "fingerprint": bench.server.fingerprint}
    assert bench.run("enroll", **trust)["event"] == "enroll"
    assert bench.server.handshakes == 2
    requests = [event for event in bench.server.events if event["event"] == "request"]
    assert not requests[0]["authorization"]
    assert bench.run("cacerts", anchors=None)["event"] == "cacerts"


def test_rfc7030_4_1_1_wrong_fingerprint(bench: Bench) -> None:
    event = bench.run("enroll", anchors=None, fingerprint="00" * 32)
    assert event["type"] == "NotTrusted"
    assert bench.server.credentials_seen == 0
    assert bench.run("enroll", anchors=None)["type"] == "UsageError"


def server_fingerprint(server: EstServer) -> str:
    """SHA-256 of the certificate that the server shows in TLS."""
    pem = ssl.get_server_certificate(("127.0.0.1", server.port))
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def test_rfc7030_4_1_1_fingerprint_of_the_server(bench: Bench) -> None:
    fingerprint = server_fingerprint(bench.server)
    assert fingerprint != bench.server.fingerprint
    trust = {"anchors": None, "fingerprint": fingerprint}
    assert bench.run("enroll", **trust)["event"] == "enroll"
    handshakes = bench.server.handshakes
    assert bench.run("cacerts", **trust)["event"] == "cacerts"
    assert bench.server.handshakes == handshakes + 1
    bench.server.config.faults = {"tls-wrong-ca"}
    assert bench.run("cacerts", **trust)["type"] == "NotTrusted"


def test_rfc7030_4_1_1_new_session_is_verified(bench: Bench) -> None:
    """What it offers as CA certificates has not signed what it shows."""
    bench.server.config.faults = {"tls-wrong-ca"}
    trust = {"anchors": None, "fingerprint": server_fingerprint(bench.server)}
    assert bench.run("enroll", **trust)["type"] == "NotTrusted"
    assert bench.server.credentials_seen == 0


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("tls-wrong-ca", "no trust anchor vouches"),
        ("tls-wrong-name", "is for elsewhere.example"),
        ("tls-expired", "has expired"),
        ("tls-not-yet-valid", "not valid yet"),
        ("tls-self-signed", "no trust anchor vouches"),
        ("tls-client-only", "may not be used by a server"),
    ],
)
def test_rfc7030_3_6_untrusted_server_sees_no_credential(
    bench: Bench, fault: str, reason: str
) -> None:
    bench.server.config.faults = {fault}
    event = bench.run("enroll")
    assert (event["event"], event["type"]) == ("error", "NotTrusted"), event
    assert reason in event["message"]
    assert bench.server.credentials_seen == 0
    assert not bench.server.issued()


class Detour(Relay):
    """Takes the first connection to one port, the others to another."""

    def __init__(self, first: int, others: int) -> None:
        super().__init__(others)
        self._first: int | None = first

    @property
    def target(self) -> int:
        port, self._first = self._first or self._others, None
        return port

    @target.setter
    def target(self, port: int) -> None:
        self._others = port


def test_rfc7030_3_6_2_every_hop_is_verified(bench: Bench, tmp_path: Path) -> None:
    """An impostor on the second connection: the password has been sent to nobody but the server,
    and the certificate of the board's renewal neither.
    """
    assert bench.run("enroll")["event"] == "enroll"
    bench.server.config.faults = {"close", "redirect-same-origin@csrattrs"}
    config = ServerConfig(directory=tmp_path / "impostor", auth="basic", users={"board": "x"})
    for operation in ("enroll", "reenroll"):
        with (
            running_server(config) as impostor,
            Detour(bench.server.port, impostor.port) as relay,
        ):
            thread = threading.Thread(target=relay.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            url = bench.server.url.replace(str(bench.server.port), str(relay.port))
            event = bench.run(operation, url=url, subject="CN=other")
            relay.shutdown()
            thread.join()
            assert event["type"] == "NotTrusted", event
            assert impostor.handshakes == 1
            assert not requests(impostor)
            assert impostor.credentials_seen == 0


@pytest.mark.parametrize("fault", ["redirect-elsewhere", "redirect-http"])
def test_rfc7030_3_2_1_redirects_stay_at_the_origin(bench: Bench, fault: str) -> None:
    bench.server.config.faults = {fault + "@simpleenroll"}
    event = bench.run("enroll")
    assert event["type"] == "PeerError"
    assert "redirects elsewhere" in event["message"]
    assert not [one for one in requests(bench.server) if one["path"].startswith("/detour")]
    assert not bench.server.issued()


def test_rfc7030_3_2_3_no_password_before_a_challenge(bench: Bench) -> None:
    assert bench.run("enroll")["event"] == "enroll"
    seen = [(one["status"], one["authorization"]) for one in requests(bench.server)]
    assert [status for status, given in seen if given] == [200]
    challenge = seen.index((401, False))
    assert not any(given for _, given in seen[: challenge + 1])


def test_rfc7030_4_1_3_only_200_brings_ca_certificates(bench: Bench) -> None:
    bench.server.config.faults = {"http-201@cacerts"}
    fingerprint = {"anchors": None, "fingerprint": bench.server.fingerprint}
    for operation, trust in (("cacerts", {}), ("cacerts", fingerprint), ("enroll", fingerprint)):
        event = bench.run(operation, **trust)
        assert (event["event"], event.get("type")) == ("error", "PeerError"), event
    assert bench.server.credentials_seen == 0
    assert not bench.server.issued()
    assert not list(bench.state.glob("anchors.*"))
    # Who was given the anchors needs none of them.
    *_, note, event = bench.events("enroll")
    assert event["event"] == "enroll", event
    assert "cacerts: unexpected HTTP 201" in note["text"], note


def test_rfc7030_4_2_2_names_stay(bench: Bench) -> None:
    """Whatever the settings say: the server compares."""
    assert bench.run("enroll")["event"] == "enroll"
    event = bench.run("reenroll", subject="CN=other", san=["DNS:other.example"])
    assert event["event"] == "reenroll", event
    assert event["certificate"]["subject"] == "CN=board-1,O=Example"


def test_rfc7030_4_2_3_waiting(bench: Bench) -> None:
    """Not before the time that Retry-After says, then the same request, after a restart too."""
    bench.server.config.approve_after = 3600
    event = bench.run("enroll")
    answered = time.time()
    assert event["type"] == "RetryLater"
    assert 3500 < event["seconds"] <= 3600
    seen = len(requests(bench.server))
    handshakes = bench.server.handshakes
    assert bench.run("enroll")["type"] == "RetryLater"
    assert (len(requests(bench.server)), bench.server.handshakes) == (seen, handshakes)
    bench.hasten()
    # Another request would wait for so long anew.
    bench.server.config.approve_after = time.time() - answered
    assert bench.run("enroll")["event"] == "enroll"
    assert len(bench.server.issued()) == 1


def test_rfc7030_4_2_3_certificate_for_another_key(bench: Bench) -> None:
    bench.server.config.faults = {"wrong-key"}
    event = bench.run("enroll")
    assert event["type"] == "PeerError"
    assert "for another key" in event["message"]
    assert bench.run("show")["certificate"] is None

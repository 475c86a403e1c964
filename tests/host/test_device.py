"""The device, on each runtime, against the test server."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mpest import runtimes
from mpest.server import CsrAttrsPolicy, EstServer, ServerConfig, running_server
from mpest.sim.board_process import RUNTIMES, run_board


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name != "cpython":
        try:
            runtimes.find(name)
        except runtimes.RuntimeMissing as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(error.message)
    return name


class Bench:
    """A server, and a board that knows its CA and a password."""

    def __init__(self, server: EstServer, state: Path, runtime: str) -> None:
        self.server = server
        self.state = state
        self.runtime = runtime
        root = x509.load_pem_x509_certificates(server.ca_pem.read_bytes())
        self.config: dict[str, Any] = {
            "url": server.url,
            "anchors": [one.public_bytes(Encoding.DER).hex() for one in root],
            "subject": "CN=board-1,O=Example",
            "san": ["DNS:board-1.example"],
            "user": "board",
            "password": "correct horse",
        }

    def run(self, *operations: str, **changes: Any) -> dict[str, Any]:
        """Last event of the board."""
        config = {**self.config, **changes, "operations": operations}
        return list(run_board(config, self.runtime, self.state))[-1]

    def files(self) -> dict[str, bytes]:
        return {name: (self.state / name).read_bytes() for name in ("cert.pem", "key.pem")}


@pytest.fixture
def bench(tmp_path: Path, runtime: str) -> Iterator[Bench]:
    config = ServerConfig(
        directory=tmp_path / "ca", port=0, auth="basic", users={"board": "correct horse"}
    )
    with running_server(config) as server:
        yield Bench(server, tmp_path / "board", runtime)


def openssl(*arguments: str | Path) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def test_enrol_and_renew(bench: Bench) -> None:
    assert bench.run("cacerts", "csrattrs", "enroll")["event"] == "enroll"
    assert bench.server.handshakes == 1
    first = bench.files()
    assert bench.run("reenroll")["event"] == "reenroll"
    second = bench.files()
    assert first["key.pem"] != second["key.pem"]
    assert bench.run("reenroll", rekey=False)["event"] == "reenroll"
    assert bench.files()["key.pem"] == second["key.pem"]
    assert bench.files()["cert.pem"] != second["cert.pem"]
    for row in bench.server.issued():
        certificate = x509.load_der_x509_certificate(row.der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert names.value.get_values_for_type(x509.DNSName) == ["board-1.example"]
        assert certificate.subject.rfc4514_string() == "O=Example,CN=board-1"
    cert, key = bench.state / "cert.pem", bench.state / "key.pem"
    openssl("verify", "-CAfile", bench.server.ca_pem, cert)
    assert openssl("pkey", "-in", key, "-pubout") == openssl(
        "x509", "-in", cert, "-noout", "-pubkey"
    )
    assert key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_digest(bench: Bench, algorithm: str) -> None:
    bench.server.config.auth = "digest"
    bench.server.config.digest_algorithms = [algorithm]
    assert bench.run("enroll")["event"] == "enroll"


def test_token(bench: Bench) -> None:
    bench.server.config.auth = "token"
    bench.server.config.tokens = {"sesame"}
    assert bench.run("enroll", user=None, token="sesame")["event"] == "enroll"
    assert bench.run("enroll", user=None, token="wrong")["type"] == "Refused"


def test_wrong_password_is_refused_once(bench: Bench) -> None:
    event = bench.run("enroll", password="wrong")
    assert event["type"] == "Refused"
    assert "password" in event["message"]
    assert bench.server.credentials_seen == 1


def test_fingerprint_bootstrap(bench: Bench) -> None:
    trust = {"anchors": None, "fingerprint": bench.server.fingerprint}
    assert bench.run("enroll", **trust)["event"] == "enroll"
    assert bench.server.handshakes == 2
    requests = [event for event in bench.server.events if event["event"] == "request"]
    assert not requests[0]["authorization"]
    assert bench.run("cacerts", anchors=None)["event"] == "cacerts"


def test_wrong_fingerprint(bench: Bench) -> None:
    event = bench.run("enroll", anchors=None, fingerprint="00" * 32)
    assert event["type"] == "NotTrusted"
    assert bench.server.credentials_seen == 0
    assert bench.run("enroll", anchors=None)["type"] == "UsageError"


@pytest.mark.parametrize(
    "fault",
    [
        "tls-wrong-ca",
        "tls-wrong-name",
        "tls-expired",
        "tls-not-yet-valid",
        "tls-self-signed",
        "tls-client-only",
    ],
)
def test_untrusted_server_sees_no_credential(bench: Bench, fault: str) -> None:
    bench.server.config.faults = {fault}
    event = bench.run("enroll")
    assert (event["event"], event["type"]) == ("error", "NotTrusted"), event
    assert bench.server.credentials_seen == 0
    assert not bench.server.issued()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("wrong-key", "PeerError"),
        ("wrong-ca", "NotTrusted"),
        ("expired-cert", "NotTrusted"),
        ("no-certs", "PeerError"),
        ("ca-cert-instead", "PeerError"),
        ("bad-base64", "PeerError"),
        ("empty-body", "PeerError"),
        ("pem-body", "PeerError"),
        ("huge-body", "PeerError"),
        ("wrong-content-type", "PeerError"),
        ("truncated-body", "PeerError"),
        ("cut-connection", "PeerError"),
        ("cut-after-headers", "PeerError"),
        ("garbage-status-line", "PeerError"),
        ("giant-header", "PeerError"),
        ("many-headers", "PeerError"),
        ("redirect-elsewhere", "PeerError"),
        ("redirect-http", "PeerError"),
        ("redirect-loop", "PeerError"),
        ("http-500", "Refused"),
        ("http-404", "Refused"),
        ("http-503", "RetryLater"),
    ],
)
def test_failed_renewal_keeps_the_identity(bench: Bench, fault: str, kind: str) -> None:
    assert bench.run("enroll")["event"] == "enroll"
    before = bench.files()
    bench.server.config.faults = {fault + "@simplereenroll"}
    event = bench.run("reenroll")
    assert (event["event"], event.get("type")) == ("error", kind), event
    assert bench.files() == before
    assert bench.run("show")["certificate"]["subject"] == "CN=board-1,O=Example"
    bench.server.config.faults = set()
    if kind != "RetryLater":
        assert bench.run("reenroll")["event"] == "reenroll"


@pytest.mark.parametrize(
    "fault",
    [
        "chunked",
        "close",
        "http10",
        "no-content-length",
        "raw-der",
        "http-201",
        "extra-certs",
        "reverse-order",
        "redirect-same-origin",
    ],
)
def test_unusual_answers_are_understood(bench: Bench, fault: str) -> None:
    bench.server.config.faults = {fault + "@simpleenroll"}
    event = bench.run("enroll")
    assert event["event"] == "enroll", event


def test_slow_drip_ends(bench: Bench) -> None:
    bench.server.config.faults = {"slow-drip"}
    event = bench.run("cacerts", timeout=1)
    assert event["type"] == "PeerError"
    assert "longer than 1 s" in event["message"]


def test_waiting_sends_the_same_request_after_a_restart(bench: Bench) -> None:
    bench.server.config.approve_after = 1
    event = bench.run("enroll")
    assert (event["type"], event["seconds"]) == ("RetryLater", 1)
    while (event := bench.run("enroll"))["event"] == "error":
        assert event["type"] == "RetryLater"
    assert event["event"] == "enroll"


def test_csrattrs_that_cannot_be_met(bench: Bench) -> None:
    bench.server.config.csrattrs = CsrAttrsPolicy(key="P-384")
    event = bench.run("enroll")
    assert event["type"] == "UsageError"
    assert "P-384" in event["message"]
    bench.server.config.csrattrs = CsrAttrsPolicy()
    assert bench.run("enroll")["event"] == "enroll"


def test_intermediate(tmp_path: Path, runtime: str) -> None:
    config = ServerConfig(directory=tmp_path / "ca", port=0, auth="none", chain_length=2)
    with running_server(config) as server:
        bench = Bench(server, tmp_path / "board", runtime)
        bench.config["anchors"] = [
            server.ca_certificates[-1].public_bytes(Encoding.DER).hex(),
        ]
        assert bench.run("enroll", user=None)["event"] == "enroll"
        assert (bench.state / "chain.pem").read_text().count("BEGIN") == 2
        assert bench.run("reenroll", user=None)["event"] == "reenroll"

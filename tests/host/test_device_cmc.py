"""Full CMC on the device, on each runtime, against the test server: revocation and enrolment."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import board_bench
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mpest.server import ServerConfig, running_server

NAMES = ("cert.pem", "chain.pem", "key.pem")


class Bench(board_bench.Bench):
    """A server, and a board that knows its CA."""

    def has_identity(self) -> bool:
        found = [(self.state / name).exists() for name in NAMES]
        assert len(set(found)) == 1
        known = self.run("show")["certificate"] is not None
        assert known == found[0]
        return known

    def revoked(self) -> dict[int, x509.RevokedCertificate]:
        """What the CRLs of all CAs hold, by serial."""
        pem = (self.server.config.directory / "crl.pem").read_bytes()
        end = b"-----END X509 CRL-----\n"
        lists = [x509.load_pem_x509_crl(one + end) for one in pem.split(end)[:-1]]
        return {entry.serial_number: entry for one in lists for entry in one}

    def tls(self) -> str:
        """What openssl makes of the server with the identity that was kept in `old`."""
        old = self.state.parent / "old"
        where = ["-connect", f"127.0.0.1:{self.server.port}", "-CAfile", self.server.ca_pem]
        where += ["-cert", old / "cert.pem", "-key", old / "key.pem"]
        done = subprocess.run(
            ["openssl", "s_client", "-quiet", *where],
            input=f"GET {self.server.url[self.server.url.index('/.') :]}/cacerts HTTP/1.1\r\n"
            "Host: localhost\r\nConnection: close\r\n\r\n",
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout

    def keep(self) -> Path:
        old = self.state.parent / "old"
        old.mkdir(exist_ok=True)
        for name in NAMES:
            (old / name).write_bytes((self.state / name).read_bytes())
        return old


@pytest.fixture
def bench(tmp_path: Path, runtime: str) -> Iterator[Bench]:
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        yield Bench(server, tmp_path / "board", runtime, reason="keyCompromise")


def crl_check(bench: Bench, certificate: Path) -> subprocess.CompletedProcess[str]:
    ca = bench.server.config.directory
    command = ["openssl", "verify", "-crl_check", "-CAfile", ca / "ca.pem"]
    command += ["-CRLfile", ca / "crl.pem", certificate]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("signer", ["ca", "ra"])
def test_revoke(bench: Bench, signer: str) -> None:
    bench.server.config.cmc_signer = signer
    assert bench.run("revoke")["type"] == "UsageError"
    assert bench.run("enroll")["event"] == "enroll"
    old = bench.keep()
    assert crl_check(bench, old / "cert.pem").returncode == 0
    assert " 200 OK" in bench.tls()
    event = bench.run("revoke")
    assert event["event"] == "revoke", event
    assert not bench.has_identity()
    serial = int(event["certificate"]["serial"], 16)
    (entry,) = bench.revoked().values()
    assert entry.serial_number == serial
    reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    assert reason == x509.ReasonFlags.key_compromise
    refused = crl_check(bench, old / "cert.pem")
    assert refused.returncode and "certificate revoked" in refused.stderr
    assert " 403 Forbidden" in bench.tls() and "is revoked" in bench.tls()
    assert bench.run("revoke")["type"] == "UsageError"
    # From nothing to an identity again, with another key.
    key = (old / "key.pem").read_bytes()
    assert bench.run("enroll")["event"] == "enroll"
    assert (bench.state / "key.pem").read_bytes() != key
    assert bench.run("reenroll")["event"] == "reenroll"


def test_revoked_identity_is_refused(bench: Bench) -> None:
    serial = int(bench.run("enroll")["certificate"]["serial"], 16)
    bench.server.revoke(serial)
    assert list(bench.revoked()) == [serial]
    for cmc in (False, True):
        event = bench.run("reenroll", cmc=cmc)
        assert event["type"] == "Refused", event
        assert "is revoked" in event["message"]
    # Of the certificate itself it may still learn that it is revoked.
    assert bench.run("revoke")["event"] == "revoke"
    assert not bench.has_identity()


def test_lost_answer(bench: Bench) -> None:
    """The CA may have revoked, the board cannot know: asking again ends it."""
    bench.run("enroll")
    for fault, revoked in (("cut-connection", 0), ("cut-after-headers", 1), ("truncated-body", 1)):
        bench.server.config.faults = {fault + "@fullcmc"}
        event = bench.run("revoke")
        assert event["type"] == "PeerError", event
        assert len(bench.revoked()) == revoked
    assert bench.has_identity()
    bench.server.config.faults = set()
    assert bench.run("revoke")["event"] == "revoke"
    assert len(bench.revoked()) == 1
    assert not bench.has_identity()


FAULTS = {
    "cmc-wrong-signature": ("NotTrusted", "signature of CN=mpest test root is wrong"),
    "cmc-unauthorised-signer": ("NotTrusted", "may not for its CA"),
    "cmc-unknown-signer": ("NotTrusted", "no trusted certificate"),
    "cmc-unsigned": ("NotTrusted", "is not signed"),
    "cmc-simple": ("NotTrusted", "is not signed"),
    "cmc-wrong-nonce": ("NotTrusted", "another request"),
    "cmc-no-nonce": ("NotTrusted", "another request"),
    "cmc-wrong-transaction": ("NotTrusted", "another request"),
    "cmc-malformed": ("PeerError", "BER"),
    "cmc-no-status": ("PeerError", "no outcome"),
    "cmc-failed": ("Refused", "badRequest. this CA does not [1m like it"),
    "cmc-pending": ("RetryLater", "waits for approval"),
    "http-404": ("Refused", "404"),
    "http-503": ("RetryLater", "busy"),
    "bad-base64": ("PeerError", "base64"),
    "empty-body": ("PeerError", "empty"),
    "huge-body": ("PeerError", "over 131072 bytes"),
    "wrong-content-type": ("PeerError", "CMC"),
}


@pytest.mark.timeout(300)
def test_faults_lose_nothing(bench: Bench) -> None:
    bench.run("enroll")
    before = {name: (bench.state / name).read_bytes() for name in NAMES}
    for fault, (kind, words) in FAULTS.items():
        bench.server.config.faults = {fault + "@fullcmc"}
        event = bench.run("revoke")
        assert (event["event"], event.get("type")) == ("error", kind), (fault, event)
        assert words in event["message"]
        # Of a date in the answer some may have passed.
        passed = {"cmc-pending": 90, "http-503": 2}.get(fault, 0) - (event["seconds"] or 0)
        assert 0 <= passed <= (80 if fault == "cmc-pending" else 0)
        assert {name: (bench.state / name).read_bytes() for name in NAMES} == before
    bench.server.config.faults = set()
    assert bench.has_identity()
    assert bench.run("revoke")["event"] == "revoke"


def test_unusual_answers_are_understood(bench: Bench) -> None:
    bench.run("enroll")
    for fault in ("chunked", "http10", "raw-der", "ber-body", "redirect-same-origin"):
        bench.server.config.faults = {fault + "@fullcmc"}
        assert bench.run("reenroll", cmc=True)["event"] == "reenroll", fault


def test_renew_by_cmc(bench: Bench) -> None:
    event = bench.run("enroll", cmc=True)
    assert event["type"] == "UsageError", event
    assert bench.run("enroll")["event"] == "enroll"
    before = {name: (bench.state / name).read_bytes() for name in NAMES}
    for fault in ("cmc-wrong-signature", "cmc-wrong-nonce", "cmc-failed", "wrong-key"):
        bench.server.config.faults = {fault + "@fullcmc"}
        assert bench.run("reenroll", cmc=True)["event"] == "error"
        assert {name: (bench.state / name).read_bytes() for name in NAMES} == before
    # Certificates alone vouch for themselves (RFC 7030 4.3.2).
    bench.server.config.faults = {"cmc-simple"}
    assert bench.run("reenroll", cmc=True)["event"] == "reenroll"
    renewed = (bench.state / "key.pem").read_bytes()
    assert renewed != before["key.pem"]
    assert bench.run("reenroll", cmc=True, rekey=False)["event"] == "reenroll"
    assert (bench.state / "key.pem").read_bytes() == renewed
    paths = [event["path"].rpartition("/")[2] for event in bench.server.events]
    assert paths.count("simpleenroll") == 1
    assert "simplereenroll" not in paths


@pytest.mark.parametrize("signer", ["ca", "ra"])
def test_under_an_intermediate(tmp_path: Path, runtime: str, signer: str) -> None:
    config = ServerConfig(directory=tmp_path / "ca", chain_length=2, cmc_signer=signer)
    with running_server(config) as server:
        bench = Bench(server, tmp_path / "board", runtime, reason="keyCompromise")
        assert bench.run("enroll", "reenroll", cmc=False)["event"] == "reenroll"
        assert bench.run("reenroll", cmc=True)["event"] == "reenroll"
        assert bench.run("revoke")["event"] == "revoke"


@pytest.mark.parametrize("signer", ["ca", "ra"])
def test_revoke_after_a_rollover(bench: Bench, signer: str) -> None:
    """The answer of the new root is believed by its link with the old one."""
    bench.server.config.cmc_signer = signer
    bench.run("enroll")
    bench.server.rollover()
    event = bench.run("revoke")
    assert event["event"] == "revoke", event
    assert len(bench.revoked()) == 1


@pytest.mark.parametrize("kind", ["P-384", "RSA"])
def test_other_keys_sign_too(bench: Bench, kind: str) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    if kind == "RSA":
        key = rsa.generate_private_key(65537, 2048)
    form = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    event = bench.run("enroll", own_key=form.hex())
    assert event["event"] == "enroll", event
    assert bench.run("reenroll", cmc=True, rekey=False)["event"] == "reenroll"
    assert bench.run("revoke")["event"] == "revoke"


def test_enrol_by_cmc_with_a_factory_certificate(bench: Bench) -> None:
    certificate, key = bench.server.new_identity("factory-7")
    chain = [x509.load_pem_x509_certificate(certificate).public_bytes(Encoding.DER).hex()]
    pem = bench.state.parent / "factory.pem"
    pem.write_bytes(key)
    command = ["openssl", "pkcs8", "-topk8", "-nocrypt", "-in", pem, "-outform", "DER"]
    factory_key = subprocess.run(command, capture_output=True, check=True).stdout.hex()
    event = bench.run("enroll", cmc=True, factory_chain=chain, factory_key=factory_key)
    assert event["event"] == "enroll", event
    assert event["certificate"]["subject"] == "CN=board-1,O=Example"


def test_waiting_by_cmc(bench: Bench) -> None:
    bench.run("enroll")
    bench.server.config.approve_after = 1.5
    event = bench.run("reenroll", cmc=True)
    assert event["type"] == "RetryLater", event
    while (event := bench.run("reenroll", cmc=True))["event"] == "error":
        assert event["type"] == "RetryLater", event
    assert event["event"] == "reenroll"

"""Keys of every kind on the board: enrolled, shown in TLS, renewed, refused where they must be."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import board_bench
import pytest
from commands import openssl
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mpest.server import CsrAttrsPolicy, EstServer, ServerConfig, running_server

# Where emulation would take long and show nothing else.
NATIVE = pytest.mark.parametrize("runtime", ["cpython", "micropython"], indirect=True)
# The number that the tests' secure element keeps to itself.
SECRET = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"


SETTINGS = {"subject": "CN=board-1", "san": [], "timeout": 60}


class Bench(board_bench.Bench):
    """A server that takes anyone, and a board that trusts it."""

    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.state / "cert.pem").read_bytes())

    def check(self) -> Any:
        """The certificate's key, after openssl has read what the board left."""
        cert, key = self.state / "cert.pem", self.state / "key.pem"
        openssl("verify", "-CAfile", self.server.ca_pem, cert)
        openssl("pkey", "-in", key, "-noout", "-check")
        certified = openssl("x509", "-in", cert, "-noout", "-pubkey")
        assert certified == openssl("pkey", "-in", key, "-pubout")
        return self.certificate().public_key()

    def shown(self) -> str | None:
        """Subject of the client certificate that the server saw last."""
        requests = [event for event in self.server.events if event["event"] == "request"]
        client: str | None = requests[-1]["client"]
        return client


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EstServer]:
    with running_server(ServerConfig(directory=tmp_path / "ca", port=0)) as server:
        yield server


@pytest.fixture
def bench(server: EstServer, tmp_path: Path, runtime: str) -> Bench:
    return Bench(server, tmp_path / "board", runtime, **SETTINGS)


@pytest.fixture
def cpython(server: EstServer, tmp_path: Path) -> Bench:
    return Bench(server, tmp_path / "board", "cpython", **SETTINGS)


def size_of(key: Any) -> int:
    """Bits of a public key; negative for RSA."""
    return -int(key.key_size) if isinstance(key, rsa.RSAPublicKey) else int(key.key_size)


def enrol_and_renew(bench: Bench, size: int, **changes: Any) -> None:
    """Enrol with `changes`, then renew without: the kind of key stays."""
    assert bench.run("enroll", **changes)["event"] == "enroll"
    first = bench.check()
    assert size_of(first) == size
    assert bench.run("reenroll")["event"] == "reenroll"
    assert bench.shown() == "CN=board-1"
    second = bench.check()
    assert size_of(second) == size
    assert first != second
    assert bench.run("reenroll", rekey=False)["event"] == "reenroll"
    assert bench.shown() == "CN=board-1"
    assert bench.check() == second


def test_p384(bench: Bench) -> None:
    enrol_and_renew(bench, 384, key_type="P-384")


@NATIVE
def test_rsa(bench: Bench) -> None:
    events = bench.events("enroll", key_type="RSA-2048")
    assert "making RSA-2048: prime 1 of 2" in events[0]["text"]
    assert size_of(bench.check()) == -2048
    assert bench.run("reenroll")["event"] == "reenroll"
    assert bench.shown() == "CN=board-1"
    assert size_of(bench.check()) == -2048


def test_a_larger_rsa_key(cpython: Bench) -> None:
    assert cpython.run("enroll", key_type="RSA-3072")["event"] == "enroll"
    assert size_of(cpython.check()) == -3072


@pytest.mark.parametrize(
    ("runtime", "bits"),
    [
        ("cpython", 3072),
        ("micropython", 3072),
        ("micropython", 4096),
        ("micropython-armhf", 2048),
        ("micropython-picow-like", 2048),
    ],
    indirect=["runtime"],
)
def test_an_rsa_key_from_elsewhere(bench: Bench, bits: int) -> None:
    private = rsa.generate_private_key(65537, bits)
    own = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()).hex()
    assert bench.run("enroll", own_key=own)["event"] == "enroll"
    assert bench.check() == private.public_key()
    assert bench.run("reenroll", own_key=own)["event"] == "reenroll"
    assert bench.shown() == "CN=board-1"
    assert bench.check() == private.public_key()


@NATIVE
def test_a_renewal_may_change_the_kind(bench: Bench) -> None:
    assert bench.run("enroll")["event"] == "enroll"
    assert size_of(bench.check()) == 256
    assert bench.run("reenroll", key_type="P-384")["event"] == "reenroll"
    assert size_of(bench.check()) == 384
    assert bench.run("reenroll", key_type="P-256")["event"] == "reenroll"
    assert size_of(bench.check()) == 256


@pytest.mark.parametrize(
    ("key", "digest", "size"),
    [
        ("P-256", "sha256", 256),
        ("P-256", "sha512", 256),
        ("P-384", "sha384", 384),
        ("P-384", "sha256", 384),
        ("RSA-2048", "sha256", -2048),
        ("RSA-2048", "sha384", -2048),
    ],
)
@NATIVE
def test_the_server_decides(bench: Bench, key: Any, digest: Any, size: int) -> None:
    bench.server.config.csrattrs = CsrAttrsPolicy(key=key, digest=digest)
    bench.server.config.enforce_csrattrs = True
    assert bench.run("enroll")["event"] == "enroll"
    assert size_of(bench.check()) == size
    assert bench.run("reenroll", rekey=False)["event"] == "reenroll"


@pytest.mark.parametrize(
    ("fixed", "demanded"),
    [("P-256", "RSA-2048"), ("P-384", "P-256"), ("RSA-2048", "P-256"), ("RSA-2048", "RSA-3072")],
)
def test_who_fixed_a_kind_is_told_of_another(cpython: Bench, fixed: Any, demanded: Any) -> None:
    cpython.server.config.csrattrs = CsrAttrsPolicy(key=demanded)
    event = cpython.run("enroll", key_type=fixed)
    assert event["type"] == "UsageError"
    assert fixed in event["message"]
    assert demanded in event["message"]
    assert not posted(cpython.server)


def test_a_kept_key_of_another_kind(cpython: Bench) -> None:
    assert cpython.run("enroll")["event"] == "enroll"
    cpython.server.config.csrattrs = CsrAttrsPolicy(key="P-384")
    before = cpython.certificate()
    event = cpython.run("reenroll", rekey=False)
    assert event["type"] == "UsageError"
    assert "P-384" in event["message"]
    assert cpython.certificate() == before
    assert cpython.run("reenroll")["event"] == "reenroll"
    assert size_of(cpython.check()) == 384


def test_a_signature_that_the_key_cannot_make(bench: Bench) -> None:
    rsa_only = CsrAttrsPolicy(key=None, digest=None, oids=["1.2.840.113549.1.1.11"])
    bench.server.config.csrattrs = rsa_only
    event = bench.run("enroll", key_type="P-256")
    assert event["type"] == "UsageError"
    assert "sha256WithRSAEncryption" in event["message"]
    assert not posted(bench.server)


def posted(server: EstServer) -> list[Any]:
    return [event for event in server.events if event.get("method") == "POST"]


@pytest.mark.parametrize("runtime", ["micropython-picow-like"], indirect=True)
def test_secure_element(bench: Bench) -> None:
    """Mutual TLS with a key that TLS does not have, and a board that is reset between any two."""
    number = int(SECRET, 16)
    public = ec.derive_private_key(number, ec.SECP256R1()).public_key()
    bench.server.config.approve_after = 1
    assert bench.run("enroll", element=SECRET)["type"] == "RetryLater"
    while (event := bench.run("enroll", element=SECRET))["event"] == "error":
        assert event["type"] == "RetryLater"
    assert bench.certificate().public_key() == public
    bench.server.config.approve_after = 0
    for rekey in (True, False):
        assert bench.run("reenroll", element=SECRET, rekey=rekey)["event"] == "reenroll"
        assert bench.shown() == "CN=board-1"
        assert bench.certificate().public_key() == public
    assert not (bench.state / "key.pem").exists()
    for path in bench.state.iterdir():
        assert bytes.fromhex(SECRET) not in path.read_bytes(), path
    # Without the element, or with another, the server gets no signature that it takes.
    issued = len(bench.server.issued())
    for other in ({}, {"element": "11" * 32}):
        event = bench.run("reenroll", **other)
        assert event["type"] == "Refused", event
        assert "does not accept the board's certificate" in event["message"]
    assert len(bench.server.issued()) == issued


@NATIVE
def test_secure_element_where_tls_cannot_use_it(bench: Bench) -> None:
    assert bench.run("enroll", element=SECRET)["event"] == "enroll"
    event = bench.run("reenroll", element=SECRET)
    assert event["type"] == "UsageError"
    assert "cannot sign with a secure element" in event["message"]


def own_request(private: Any, subject: str = "CN=board-1,OU=as the caller likes") -> bytes:
    name = x509.Name.from_rfc4514_string(subject)
    names = x509.SubjectAlternativeName([x509.DNSName("own.example")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    request = builder.add_extension(names, critical=False).sign(private, hashes.SHA256())
    return request.public_bytes(Encoding.DER)


@NATIVE
@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA-2048"])
def test_own_request(bench: Bench, kind: str) -> None:
    if kind == "RSA-2048":
        private: Any = rsa.generate_private_key(65537, 2048)
    else:
        private = ec.generate_private_key(ec.SECP256R1() if kind == "P-256" else ec.SECP384R1())
    key = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    own = {"own_key": key.hex(), "own_request": own_request(private).hex()}
    assert bench.run("enroll", **own)["event"] == "enroll"
    assert bench.check() == private.public_key()
    subject = bench.certificate().subject.rfc4514_string()
    assert subject == "CN=board-1,OU=as the caller likes"
    assert bench.run("reenroll", **own)["event"] == "reenroll"
    assert bench.check() == private.public_key()
    assert bench.certificate().subject.rfc4514_string() == subject


def test_own_request_that_renews(cpython: Bench) -> None:
    """It goes out as it is: the server, not the board, minds other names (RFC 7030 4.2.2)."""
    private = ec.generate_private_key(ec.SECP256R1())
    key = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()).hex()
    own = {"own_key": key, "own_request": own_request(private).hex()}
    assert cpython.run("enroll", **own)["event"] == "enroll"
    own["own_request"] = own_request(private, "CN=board-2").hex()
    assert cpython.run("reenroll", **own)["type"] == "Refused"


def test_own_request_that_is_not_sent(cpython: Bench) -> None:
    private, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    key, wrong = (
        one.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()).hex()
        for one in (private, other)
    )
    request = own_request(private)
    for own_key, sent in (
        (wrong, request),
        (key, request[:-1]),
        (key, request + b"\0"),
        (key, request[:-1] + bytes((request[-1] ^ 1,))),
        (key, request.replace(b"as the caller", b"as THE caller")),
        (key, b"\x30\0"),
    ):
        event = cpython.run("enroll", own_key=own_key, own_request=sent.hex())
        assert event["type"] == "UsageError", event
        assert "request" in event["message"]
    assert cpython.run("enroll", own_request=request.hex())["type"] == "UsageError"
    assert not posted(cpython.server)

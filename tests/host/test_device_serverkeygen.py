"""The device has the test server make its keys, on each runtime."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import board_bench
import pytest
from commands import openssl
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from mpest.server import ServerConfig, running_server
from mpest.server.serverkeygen import ServerKeygenPolicy
from mpest.sim import cpython
from mpest.sim.board_process import Event

cpython.install()

from est import agent, keys, serverkeygen, store  # noqa: E402

SECRET = "000102030405060708090a0b0c0d0e0f"
SECRETS = {"6964": SECRET, "6c6f6e67": SECRET * 2}
PASSWORD = "correct horse"


class Bench(board_bench.Bench):
    """A server, and a board that has it make keys."""

    def run(self, *operations: str, **changes: Any) -> Event:
        return super().run(*(operations or ["serverkeygen"]), **changes)

    def policy(self, **settings: Any) -> None:
        self.server.config.serverkeygen = ServerKeygenPolicy(**settings)

    def check(self) -> str:
        """OpenSSL finds key and certificate to belong together; says the key's kind."""
        cert, key = self.state / "cert.pem", self.state / "key.pem"
        assert key.stat().st_mode & 0o777 == 0o600
        openssl("verify", "-CAfile", self.server.ca_pem, cert)
        openssl("pkey", "-in", key, "-noout", "-check")
        public = openssl("pkey", "-in", key, "-pubout")
        assert public == openssl("x509", "-in", cert, "-noout", "-pubkey")
        return openssl("pkey", "-in", key, "-noout", "-text").splitlines()[0]


@pytest.fixture
def bench(tmp_path: Path, runtime: str) -> Iterator[Bench]:
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        yield Bench(server, tmp_path / "board", runtime, subject="CN=board-1")


def own(key: Any) -> tuple[dict[str, str], str]:
    """(the server's entry for the key, the key as the board gets it)."""
    public = key.public_key()
    name = x509.SubjectKeyIdentifier.from_public_key(public).digest.hex()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return {name: pem}, der.hex()


def test_plain(bench: Bench) -> None:
    for key_type, key_format, kind in (
        ("P-256", "pkcs8", "256 bit"),
        ("P-384", "traditional", "384 bit"),
        ("RSA-2048", "traditional", "2048 bit"),
        ("RSA-2048", "pkcs8", "2048 bit"),
    ):
        bench.policy(key_type=key_type, key_format=key_format)
        # From the second on the board renews by the certificate that it has.
        assert bench.run()["event"] == "serverkeygen"
        assert kind in bench.check()
    issued = [x509.load_der_x509_certificate(row.der) for row in bench.server.issued()]
    assert [one.subject.rfc4514_string() for one in issued] == ["CN=board-1"] * 4
    for one in issued:
        names = one.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert names.value.get_values_for_type(x509.DNSName) == ["board-1.example"]
    # The key that came serves TLS and renewal like any other.
    bench.policy()
    assert bench.run()["event"] == "serverkeygen"
    assert bench.run("reenroll")["event"] == "reenroll"


def test_secret(bench: Bench) -> None:
    for settings, given in (
        ({}, {"decrypt_secret": SECRET, "decrypt_identifier": "6964"}),
        ({"cipher": "aes-128-cbc"}, {"decrypt_secret": SECRET, "decrypt_identifier": "6964"}),
        (
            {"key_format": "package", "cipher": "aes-256-cbc"},
            {"decrypt_secret": SECRET * 2, "decrypt_identifier": "6c6f6e67"},
        ),
        (
            {"key_type": "RSA-2048", "key_format": "traditional", "signed": False},
            {"decrypt_secret": SECRET, "decrypt_identifier": "6964"},
        ),
        ({"psk": SECRET}, {"decrypt_secret": SECRET}),
        ({"psk": SECRET * 2, "signed": False}, {"decrypt_secret": SECRET * 2}),
        ({"password": PASSWORD}, {"decrypt_password": PASSWORD}),
    ):
        bench.policy(secrets=SECRETS, **settings)
        assert bench.run(**given)["event"] == "serverkeygen", settings
        bench.check()


def test_own_key(bench: Bench) -> None:
    transport = rsa.generate_private_key(65537, 2048)
    for key, settings in (
        (ec.generate_private_key(ec.SECP256R1()), {}),
        (ec.generate_private_key(ec.SECP384R1()), {"cipher": "aes-128-cbc", "signed": False}),
        (transport, {"oaep": True}),
        (transport, {"oaep": False, "cipher": "aes-256-cbc"}),
    ):
        public, private = own(key)
        bench.policy(public_keys=public, **settings)
        assert bench.run(decrypt_key=private)["event"] == "serverkeygen", settings
        bench.check()
    # Under another name.
    bench.policy(public_keys={"abcd": next(iter(public.values()))})
    assert bench.run(decrypt_key=private, decrypt_identifier="abcd")["event"] == "serverkeygen"


def test_a_key_of_the_server_decrypts_the_next(bench: Bench) -> None:
    assert bench.run()["event"] == "serverkeygen"
    cert, key = bench.state / "cert.pem", bench.state / "key.pem"
    before = cert.read_bytes()
    der = subprocess.run(
        ["openssl", "pkey", "-in", key, "-outform", "DER"], capture_output=True, check=True
    )
    # The server knows it by the certificate's subject key identifier.
    assert bench.run(decrypt_key=der.stdout.hex())["event"] == "serverkeygen"
    assert cert.read_bytes() != before
    bench.check()


def test_what_lacks_is_named(bench: Bench) -> None:
    public, private = own(ec.generate_private_key(ec.SECP256R1()))
    for settings, given, kind, words in (
        ({"password": PASSWORD}, {}, "UsageError", "password"),
        ({"password": PASSWORD}, {"decrypt_password": "wrong"}, "UsageError", "wrong key"),
        ({"psk": SECRET}, {}, "UsageError", "shared secret"),
        ({"psk": SECRET}, {"decrypt_secret": "ff" * 16}, "PeerError", "wrong key"),
        ({"psk": SECRET}, {"decrypt_secret": "ff" * 32}, "UsageError", "16 bytes"),
        ({}, {"decrypt_secret": SECRET, "decrypt_identifier": "00"}, "Refused", "no secret"),
        ({}, {"decrypt_key": private}, "Refused", "no key known"),
        (
            {"secrets": {"6964": "ff" * 16}},
            {"decrypt_secret": SECRET, "decrypt_identifier": "6964"},
            "PeerError",
            "wrong key",
        ),
        (
            {"public_keys": public, "cipher": "aes-192-cbc"},
            {"decrypt_key": private},
            "Unsupported",
            "not supported",
        ),
    ):
        bench.policy(**settings)
        # An answer that lacks something would stay, and be judged again.
        shutil.rmtree(bench.state, ignore_errors=True)
        event = bench.run(**given)
        assert (event.get("type"), words in event.get("message", "")) == (kind, True), event
        assert not (bench.state / "cert.pem").exists()
        for secret in (PASSWORD, SECRET, "ff" * 16):
            assert secret not in event["message"]


FAULTS = {
    "wrong-key": "another key",
    "wrong-ca": "no trusted certificate",
    "expired-cert": "expired",
    "no-key": "no key",
    "no-certificate": "no certificate",
    "no-certs": "no certificate",
    "two-keys": "two keys",
    "key-as-text": "no key",
    "broken-key": "",
    "wrong-boundary": "boundary",
    "truncated-parts": "",
    "bad-base64": "",
    "empty-body": "boundary",
    "wrong-content-type": "multipart/mixed",
    "truncated-body": "closed",
}


# Many runs each, of which the emulated boards would take minutes.
@pytest.mark.parametrize("runtime", ["cpython", "micropython"], indirect=True)
def test_faults(bench: Bench) -> None:
    public, private = own(ec.generate_private_key(ec.SECP256R1()))
    bench.policy(public_keys=public)
    assert bench.run()["event"] == "serverkeygen"
    kept = [(bench.state / name).read_bytes() for name in ("cert.pem", "key.pem")]
    for fault, words in FAULTS.items():
        for given in ({}, {"decrypt_key": private}):
            bench.server.config.faults = {f"{fault}@serverkeygen"}
            event = bench.run(**given)
            assert event["event"] == "error", (fault, event)
            assert event["type"] in ("PeerError", "NotTrusted"), (fault, event)
            assert words in event["message"], (fault, event)
            assert kept == [(bench.state / name).read_bytes() for name in ("cert.pem", "key.pem")]
    bench.server.config.faults = set()
    assert bench.run()["event"] == "serverkeygen"


@pytest.mark.parametrize("runtime", ["cpython", "micropython"], indirect=True)
def test_unusual_answers_are_understood(bench: Bench) -> None:
    faults = ("certificate-first", "preamble", "raw-der", "chunked", "http10", "extra-certs")
    for fault in (*faults, "no-content-length", "http-201", "reverse-order", "short-length"):
        bench.server.config.faults = {f"{fault}@serverkeygen"}
        assert bench.run()["event"] == "serverkeygen", fault
    bench.server.config.wrap = 0
    bench.server.config.faults = {"certificate-first", "preamble@serverkeygen"}
    assert bench.run()["event"] == "serverkeygen"


def waiting(state: Path) -> list[Any]:
    """The items of the order that is stored, as est.store describes them."""
    found: list[Any] = store.unpack(store.Store(str(state)).load("order"))
    return found


def test_waiting_sends_the_same_request_after_a_restart(bench: Bench) -> None:
    bench.server.config.approve_after = 1
    event = bench.run()
    assert (event["type"], event["seconds"]) == ("RetryLater", 1)
    meta, key, request = waiting(bench.state)
    assert (meta["kind"], meta["state"], key) == ("serverkeygen", "waiting", b"")
    while (event := bench.run())["event"] == "error":
        assert event["type"] == "RetryLater"
        assert waiting(bench.state)[2] == request
    assert event["event"] == "serverkeygen"
    assert not waiting(bench.state)
    bench.check()


def test_a_lost_answer_is_asked_for_again(bench: Bench) -> None:
    bench.server.config.faults = {"cut-after-headers@serverkeygen"}
    assert bench.run()["type"] == "PeerError"
    request = waiting(bench.state)[2]
    assert bench.run()["type"] == "PeerError"
    assert waiting(bench.state)[2] == request
    # An ordinary request is another one. What was asked for before is asked for once more, so that
    # nothing that was issued is lost.
    bench.server.config.faults = set()
    assert bench.run("enroll")["event"] == "enroll"
    assert not waiting(bench.state)
    sent = [event["path"].rpartition("/")[2] for event in bench.server.events if "path" in event]
    assert [one for one in sent if one in ("serverkeygen", "simpleenroll")] == [
        *["serverkeygen"] * 3,
        "simpleenroll",
    ]


class PowerCut(Exception):
    """The power goes."""


class Cut(store.Store):
    """A store that ends with the `left`-th change, done or not."""

    left = 0
    done = False

    def _count(self, change: Any) -> None:
        self.left -= 1
        if self.left or self.done:
            change()
        if not self.left:
            raise PowerCut

    def save(self, name: str, payload: bytes) -> None:
        self._count(lambda: super(Cut, self).save(name, payload))

    def erase(self, name: str) -> None:
        self._count(lambda: super(Cut, self).erase(name))


@pytest.mark.parametrize("runtime", ["cpython"], indirect=True)
@pytest.mark.parametrize("done", [False, True])
def test_power_cuts(bench: Bench, done: bool) -> None:
    bench.policy(secrets=SECRETS)
    anchors = [bytes.fromhex(one) for one in bench.config["anchors"]]

    def enrol(records: store.Store) -> bytes:
        one = agent.Agent(records, bench.server.url, "CN=board-1", trust=anchors)
        given = serverkeygen.Decryption(bytes.fromhex(SECRET), b"id")
        try:
            found: bytes = serverkeygen.enroll(one, given)
            return found
        finally:
            one.close()

    cuts = 0
    answered = []
    for left in range(1, 20):
        bench.state.mkdir(exist_ok=True)
        before = len(bench.server.issued())
        records = Cut(str(bench.state))
        records.left, records.done = left, done
        try:
            enrol(records)
            break
        except PowerCut:
            cuts += 1
        records = store.Store(str(bench.state))
        kept = store.unpack(records.load("identity"))
        if kept:
            leaf = x509.load_der_x509_certificate(kept[2])
            spki = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            assert keys.load(kept[1]).spki() == spki
        issued = len(bench.server.issued())
        leaf_now = enrol(records)
        assert store.unpack(records.load("identity"))[2] == leaf_now
        assert not waiting(bench.state)
        # What was issued is used, whether the answer is stored or was lost, and no other issued.
        # Once it is the identity, asking again renews it.
        answered.append(issued > before and not kept)
        assert (len(bench.server.issued()) == issued) == answered[-1], left
        for path in bench.state.iterdir():
            path.unlink()
    # The order made, and answered; anchors, the identity in both copies; the order erased.
    assert answered == [False, True, True, not done, False, False]
    assert cuts == len(answered)


@pytest.mark.parametrize("runtime", ["cpython"], indirect=True)
def test_no_subject(bench: Bench) -> None:
    assert bench.run(subject=None)["type"] == "UsageError"

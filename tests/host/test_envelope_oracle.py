"""Encrypted CMS: what OpenSSL makes the device reads, what the server makes OpenSSL reads."""

import os
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mpest.server import enveloped
from mpest.server.ca import common_name, new_ca, now
from mpest.server.serverkeygen import ServerKeygenPolicy, Wanted, pack
from mpest.sim import cpython

cpython.install()

from est import envelope, serverkeygen, steps  # noqa: E402
from est.errors import PeerError  # noqa: E402

DATA = "1.2.840.113549.1.7.1"
TEXT = b"a private key \0\r\n of some length"
KEYS: dict[str, Callable[[], Any]] = {
    "RSA-2048": lambda: rsa.generate_private_key(65537, 2048),
    "RSA-3072": lambda: rsa.generate_private_key(65537, 3072),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
}
OAEP = ("-keyopt", "rsa_padding_mode:oaep")
CIPHERS = ("aes-128-cbc", "aes-256-cbc", "aes-128-gcm", "aes-256-gcm")


def openssl(*arguments: str | Path, data: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *arguments], input=data, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def pem(key: Any) -> bytes:
    plain: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return plain


def traditional(key: Any) -> bytes:
    plain: bytes = key.private_bytes(
        Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )
    return plain


def identifier(key: Any) -> bytes:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest


@pytest.fixture
def recipient(tmp_path: Path) -> Callable[[str], Any]:
    """Makes a key of the type, with key.pem and cert.pem."""

    def make(kind: str) -> Any:
        key = KEYS[kind]()
        name = common_name("recipient")
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now())
            .not_valid_after(now() + timedelta(days=1))
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        (tmp_path / "key.pem").write_bytes(pem(key))
        return key

    return make


def decrypted(data: bytes, **given: Any) -> bytes:
    _, content = steps.run(envelope.decrypt(data, **given))
    return bytes(content)


@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize("cipher", CIPHERS)
def test_openssl_to_secret(cipher: str, size: int) -> None:
    secret = os.urandom(size)
    to = ("-secretkey", secret.hex(), "-secretkeyid", "6964")
    data = openssl("cms", "-encrypt", "-binary", f"-{cipher}", *to, "-outform", "DER", data=TEXT)
    assert decrypted(data, secret=secret, identifier=b"id") == TEXT


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("RSA-2048", ()),
        ("RSA-3072", OAEP),
        ("RSA-2048", (*OAEP, "-keyopt", "rsa_oaep_md:sha256")),
        ("RSA-2048", (*OAEP, "-keyopt", "rsa_oaep_md:sha384", "-keyopt", "rsa_mgf1_md:sha1")),
        ("P-256", ()),
        ("P-256", ("-keyid", "-keyopt", "ecdh_kdf_md:sha256", "-aes256-wrap")),
        ("P-256", ("-keyopt", "ecdh_kdf_md:sha512", "-keyopt", "ecdh_cofactor_mode:1")),
        ("P-384", ("-keyopt", "ecdh_kdf_md:sha384", "-aes128-wrap")),
    ],
)
def test_openssl_to_key(
    recipient: Callable[[str], Any],
    tmp_path: Path,
    kind: str,
    options: tuple[str, ...],
    cipher: str,
) -> None:
    key = recipient(kind)
    to = ("-recip", tmp_path / "cert.pem", *options)
    data = openssl("cms", "-encrypt", "-binary", f"-{cipher}", "-outform", "DER", *to, data=TEXT)
    assert decrypted(data, private=traditional(key)) == TEXT


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("kind", ["secret", "RSA-2048", "RSA-2048-oaep", "P-256", "P-384"])
def test_server_to_openssl(
    recipient: Callable[[str], Any], tmp_path: Path, kind: str, cipher: Any
) -> None:
    oaep = kind.endswith("-oaep")
    kind = kind.removesuffix("-oaep")
    given: dict[str, Any]
    if kind == "secret":
        secret = os.urandom(32)
        to = enveloped.to_secret(b"id", secret)
        with_key: tuple[str | Path, ...] = ("-secretkey", secret.hex(), "-secretkeyid", "6964")
        given = {"secret": secret, "identifier": b"id"}
    else:
        key = recipient(kind)
        name = identifier(key)
        if kind.startswith("RSA"):
            to = enveloped.to_rsa(name, key.public_key(), oaep=oaep)
        else:
            to = enveloped.to_ec(name, key.public_key())
        with_key = ("-recip", tmp_path / "cert.pem", "-inkey", tmp_path / "key.pem")
        given = {"private": traditional(key)}
    data = enveloped.envelop(DATA, TEXT, cipher, to)
    assert openssl("cms", "-decrypt", "-inform", "DER", *with_key, data=data) == TEXT
    assert decrypted(data, **given) == TEXT
    # Of CBC the octet that turns up in the padding; a change of the last block may leave one.
    at = len(data) - (17 if "cbc" in cipher else 1)
    changed = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
    with pytest.raises(PeerError, match="changed data"):
        decrypted(changed, **given)


@pytest.mark.parametrize("key_format", ["pkcs8", "traditional", "package"])
def test_signed_inside(tmp_path: Path, key_format: str) -> None:
    """OpenSSL takes the server's key out of its envelope and verifies who signed it."""
    secret = os.urandom(16)
    ca = new_ca("a CA")
    (tmp_path / "ca.pem").write_bytes(ca.certificate.public_bytes(Encoding.PEM))
    policy = ServerKeygenPolicy(secrets={"6964": secret.hex()}, key_format=key_format)
    key = KEYS["P-256"]()
    part = pack(key, policy, Wanted(secret=b"id"), ca, [ca.certificate], [])
    assert part.content_type == "application/pkcs7-mime; smime-type=server-generated-key"
    to = ("-secretkey", secret.hex(), "-secretkeyid", "6964")
    inside = openssl("cms", "-decrypt", "-inform", "DER", *to, data=part.der)
    signed = tmp_path / "signed.der"
    # What was encrypted is SignedData, of which the ContentInfo around it is left out.
    signed.write_bytes(enveloped.with_info("1.2.840.113549.1.7.2", inside))
    trust = ("-CAfile", tmp_path / "ca.pem", "-purpose", "any")
    content = openssl("cms", "-verify", "-binary", "-inform", "DER", "-in", signed, *trust)
    given = (secret, b"id", None, None)
    anchors = [ca.certificate.public_bytes(Encoding.DER)]
    ours = steps.run(serverkeygen.unwrap(part.der, given, (), anchors, int(now().timestamp())))
    assert content.endswith(ours)
    found = openssl("pkey", "-inform", "DER", data=ours)
    assert found == openssl("pkey", data=pem(key))

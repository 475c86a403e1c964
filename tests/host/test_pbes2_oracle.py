"""est.pbes2 against what cryptography and openssl write."""

import os
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mpest.sim import cpython

cpython.install()

from est import keys, pbes2, rsa_key, steps  # noqa: E402
from est.errors import UsageError  # noqa: E402

PASSWORD = "pässword".encode()


def decrypt(data: bytes, password: bytes = PASSWORD) -> bytes:
    plain: bytes = steps.run(pbes2.decrypt(data, password))
    return plain


def test_cryptography() -> None:
    private = rsa.generate_private_key(65537, 2048)
    der, pkcs8 = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8
    encryption = serialization.BestAvailableEncryption(PASSWORD)
    plain = private.private_bytes(der, pkcs8, serialization.NoEncryption())
    found = decrypt(private.private_bytes(der, pkcs8, encryption))
    assert found == plain
    assert rsa_key.load(found).n == private.public_key().public_numbers().n


@pytest.mark.parametrize("cipher", ["aes-128-cbc", "aes-256-cbc"])
@pytest.mark.parametrize("prf", ["SHA1", "SHA256", "SHA384", "SHA512"])
def test_openssl(cipher: str, prf: str) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    written = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    encrypted = openssl(written, "-v2", cipher, "-v2prf", f"hmacWith{prf}")
    key = keys.load(decrypt(encrypted))
    expected = private.private_numbers().private_value.to_bytes(32, "big")
    assert expected in key.der()
    with pytest.raises(UsageError):
        keys.load(decrypt(encrypted, b"another"))


@pytest.mark.parametrize("options", [("-v2", "aes-192-cbc"), ("-v2", "des3"), ("-scrypt",)])
def test_openssl_in_other_ways(options: tuple[str, ...]) -> None:
    private = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with pytest.raises(UsageError, match="only PBES2"):
        decrypt(openssl(private, *options))


def openssl(pem: bytes, *options: str) -> bytes:
    """The private key `pem` as EncryptedPrivateKeyInfo DER."""
    done = subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-outform", "DER", "-passout", "env:PASS", *options],
        input=pem,
        env={**os.environ, "PASS": PASSWORD.decode()},
        capture_output=True,
        check=True,
    )
    return done.stdout

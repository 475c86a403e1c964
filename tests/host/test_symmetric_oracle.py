"""Hashes, HMAC, key derivation, key wrap, AES-CBC and AES-GCM against hashlib and cryptography."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives import hashes as hazmat_hashes
from cryptography.hazmat.primitives import keywrap as hazmat_keywrap
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.padding import PKCS7
from hypothesis import given
from hypothesis import strategies as st

from mpest.sim import cpython

cpython.install()

from est import cbc, gcm, hashes, kdf, keywrap, sha512, steps  # noqa: E402
from est.errors import PeerError  # noqa: E402

NAMES = {20: "sha1", 32: "sha256", 48: "sha384", 64: "sha512"}
SIZES = st.sampled_from(sorted(NAMES))
KEYS = st.binary(min_size=16, max_size=16) | st.binary(min_size=32, max_size=32)


@given(st.sampled_from((48, 64)), st.lists(st.binary(max_size=300), max_size=4))
def test_sha512(size: int, parts: list[bytes]) -> None:
    ours = (sha512.sha384 if size == 48 else sha512.sha512)()
    theirs = hashlib.new(NAMES[size])
    for part in parts:
        ours.update(part)
        theirs.update(part)
        assert ours.digest() == theirs.digest()


@given(SIZES, st.binary(max_size=300), st.lists(st.binary(max_size=300), max_size=3))
def test_hmac(size: int, key: bytes, parts: list[bytes]) -> None:
    assert hashes.hmac(size, key, *parts) == hmac.digest(key, b"".join(parts), NAMES[size])


@given(SIZES, st.binary(max_size=100), st.binary(max_size=30), st.integers(1, 256))
def test_x963(size: int, secret: bytes, info: bytes, length: int) -> None:
    algorithm = {20: hazmat_hashes.SHA1, 32: hazmat_hashes.SHA256, 48: hazmat_hashes.SHA384}
    theirs = X963KDF(algorithm.get(size, hazmat_hashes.SHA512)(), length, info)
    assert kdf.x963(size, secret, length, info) == theirs.derive(secret)


@given(SIZES, st.binary(), st.binary(), st.integers(1, 40), st.integers(1, 100))
def test_pbkdf2(size: int, password: bytes, salt: bytes, iterations: int, length: int) -> None:
    ours = steps.run(kdf.pbkdf2(size, password, salt, iterations, length))
    assert ours == hashlib.pbkdf2_hmac(NAMES[size], password, salt, iterations, length)


@given(KEYS, st.integers(2, 64).flatmap(lambda n: st.binary(min_size=8 * n, max_size=8 * n)))
def test_keywrap(kek: bytes, key: bytes) -> None:
    wrapped = hazmat_keywrap.aes_key_wrap(kek, key)
    assert keywrap.wrap(kek, key) == wrapped
    assert keywrap.unwrap(kek, wrapped) == key


@given(KEYS, st.binary(min_size=24, max_size=64))
def test_unwrap_of_anything(kek: bytes, data: bytes) -> None:
    with pytest.raises(PeerError):
        keywrap.unwrap(kek, data)


@given(KEYS, st.binary(min_size=16, max_size=16), st.binary(max_size=100))
def test_cbc(key: bytes, iv: bytes, data: bytes) -> None:
    padder = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    encrypted = encryptor.update(padder.update(data) + padder.finalize())
    assert cbc.encrypt(key, iv, data) == encrypted
    assert cbc.decrypt(key, iv, encrypted) == data


@given(KEYS, st.binary(min_size=8, max_size=40), st.binary(max_size=100), st.binary(max_size=40))
def test_gcm(key: bytes, nonce: bytes, data: bytes, associated: bytes) -> None:
    encrypted = AESGCM(key).encrypt(nonce, data, associated)
    args = (key, nonce, encrypted[:-16], encrypted[-16:], associated)
    assert steps.run(gcm.decrypt(*args)) == data

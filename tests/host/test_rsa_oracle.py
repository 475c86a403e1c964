"""est.rsa and its siblings against the cryptography package, in both directions."""

import datetime
import functools

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes as hazmat_hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric import rsa as hazmat_rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from mpest.sim import cpython

cpython.install()

from est import der, hashes, rsa, rsa_decrypt, rsa_key, rsa_pss, steps  # noqa: E402
from est.errors import Unsupported  # noqa: E402

BITS = st.sampled_from((2048, 2049, 2050, 2055, 3072, 4096))
SIZES = st.sampled_from((32, 48, 64))
ALGORITHMS: dict[int, hazmat_hashes.HashAlgorithm] = {
    20: hazmat_hashes.SHA1(),
    32: hazmat_hashes.SHA256(),
    48: hazmat_hashes.SHA384(),
    64: hazmat_hashes.SHA512(),
}


@functools.cache
def private(bits: int) -> hazmat_rsa.RSAPrivateKey:
    return hazmat_rsa.generate_private_key(65537, bits)


@functools.cache
def our_private(bits: int) -> rsa_key.RsaKey:
    return rsa_key.load(stored(bits, serialization.PrivateFormat.PKCS8))


def stored(bits: int, form: serialization.PrivateFormat) -> bytes:
    none = serialization.NoEncryption()
    return private(bits).private_bytes(serialization.Encoding.DER, form, none)


def public_key(bits: int) -> rsa.PublicKey:
    return rsa.load(
        private(bits)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    )


@settings(deadline=None)
@given(BITS, st.sampled_from((20, 32, 48, 64)), st.binary(max_size=200))
def test_verify(bits: int, size: int, message: bytes) -> None:
    key = public_key(bits)
    signature = private(bits).sign(message, padding.PKCS1v15(), ALGORITHMS[size])
    digest = hashes.new(size, message).digest()
    assert key.verify(digest, signature)
    assert not key.verify(hashes.new(size, message + b"x").digest(), signature)
    assert not rsa_pss.verify(key, digest, signature, size)


@settings(deadline=None)
@given(BITS, SIZES, st.binary(max_size=200), st.integers(0, 126))
def test_verify_pss(bits: int, size: int, message: bytes, salt: int) -> None:
    key = public_key(bits)
    algorithm = ALGORITHMS[size]
    scheme = padding.PSS(padding.MGF1(algorithm), salt)
    signature = private(bits).sign(message, scheme, algorithm)
    digest = hashes.new(size, message).digest()
    assert rsa_pss.verify(key, digest, signature, salt)
    assert not rsa_pss.verify(key, digest, signature, salt + 1)
    assert not rsa_pss.verify(key, digest, signature, salt - 1 if salt else 1 << 70)
    assert not rsa_pss.verify(key, hashes.new(size, message + b"x").digest(), signature, salt)
    assert not rsa_pss.verify(key, digest, signature[:-1], salt)
    assert not key.verify(digest, signature)


def longest_salt(bits: int, size: int) -> int:
    return (bits + 6) // 8 - size - 2


@pytest.mark.parametrize("bits", [2048, 2049])
def test_verify_pss_with_the_longest_salt(bits: int) -> None:
    scheme = padding.PSS(padding.MGF1(ALGORITHMS[32]), padding.PSS.MAX_LENGTH)
    signature = private(bits).sign(b"message", scheme, ALGORITHMS[32])
    digest = hashes.new(32, b"message").digest()
    salt = longest_salt(bits, 32)
    assert rsa_pss.verify(public_key(bits), digest, signature, salt)
    assert not rsa_pss.verify(public_key(bits), digest, signature, salt + 1)


def certificate(size: int, mask: int, salt: int) -> x509.Certificate:
    name = x509.Name([])
    now = datetime.datetime(2025, 1, 1)
    builder = x509.CertificateBuilder(
        name, name, private(2048).public_key(), 1, now, now + datetime.timedelta(1)
    )
    scheme = padding.PSS(padding.MGF1(ALGORITHMS[mask]), salt)
    return builder.sign(private(2048), ALGORITHMS[size], rsa_padding=scheme)


def parameters(found: x509.Certificate) -> der.Reader:
    outer = der.Reader(found.public_bytes(serialization.Encoding.DER)).enter()
    outer.skip()
    algorithm = outer.enter()
    assert algorithm.oid().hex() == "2a864886f70d01010a"
    return algorithm


@settings(deadline=None)
@given(SIZES, st.integers(0, 150))
def test_parameters(size: int, salt: int) -> None:
    found = certificate(size, size, salt)
    assert rsa_pss.parameters(parameters(found)) == (size, salt)
    digest = hashes.new(size, found.tbs_certificate_bytes).digest()
    assert rsa_pss.verify(public_key(2048), digest, found.signature, salt)
    if salt == size:
        assert rsa_pss.algorithm(size) in found.public_bytes(serialization.Encoding.DER)


def test_our_parameters() -> None:
    for size in (32, 48, 64):
        ours = rsa_pss.algorithm(size)
        assert ours in certificate(size, size, size).public_bytes(serialization.Encoding.DER)


def test_another_mask_is_refused() -> None:
    with pytest.raises(Unsupported):
        rsa_pss.parameters(parameters(certificate(32, 48, 32)))


@pytest.mark.parametrize("bits", [2048, 2055, 4096])
def test_keys(bits: int) -> None:
    traditional = stored(bits, serialization.PrivateFormat.TraditionalOpenSSL)
    for form in serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL:
        assert rsa_key.load(stored(bits, form)).der() == traditional
    public = private(bits).public_key()
    assert serialization.load_der_public_key(our_private(bits).spki()) == public


@settings(deadline=None, max_examples=30)
@given(BITS, SIZES, st.binary(max_size=200))
def test_sign(bits: int, size: int, message: bytes) -> None:
    key = our_private(bits)
    digest = hashes.new(size, message).digest()
    algorithm = ALGORITHMS[size]
    public = private(bits).public_key()
    scheme = padding.PKCS1v15()
    signature = steps.run(key.signature(digest))
    assert signature == private(bits).sign(message, scheme, algorithm)
    pss = padding.PSS(padding.MGF1(algorithm), size)
    public.verify(steps.run(key.pss_signature(digest)), message, pss, algorithm)
    public.verify(key.sign(message)[1], message, scheme, ALGORITHMS[32])


@settings(deadline=None, max_examples=30)
@given(BITS, st.binary(max_size=245))
def test_decrypt(bits: int, message: bytes) -> None:
    encrypted = private(bits).public_key().encrypt(message, padding.PKCS1v15())
    found = steps.run(rsa_decrypt.pkcs1(our_private(bits), encrypted, len(message)))
    assert found == message


@settings(deadline=None, max_examples=30)
@given(
    BITS,
    st.sampled_from((20, 32, 48, 64)),
    st.sampled_from((20, 32, 48, 64)),
    st.binary(max_size=126),
    st.binary(max_size=40),
)
def test_decrypt_oaep(bits: int, size: int, mask: int, message: bytes, label: bytes) -> None:
    scheme = padding.OAEP(padding.MGF1(ALGORITHMS[mask]), ALGORITHMS[size], label)
    encrypted = private(bits).public_key().encrypt(message, scheme)
    found = rsa_decrypt.oaep(our_private(bits), encrypted, size, mask, label)
    assert steps.run(found) == message

"""est.ec against the cryptography package, in both directions."""

import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from mpest import tables
from mpest.sim import cpython

cpython.install()

from est import curves, key_forms, keys, p256_comb5x2, p256_comb7x2  # noqa: E402
from est import hashes as est_hashes  # noqa: E402
from est.ec import P256  # noqa: E402

N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ALGORITHM = ec.ECDSA(hashes.SHA256())
SCALARS = st.integers(1, N - 1) | st.integers(1, 40) | st.integers(N - 40, N - 1)


def oracle(scalar: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(scalar, ec.SECP256R1())


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


@settings(deadline=None)
@given(SCALARS, st.binary(max_size=80))
def test_signatures(scalar: int, message: bytes) -> None:
    private = scalar.to_bytes(32, "big")
    key = oracle(scalar)
    digest = hashlib.sha256(message).digest()
    assert P256.public(private) == point(key)
    key.public_key().verify(P256.sign(private, digest), message, ALGORITHM)
    signature = key.sign(message, ALGORITHM)
    assert P256.verify(point(key), digest, signature)
    assert not P256.verify(point(key), hashlib.sha256(message + b"x").digest(), signature)


@settings(deadline=None)
@given(SCALARS, st.binary(max_size=80))
def test_rfc6979(scalar: int, message: bytes) -> None:
    expected = oracle(scalar).sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    digest = hashlib.sha256(message).digest()
    assert P256.sign(scalar.to_bytes(32, "big"), digest, lambda count: b"") == expected


@settings(deadline=None)
@given(SCALARS, SCALARS)
def test_ecdh(ours: int, theirs: int) -> None:
    expected = oracle(ours).exchange(ec.ECDH(), oracle(theirs).public_key())
    assert P256.ecdh(ours.to_bytes(32, "big"), point(oracle(theirs))) == expected


@given(SCALARS)
def test_keys(scalar: int) -> None:
    key = keys.P256Key(scalar.to_bytes(32, "big"))
    for der in (key.der(), key_forms.pkcs8(key)):
        loaded = serialization.load_der_private_key(der, None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        assert loaded.private_numbers().private_value == scalar
    signature = key.sign(b"message")[1]
    spki = serialization.load_der_public_key(key.spki())
    assert isinstance(spki, ec.EllipticCurvePublicKey)
    with pytest.raises(InvalidSignature):
        spki.verify(signature, b"other", ALGORITHM)


LARGER = {"P-384": (curves.P384, ec.SECP384R1(), 48), "P-521": (curves.P521, ec.SECP521R1(), 64)}
HASHES = {48: hashes.SHA384(), 64: hashes.SHA512()}


@settings(deadline=None, max_examples=15)
@given(st.sampled_from(sorted(LARGER)), st.integers(1, 1 << 383), st.binary(max_size=80))
def test_larger_curves(name: str, scalar: int, message: bytes) -> None:
    curve, theirs, size = LARGER[name]
    key = ec.derive_private_key(scalar, theirs)
    algorithm = ec.ECDSA(HASHES[size], deterministic_signing=True)
    private = scalar.to_bytes(curve.size, "big")
    digest = est_hashes.new(size, message).digest()
    assert curve.public(private) == point(key)
    signature = key.sign(message, algorithm)
    assert curve.verify(point(key), digest, signature)
    assert not curve.verify(point(key), est_hashes.new(size, b"x" + message).digest(), signature)
    if name == "P-384":
        assert curve.sign(private, digest, lambda count: b"") == signature
        key.public_key().verify(curve.sign(private, digest), message, algorithm)
    other = ec.generate_private_key(theirs)
    assert curve.ecdh(private, point(other)) == key.exchange(ec.ECDH(), other.public_key())


def test_tables_are_what_the_generator_writes() -> None:
    for width, parts, module in ((5, 2, p256_comb5x2), (7, 2, p256_comb7x2)):
        source: dict[str, bytes] = {}
        exec(tables.p256_comb(width, parts), source)
        assert source["TABLE"] == module.TABLE

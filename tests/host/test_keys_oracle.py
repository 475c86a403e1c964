"""Private keys as the cryptography package writes and reads them, in both directions."""

from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from mpest.sim import cpython

cpython.install()

from est import csr, ec_key, key_forms, keys, own_request  # noqa: E402
from est.errors import UsageError  # noqa: E402

CURVES = {
    "P-256": (ec.SECP256R1(), "2a8648ce3d030107"),
    "P-384": (ec.SECP384R1(), "2b81040022"),
}
ORDERS = {
    "P-256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "P-384": (1 << 384) - 0x389CB27E0BC8D220A7E5F24DB74F58851313E695333AD68D,
}
HASHES = {32: hashes.SHA256(), 48: hashes.SHA384(), 64: hashes.SHA512()}
PLAIN = NoEncryption()
FORMS = [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL]
NAMES = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=20)


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@st.composite
def ec_keys(draw: st.DrawFn) -> ec.EllipticCurvePrivateKey:
    name = draw(st.sampled_from(sorted(CURVES)))
    last = ORDERS[name] - 1
    # Short ones too, which begin with zeros.
    scalar = draw(st.integers(1, last) | st.integers(1, 1 << 64) | st.integers(last - 9, last))
    return ec.derive_private_key(scalar, CURVES[name][0])


ALL = ec_keys() | st.sampled_from([2048, 3072]).map(rsa_key)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def spki(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def written(
    key: Key,
    form: PrivateFormat = PrivateFormat.PKCS8,
    encryption: KeySerializationEncryption = PLAIN,
) -> bytes:
    return key.private_bytes(Encoding.DER, form, encryption)


@settings(deadline=None)
@given(ALL, st.sampled_from(FORMS))
def test_theirs(key: Key, form: PrivateFormat) -> None:
    found = keys.load(written(key, form))
    assert found.spki() == spki(key)
    assert found.der() == written(key, PrivateFormat.TraditionalOpenSSL)
    assert written(load_der_private_key(key_forms.pkcs8(found), None)) == written(key)


@settings(deadline=None, max_examples=10)
@given(ALL, st.binary(min_size=1, max_size=40))
def test_theirs_under_a_password(key: Key, password: bytes) -> None:
    encrypted = written(key, PrivateFormat.PKCS8, BestAvailableEncryption(password))
    assert keys.load(encrypted, password).spki() == spki(key)
    with pytest.raises(UsageError):
        keys.load(encrypted)


@settings(deadline=None)
@given(st.sampled_from(sorted(CURVES)))
def test_ours(name: str) -> None:
    key = ec_key.EcKey(bytes.fromhex(CURVES[name][1]))
    for data in (key.der(), key_forms.pkcs8(key)):
        loaded = load_der_private_key(data, None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        assert loaded.curve.name == CURVES[name][0].name
        assert spki(loaded) == key.spki()


@settings(deadline=None, max_examples=40)
@given(ALL, st.sampled_from(sorted(HASHES)), st.binary(max_size=99))
def test_our_signatures(key: Key, size: int, message: bytes) -> None:
    ours = key_forms.load(written(key))
    ours.hash_size = size
    signature = ours.sign(message)[1]
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        public.verify(signature, message, padding.PKCS1v15(), HASHES[size])
    else:
        public.verify(signature, message, ec.ECDSA(HASHES[size]))


@settings(deadline=None, max_examples=40)
@given(ALL, st.sampled_from(sorted(HASHES)), NAMES)
def test_our_requests(key: Key, size: int, name: str) -> None:
    ours = key_forms.load(written(key))
    ours.hash_size = size
    request = x509.load_der_x509_csr(csr.build(ours, "CN=" + name))
    assert request.is_signature_valid
    assert request.public_key() == key.public_key()
    assert isinstance(request.signature_hash_algorithm, type(HASHES[size]))


@settings(deadline=None, max_examples=40)
@given(ALL, st.sampled_from(sorted(HASHES)), NAMES)
def test_their_requests(key: Key, size: int, name: str) -> None:
    subject = x509.Name.from_rfc4514_string("CN=" + name)
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
    request = builder.sign(key, HASHES[size]).public_bytes(Encoding.DER)
    assert own_request.check(request, written(key)) == (keys.load(written(key)).der(), request)


@settings(deadline=None)
@given(st.data())
def test_changed(data: st.DataObject) -> None:
    """A key that was changed is refused, or is whole: its halves belong together."""
    key = bytearray(written(data.draw(ALL), data.draw(st.sampled_from(FORMS))))
    for _ in range(data.draw(st.integers(1, 3))):
        key[data.draw(st.integers(0, len(key) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = keys.load(bytes(key))
    except UsageError:
        return
    loaded = load_der_private_key(found.der(), None)
    assert isinstance(loaded, Key)
    assert spki(loaded) == found.spki()


@pytest.mark.parametrize(
    "key",
    [
        ec.derive_private_key(7, ec.SECP521R1()),
        ec.derive_private_key(7, ec.SECP256K1()),
        ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)),
    ],
    ids=["P-521", "secp256k1", "Ed25519"],
)
def test_other_kinds(key: Key) -> None:
    with pytest.raises(UsageError, match="is not supported"):
        keys.load(written(key))

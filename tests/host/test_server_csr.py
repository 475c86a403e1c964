"""Which requests are refused, and how any input at all is answered."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from pyasn1.codec.der.decoder import decode
from pyasn1.type import univ
from server_client import (
    PKCS10,
    body_of,
    certificates,
    connect,
    enroll,
    make_csr,
    names,
    new_key,
)

from mpest.server import EstServer, ServerConfig, der, secret
from mpest.server.ca import new_ca, now
from mpest.server.csr_policy import check_csr, read_csr
from mpest.server.wire import Refused

DER = make_csr(extensions=[names("board.example")]).public_bytes(Encoding.DER)
KEY = new_key()
CA = new_ca("test")


def refusal(csr):
    with pytest.raises(Refused) as caught:
        check_csr(csr)
    assert caught.value.reply.status == 400
    return str(caught.value)


def purposes(*oids):
    return x509.ExtendedKeyUsage([x509.ObjectIdentifier(oid) for oid in oids])


async def test_refusals_reach_the_client_as_text(tmp_path):
    bodies = {
        b"": "empty",
        b"AAAA*": "base64",
        b"AAAA": "PKCS#10",
        b"\x30\x82\xff": "PKCS#10",
        b"-----BEGIN A-----\nAAAA\n-----END A-----\n": "PKCS#10",
        b"-----BEGIN A-----": "base64",
    }
    async with EstServer(ServerConfig(directory=tmp_path / "ca")) as server:
        async with connect(server) as session:
            for body, word in bodies.items():
                async with session.post("simpleenroll", data=body, headers=PKCS10) as answer:
                    assert answer.status == 400
                    assert answer.content_type == "text/plain"
                    assert word in await answer.text()
        assert server.issued() == []
        assert server.events[-3]["reason"].startswith("the body is not a PKCS#10")


async def test_other_forms_are_taken_and_noted(server):
    bodies = {
        make_csr().public_bytes(Encoding.DER): "binary DER",
        make_csr().public_bytes(Encoding.PEM): "PEM",
        b"a line of text\n" + make_csr().public_bytes(Encoding.PEM) + b"\n\n": "PEM",
    }
    async with connect(server) as session:
        for body, word in bodies.items():
            async with session.post("simpleenroll", data=body, headers=PKCS10) as answer:
                assert answer.status == 200
            assert f"came as {word}" in server.events[-1]["reason"]


def without_attributes(key, *, damage=False):
    """A request that leaves out the field attributes, as Bouncy Castle can make it."""
    elements = univ.SequenceOf(componentType=univ.Any())
    whole = make_csr(key=key).public_bytes(Encoding.DER)
    (information, algorithm, _), _ = decode(whole, asn1Spec=elements)
    (*fields, attributes), _ = decode(bytes(information), asn1Spec=elements)
    assert bytes(attributes) == b"\xa0\0"
    signed = der.sequence(*map(bytes, fields))
    scheme = [ec.ECDSA(hashes.SHA256())]
    if isinstance(key, rsa.RSAPrivateKey):
        scheme = [padding.PKCS1v15(), hashes.SHA256()]
    signature = key.sign(b"another" if damage else signed, *scheme)
    return der.sequence(signed, bytes(algorithm), der.tlv(0x03, b"\0", signature))


@pytest.mark.parametrize(
    "key", [new_key(), rsa.generate_private_key(65537, 2048)], ids=["EC", "RSA"]
)
async def test_requests_without_attributes(server, key):
    body = base64.b64encode(without_attributes(key))
    async with connect(server) as session:
        async with session.post("simpleenroll", data=body, headers=PKCS10) as answer:
            assert answer.status == 200
            assert certificates(await answer.read())[0].public_key() == key.public_key()
        body = base64.b64encode(without_attributes(key, damage=True))
        async with session.post("simpleenroll", data=body, headers=PKCS10) as answer:
            assert answer.status == 400
            assert "signature is wrong" in await answer.text()


def test_wrong_signature():
    broken = bytearray(DER)
    broken[-1] ^= 1
    assert "signature is wrong" in refusal(x509.load_der_x509_csr(bytes(broken)))


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
        rsa.generate_private_key(65537, 1024),
    ],
)
def test_keys_refused(key):
    assert "key is not allowed" in refusal(make_csr(key=key))


def test_a_small_rsa_exponent_is_refused():
    key = rsa.generate_private_key(3, 2048)
    assert "exponent is below 65537" in refusal(make_csr(key=key))


def test_ed25519_is_refused():
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name.from_rfc4514_string("CN=board-1")
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, None)
    assert "not allowed" in refusal(csr)


def test_rsa_2048_is_granted():
    key = rsa.generate_private_key(65537, 2048)
    assert check_csr(make_csr(key=key)).public_key == key.public_key()


def test_empty_and_giant_subject():
    assert "Subject is empty" in refusal(make_csr(""))
    giant = ",".join(f"OU={'x' * 60}" for _ in range(20))
    assert "longer" in refusal(make_csr(giant))


@pytest.mark.parametrize(
    ("extension", "word"),
    [
        (x509.BasicConstraints(True, None), "BasicConstraints"),
        (x509.KeyUsage(True, *[False] * 4, True, *[False] * 3), "keyCertSign"),
        (x509.KeyUsage(True, *[False] * 5, True, *[False] * 2), "keyCertSign"),
        (purposes("1.3.6.1.5.5.7.3.3"), "1.3.6.1.5.5.7.3.3"),
        (purposes("1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.28"), "1.3.6.1.5.5.7.3.28"),
        (x509.UnrecognizedExtension(x509.OID_SUBJECT_ALTERNATIVE_NAME, b"\x30\x01"), "read"),
    ],
)
def test_extensions_refused(extension, word):
    assert word in refusal(make_csr(extensions=[extension]))


async def test_challenge_password(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca")
    async with EstServer(config) as server, connect(server) as session:
        assert (await enroll(session, make_csr(password=b"kept")))[0] == 200
        record = server.issued()[0].challenge_password
        assert [secret.fits(text, record) for text in ("kept", "Kept")] == [True, False]
        server.config.challenge_password = "right"
        assert (await enroll(session, make_csr(password=b"right")))[0] == 200
        for password in (None, b"wrong", "é".encode()):
            status, text, _ = await enroll(session, make_csr(password=password))
            assert status == 400
            assert "challengePassword" in text
        assert "right" not in str(server.events)


@given(st.lists(st.tuples(st.integers(0, len(DER) - 1), st.integers(0, 255)), max_size=6))
def test_damaged_der_is_refused_or_granted_never_crashes(changes):
    damaged = bytearray(DER)
    for position, value in changes:
        damaged[position] = value
    try:
        order = check_csr(read_csr(base64.b64encode(damaged)))
    except Refused as refused:
        assert refused.reply.status == 400
        assert damaged != DER
    else:
        assert damaged == DER
        assert order.san == names("board.example")


@given(st.binary(max_size=200))
def test_any_body_is_refused_as_400(body):
    with pytest.raises(Refused) as caught:
        read_csr(body)
    assert caught.value.reply.status == 400


@given(
    st.lists(st.integers(0, 600), max_size=30),
    st.sampled_from([" ", "\n", "\r\n", "\t", " \r\n\t"]),
)
def test_white_space_anywhere(positions, space):
    text = base64.b64encode(DER).decode()
    for position in sorted(positions, reverse=True):
        text = text[:position] + space + text[position:]
    assert read_csr(text.encode()).public_bytes(Encoding.DER) == DER


@given(
    st.dictionaries(
        st.sampled_from([NameOID.COMMON_NAME, NameOID.LOCALITY_NAME, NameOID.USER_ID]),
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=16),
        min_size=1,
    )
)
@settings(max_examples=30, deadline=None)
def test_any_subject_is_granted_unchanged(parts):
    name = x509.Name([x509.NameAttribute(kind, text) for kind, text in parts.items()])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    order = check_csr(read_csr(body_of(builder.sign(KEY, hashes.SHA256()))))
    assert CA.sign(order, now()).subject == name


@pytest.mark.parametrize(
    ("san", "words"),
    [
        ("30058703010203", "an alternative name is an IP address of neither 4 nor 16 octets"),
        ("30028700", "an alternative name is an IP address of neither 4 nor 16 octets"),
        ("300787050102030405", "an alternative name is an IP address of neither 4 nor 16 octets"),
        ("3006a40430020101", "its DER is malformed in subject_alternative_name"),
        ("0500", "its DER is malformed in subject_alternative_name"),
    ],
)
def test_what_is_malformed_is_told_in_words(san, words):
    oid = x509.SubjectAlternativeName.oid
    csr = make_csr(extensions=[x509.UnrecognizedExtension(oid, bytes.fromhex(san))])
    assert refusal(csr) == f"the request can't be read: {words}"


def test_a_body_of_other_der_is_told_in_words():
    with pytest.raises(Refused) as caught:
        read_csr(base64.b64encode(b"\x30\x03\x02\x01\x05"))
    assert str(caught.value) == "the body is not a PKCS#10 request: its DER is malformed"

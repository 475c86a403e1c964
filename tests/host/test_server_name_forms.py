"""Alternative names that are malformed, each as its octets: none is issued."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from server_client import certificates, connect, enroll, make_csr

from mpest.server import EstServer, der
from mpest.server.csr_policy import check_csr, parse_csr
from mpest.server.wire import Refused

OTHER, EMAIL, DNS, X400, DIRECTORY, EDI, URI, IP, ID = (
    0xA0, 0x81, 0x82, 0xA3, 0xA4, 0xA5, 0x86, 0x87, 0x88,
)  # fmt: skip
LABEL = b"a" * 63
UPN = der.oid("1.3.6.1.4.1.311.20.2.3")


def other(*value: bytes) -> bytes:
    return der.tlv(OTHER, UPN, der.tlv(0xA0, *value))


def request(*names: bytes) -> x509.CertificateSigningRequest:
    """A CSR with a SubjectAltName of these GeneralNames."""
    content = der.sequence(*names)
    san = x509.UnrecognizedExtension(x509.OID_SUBJECT_ALTERNATIVE_NAME, content)
    return parse_csr(make_csr(extensions=[san]).public_bytes(Encoding.DER))


MALFORMED = [
    *(der.tlv(IP, bytes(length)) for length in (0, 1, 3, 5, 8, 15, 17, 32)),
    der.tlv(IP, b"\x0a\0\0\0\xff\0\0\0"),  # a network, as name constraints have it
    der.tlv(IP, b"\xfd" + bytes(15) + b"\xff" + bytes(15)),
    *(
        der.tlv(DNS, name)
        for name in (
            b"", b".", b"a.", b".a", b"a..b", b"a b", b" a", b"a\0", b"a\n", b"a/b", b"a@b",
            b"a:1", b"-a", b"a-", b"a.-b", "bücher".encode(), b"b\xfccher", LABEL + b"a",
            b".".join([LABEL] * 4),
        )
    ),
    *(
        der.tlv(EMAIL, name)
        for name in (
            b"", b"ann", b"@example", b"ann@", b"Ann <ann@example>", b"a b@example", b"a@b@c",
            b"ann@exa mple", b".a@b", b"ann@-b", "ü@example".encode(), b"\xfc@example",
            b"a\0@example", b'"a"b"@example',
        )
    ),
    *(
        der.tlv(URI, name)
        for name in (
            b"", b"a", b"/a", b"//a/b", b"a:", b"1a:b", b"urn:a b", b"urn:a\0", b"urn:%4",
            b"urn:<a>", "urn:ü".encode(), b"urn:\xfc", b"https://", b"https:///a",
            b"https://a b/", b"https://-a/", b"https://%61/", b"https://a:x/", b"https://[::1/",
            b"https://:8443/",
        )
    ),
    *(der.tlv(ID, content) for content in (b"", b"\x80", b"\x2a\x86")),
    other(), other(b"\x0c\x05a"), other(b"\x0c\1a\x0c\1a"), other(b"\x0c\1\xff"),
    other(b"\x16\1\xfc"), other(b"\x0c\1\0"),
    der.tlv(OTHER, UPN, b"\x0c\1a"), der.tlv(OTHER, der.tlv(0xA0, b"\x0c\1a")),
    der.tlv(DIRECTORY, der.sequence()), der.tlv(DIRECTORY, b"\x30\1"),
    der.tlv(X400, der.sequence()), der.tlv(EDI, b"\x81\1a"),
    der.tlv(0x89, b"a"),
]  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED, ids=[name.hex()[:40] for name in MALFORMED])
@pytest.mark.parametrize("own_key", [True, False], ids=["own key", "server's key"])
def test_malformed(name: bytes, own_key: bool) -> None:
    for names in ([name], [der.tlv(DNS, b"a.example"), name]):
        with pytest.raises(Refused) as caught:
            check_csr(request(*names), own_key=own_key)
        assert caught.value.reply.status == 400
        text = str(caught.value)
        assert text.isprintable()
        assert len(text) < 300


def test_a_name_of_many_characters_is_cut_in_the_answer() -> None:
    with pytest.raises(Refused) as caught:
        check_csr(request(der.tlv(DNS, b"a" * 30_000)))
    assert len(str(caught.value)) < 300


def test_no_names() -> None:
    with pytest.raises(Refused, match="the SubjectAltName has no names"):
        check_csr(request())


@pytest.mark.parametrize("subject", ["CN=a\\00", "CN=a,O=b\\0A", "CN=a,OU=\\C2\\85"])
def test_control_characters_in_a_subject(subject: str) -> None:
    with pytest.raises(Refused, match="has control characters"):
        check_csr(make_csr(subject))


WELL_FORMED = [
    der.tlv(IP, b"\x0a\0\0\1"),
    der.tlv(IP, b"\xfd" + bytes(15)),
    *(
        der.tlv(DNS, name)
        for name in (
            b"a", b"7", b"A.example", b"_est._tcp.example", b"*.example", b"xn--bcher-kva.example",
            b"a--b", LABEL, b".".join([LABEL] * 3 + [LABEL[:61]]), b"192.0.2.1",
        )
    ),
    *(
        der.tlv(EMAIL, name)
        for name in (b"ann@example", b"a.b+c@mail.example", b'"a b"@example', b'"\\""@example')
    ),
    *(
        der.tlv(URI, name)
        for name in (
            b"urn:dev:mac:0024befffe804ff1", b"https://a.example:8443/b?c#d", b"spiffe://a/b",
            b"coap://[2001:db8::1]/", b"https://192.0.2.1", b"urn:%41", b"tag:ann@example,2026:a",
            b"https://ann@a.example/",
        )
    ),
    der.tlv(ID, b"\x2a\x03"),
    other(b"\x0c\2\xc3\xbc"),
    other(der.sequence(der.oid("1.2.3"), der.octet_string(b"\0"))),  # RFC 4108 5
    other(der.sequence(b"\xa0\x03\x0c\1a")),
    der.tlv(DIRECTORY, x509.Name.from_rfc4514_string("CN=a").public_bytes()),
]  # fmt: skip


@pytest.mark.parametrize("octets", WELL_FORMED, ids=[name.hex()[:40] for name in WELL_FORMED])
async def test_well_formed(server: EstServer, octets: bytes) -> None:
    """It is in the certificate as it was sent."""
    async with connect(server) as session:
        status, text, _ = await enroll(session, request(octets))
    assert status == 200, text
    san = x509.OID_SUBJECT_ALTERNATIVE_NAME
    (certificate,) = certificates(text)
    extension = certificate.extensions.get_extension_for_oid(san).value
    assert extension.public_bytes() == der.sequence(octets)


async def test_malformed_names_reach_the_client_as_a_line(server: EstServer) -> None:
    async with connect(server) as session:
        csr = request(der.tlv(IP, b"\x0a\0\0\0\xff\0\0\0"))
        status, text, _ = await enroll(session, csr)
    assert (status, text) == (
        400,
        "the alternative name '10.0.0.0/8' is a network: an iPAddress has 4 or 16 octets\n",
    )
    assert base64.b64encode(csr.public_bytes(Encoding.DER)).decode() not in str(server.events)

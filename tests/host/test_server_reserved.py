"""The server's names and its CA's in all spellings: none is given, and others are."""

import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from server_client import connect, enroll, make_csr, new_key

from mpest.server import EstServer, der, reserved
from mpest.server.ca import Order, common_name, new_ca, now
from mpest.server.csr_policy import check_csr
from mpest.server.wire import Refused

KEY = new_key()
CA = new_ca("mpest test root")
OTHER_CA = x509.Name.from_rfc4514_string("CN=factory,O=Acme  Devices")
SRV, MAILBOX, UPN = "1.3.6.1.5.5.7.8.7", "1.3.6.1.5.5.7.8.9", "1.3.6.1.4.1.311.20.2.3"


def san(*names: x509.GeneralName) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(names)


def dns(*names: str) -> x509.SubjectAlternativeName:
    return san(*map(x509.DNSName, names))


def uri(name: str) -> x509.SubjectAlternativeName:
    return san(x509.UniformResourceIdentifier(name))


def email(name: str) -> x509.SubjectAlternativeName:
    return san(x509.RFC822Name(name))


def ip(name: str) -> x509.SubjectAlternativeName:
    return san(x509.IPAddress(ipaddress.ip_address(name)))


def other(oid: str, text: str, tag: int = 0x0C) -> x509.SubjectAlternativeName:
    return san(x509.OtherName(x509.ObjectIdentifier(oid), der.tlv(tag, text.encode())))


def directory(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.SubjectAlternativeName:
    return san(x509.DirectoryName(x509.Name([x509.NameAttribute(*part) for part in parts])))


SERVER = CA.sign(
    Order(
        common_name("est.example"),
        KEY.public_key(),
        san(
            *dns("est.example", "xn--bcher-kva.example", "strasse.example"),
            *ip("10.0.0.7"),
            *ip("2001:db8::7"),
        ),
    ),
    now(),
)


def common(text: str) -> list[tuple[x509.ObjectIdentifier, str]]:
    return [(NameOID.COMMON_NAME, text)]


BOARD = common("board-1")
OF_SERVER = [
    *(
        (common(name), None)
        for name in (
            "est.example", "EST.Example", "est.example.", " est.example ", "est\u3002example",
            "e\u00adst.example", "est.exam\u200bple", "\uff45\uff53\uff54.example",
            "e\u017ft.example", "b\u00fccher.example", "b\u0075\u0308cher.example",
            "B\u00dcCHER.example", "XN--BCHER-KVA.example", "stra\u00dfe.example",
            "xn--strae-oqa.example", "10.0.0.7", "::ffff:10.0.0.7", "[2001:db8::7]",
            "2001:DB8:0::7", "2001:db8::7%eth0", "10.7", "0xa000007", "167772167", "0x0a.0.0.07",
            "*.example", "*", "e*t.example",
            "\uff0aexample",
        )
    ),
    ([*BOARD, (NameOID.EMAIL_ADDRESS, "ann@est.example")], None),
    ([*BOARD, *common("EST.EXAMPLE")], None),
    *(
        (BOARD, names)
        for names in (
            dns("EST.example"), dns("a.example", "est.example"), dns("10.0.0.7"), dns("*.example"),
            dns("xn--strae-oqa.example"), dns("XN--bcher-kva.Example"), dns("0xa000007"),
            ip("10.0.0.7"), ip("::ffff:10.0.0.7"), ip("2001:db8::7"),
            uri("https://est.example"), uri("https://EST.example:8443/a"), uri("coap://10.0.0.7/"),
            uri("https://ann@est.example/"), uri("https://[2001:db8::7]/"), uri("x://10.7"),
            email("ann@est.example"), email('"a@b"@EST.example'),
            other(MAILBOX, "b\u00fc@b\u00fccher.example"), other(UPN, "ann@est.example"),
            other(UPN, "est.example"), other(SRV, "_est.EST.example", 0x16),
            directory(*common("est.example")),
        )
    ),
]  # fmt: skip
OF_CA = [
    *(
        (common(name), None)
        for name in (
            "mpest test root", "mpest test root.", "MPEST Test Root", "mpest  test root",
            " mpest test root", "mpest\u00a0test\u2003root", "mpest t\u00adest root",
            "\uff4dpest test root", "factory",
        )
    ),
    ([(NameOID.ORGANIZATION_NAME, "x"), *common("mpest test root")], None),
    ([(NameOID.ORGANIZATION_NAME, "acme devices"), *common("FACTORY")], None),
    (BOARD, directory(*common("Mpest  test root"))),
    (BOARD, directory((NameOID.ORGANIZATION_NAME, "Acme Devices"), *common("factory"))),
    (BOARD, dns("factory")),
]  # fmt: skip
FREE = [
    *(
        (common(name), None)
        for name in (
            "est.example.com", "test.example", "est-example", "est", "example", "10.0.0.70",
            "xn--bcher-kvb.example", "xn--.example", "xn--\u00fc", "*.est.example",
            "?st.example", "[e]st.example", "mpest test root 2", "mpesttestroot", "b\u00fccher",
            "7", "...", "2001:db8::70", "ann@est.example",
        )
    ),
    ([(NameOID.ORGANIZATIONAL_UNIT_NAME, "est.example"), *BOARD], None),
    ([(NameOID.ORGANIZATIONAL_UNIT_NAME, "mpest test root"), *BOARD], None),
    *(
        (BOARD, names)
        for names in (
            dns("a.est.example"), dns("*.a.example"), ip("10.0.0.8"), uri("urn:est.example"),
            uri("https://a.example/est.example"), uri("https://est.example@a.example/"),
            uri("https://a.example?est.example"), email("est.example@a.example"),
            other(UPN, "est.example@a"), other("1.2.3", "\x01", 0x02),
            directory((NameOID.ORGANIZATION_NAME, "est.example")),
        )
    ),
]  # fmt: skip


def order(
    subject: list[tuple[x509.ObjectIdentifier, str]], names: x509.SubjectAlternativeName | None
) -> Order:
    attributes = [x509.NameAttribute(oid, text) for oid, text in subject]
    return Order(x509.Name(attributes), KEY.public_key(), names)


@pytest.fixture(scope="module")
def authorities() -> list[x509.Certificate]:
    builder = x509.CertificateBuilder().subject_name(OTHER_CA).issuer_name(OTHER_CA)
    builder = builder.public_key(KEY.public_key()).serial_number(1)
    builder = builder.not_valid_before(now()).not_valid_after(now())
    return [CA.certificate, builder.sign(KEY, hashes.SHA256())]


def text_of(asked: Order) -> str:
    names = [str(name.value) for name in asked.san or ()]
    return " ".join([asked.subject.rfc4514_string(), *names])


TABLE = [
    *((order(*names), "is a name of the server") for names in OF_SERVER),
    *((order(*names), "is the CA") for names in OF_CA),
    *((order(*names), None) for names in FREE),
]


@pytest.mark.parametrize(
    ("asked", "word"), TABLE, ids=[f"{text_of(asked)} {word or ''}" for asked, word in TABLE]
)
def test_spellings(asked: Order, word: str | None, authorities: list[x509.Certificate]) -> None:
    if word is None:
        reserved.check(asked, authorities, SERVER)
        return
    with pytest.raises(Refused, match=word) as caught:
        reserved.check(asked, authorities, SERVER)
    assert caught.value.reply.status == 403


@pytest.mark.parametrize("name", ["b\u00fccher.example", "xn--bcher-kva.EXAMPLE", "10.0.0.7"])
def test_names_of_a_policy(name: str) -> None:
    asked = order(BOARD, san(*dns("xn--bcher-kva.example"), *ip("10.0.0.7")))
    with pytest.raises(Refused, match="is a name of the server"):
        reserved.check(asked, [], None, [name])


def test_a_name_of_many_stars_takes_no_time() -> None:
    """Tried in all ways, it would take years."""
    reserved.check(order(common("*" * 63 + "x"), None), [], SERVER)
    reserved.check(order(common("*e" * 32), None), [], SERVER)


@pytest.mark.parametrize(
    "names",
    [uri("https://localhost:8443/"), email("ann@localhost"), other(SRV, "_est.localhost", 0x16)],
)
async def test_an_open_server_keeps_them(
    server: EstServer, names: x509.SubjectAlternativeName
) -> None:
    csr = make_csr(extensions=[names])
    check_csr(csr)
    async with connect(server) as session:
        status, text, _ = await enroll(session, csr)
    assert (status, "is a name of the server" in text) == (403, True)
    assert server.issued() == []

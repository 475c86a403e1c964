"""Name constraints against `openssl verify` and cryptography's verifier: the same chains.

Where one of them has another verdict, the table says why.
"""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from test_x509_oracle import (
    NAME_CONSTRAINTS,
    NOW,
    SUBJECT_ALT_NAME,
    SUBJECT_KEY,
    Made,
    accepts,
    chain,
    leaf,
    low,
    middle,
    name,
    openssl_accepts,
    root,
    usage,
)

from est import asn1, constraints, der
from est import x509 as x509_of_est
from est.errors import NotTrusted


def dns(text: str) -> bytes:
    return der.tlv(0x82, text.encode())


def email(text: str) -> bytes:
    return der.tlv(0x81, text.encode())


def uri(text: str) -> bytes:
    return der.tlv(0x86, text.encode())


def ip(octets: str) -> bytes:
    return der.tlv(0x87, bytes.fromhex(octets))


def directory(found: x509.Name) -> bytes:
    return der.tlv(0xA4, found.public_bytes())


def other(oid: bytes, text: str) -> bytes:
    value = der.tlv(0xA0, der.tlv(asn1.UTF8_STRING, text.encode()))
    return der.tlv(0xA0, der.tlv(asn1.OID, oid), value)


REGISTERED = der.tlv(0x88, b"\x2a\3\4")
UPN = b"\x2b\x06\x01\x04\x01\x82\x37\x14\x02\x03"
SMTP_UTF8 = b"\x2b\x06\x01\x05\x05\x07\x08\x09"


def names(*pairs: tuple[x509.ObjectIdentifier, str], kind: Any = None) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, text, kind) for oid, text in pairs])


def organization(text: str, *more: tuple[x509.ObjectIdentifier, str], kind: Any = None):
    return names((NameOID.ORGANIZATION_NAME, text), *more, kind=kind)


def san(*found: bytes) -> tuple[tuple[bytes, bytes, bool], ...]:
    return ((SUBJECT_ALT_NAME, der.sequence(*found), False),)


def limits(permitted: tuple[bytes, ...] = (), excluded: tuple[bytes, ...] = ()) -> bytes:
    """NameConstraints."""
    out = []
    for tag, trees in ((0xA0, permitted), (0xA1, excluded)):
        if trees:
            out.append(der.tlv(tag, *[der.sequence(tree) for tree in trees]))
    return der.sequence(*out)


class Row(NamedTuple):
    """accepted: our verdict. openssl, cryptography: why theirs is another."""

    accepted: bool
    parts: tuple[Made, ...]
    openssl: str = ""
    cryptography: str = ""


ROWS: dict[str, Row] = {}


def row(
    title: str, accepted: bool, *parts: Made, openssl: str = "", cryptography: str = ""
) -> None:
    assert title not in ROWS
    ROWS[title] = Row(accepted, parts, openssl, cryptography)


def under(
    title: str,
    accepted: bool,
    value: bytes,
    *found: bytes,
    subject: x509.Name | None = None,
    openssl: str = "",
    cryptography: str = "",
) -> None:
    """A leaf with these names under an intermediate with this NameConstraints."""
    made = leaf(extra=san(*found) if found else (), subject=subject)
    limited = middle(extra=((NAME_CONSTRAINTS, value, True),), usage=usage(True))
    row(
        title,
        accepted,
        made,
        limited,
        root(usage=usage(True)),
        openssl=openssl,
        cryptography=cryptography,
    )


# What cryptography refuses unread.
NEEDS_SAN = "a certificate without subjectAltName"
NO_URI = "constraints on URIs"
NO_DIRECTORY = "constraints on directory names"
DOTTED = "a leading dot or no name, which RFC 5280 does not have for DNS, and CAs have"
NOT_A_CA = "name constraints in a leaf"
# What it does not look at.
NO_SUBJECT = "a subject's host"
NO_OTHER = "mailboxes beyond ASCII"
NO_DISTANCE = "minimum and maximum"
# What OpenSSL does.
TEXT = "it takes a wildcard for a text"
NO_AUTHORITY = "it takes all up to a colon or slash for the host, addresses too"
HOST = "a.example.com"

# DNS.
permitted = limits((dns("example.com"),))
excluded = limits((), (dns("example.com"),))
for title, text, inside in (
    ("itself", "example.com", True),
    ("below", HOST, True),
    ("two below", "b.a.example.com", True),
    ("another case", "A.EXAMPLE.com", True),
    ("the same end", "badexample.com", False),
    ("above", "com", False),
    ("elsewhere", "example.org", False),
    ("wildcard below", "*.example.com", True),
):
    under(f"DNS permitted: {title}", inside, permitted, dns(text))
    under(f"DNS excluded: {title}", not inside, excluded, dns(text))
under("DNS permitted: one of two", False, permitted, dns(HOST), dns("example.org"))
under(
    "DNS permitted by another", True, limits((dns("example.org"), dns("example.com"))), dns(HOST)
)
under("DNS permitted and excluded", False, limits((dns("example.com"),), (dns(HOST),)), dns(HOST))
under(
    "DNS permitted, another excluded",
    True,
    limits((dns("example.com"),), (dns("b.example.com"),)),
    dns(HOST),
)
for text, openssl in (("*.example.com", TEXT), ("*.EXAMPLE.com", TEXT), ("*." + HOST, "")):
    under(
        f"DNS excluded: under {text}", False, limits((), (dns(HOST),)), dns(text), openssl=openssl
    )
under("DNS excluded: beside a wildcard", True, limits((), (dns("a.b.com"),)), dns("*.com"))
under(
    "DNS with a leading dot: below",
    True,
    limits((dns(".example.com"),)),
    dns(HOST),
    cryptography=DOTTED,
)
under("DNS with a leading dot: itself", False, limits((dns(".example.com"),)), dns("example.com"))
under("DNS excluded with a leading dot", False, limits((), (dns(".example.com"),)), dns(HOST))
under("DNS excluded: all", False, limits((), (dns(""),)), dns(HOST))
under("DNS permitted: all", True, limits((dns(""),)), dns(HOST), cryptography=DOTTED)
under("no name of the kind", True, limits((ip("0a000000ff000000"),)), dns(HOST))
under("host in the subject: inside", True, permitted, subject=name(HOST), cryptography=NEEDS_SAN)
under("host in the subject: outside", False, permitted, subject=name("a.example.org"))
under(
    "wildcard in the subject: outside",
    False,
    permitted,
    subject=name("*.example.org"),
    openssl="it takes no wildcard there for a host, mbedTLS does",
)
under("no host in the subject", True, permitted, subject=name("device 7"), cryptography=NEEDS_SAN)
under(
    "host in the subject beside a DNS name",
    True,
    permitted,
    dns(HOST),
    subject=name("a.example.org"),
)
under(
    "host in the subject beside an address",
    False,
    permitted,
    ip("0a000001"),
    subject=name("a.example.org"),
    cryptography=NO_SUBJECT,
)

# IP addresses.
network = limits((ip("0a000000ff000000"),))
under("IPv4 permitted: inside", True, network, ip("0a010203"))
under("IPv4 permitted: outside", False, network, ip("0b010203"))
under("IPv4 permitted: IPv6", False, network, ip("20010db8" + 12 * "00"))
under("IPv4 excluded: inside", False, limits((), (ip("0a000000ff000000"),)), ip("0a010203"))
under("IPv4 excluded: outside", True, limits((), (ip("0a000000ff000000"),)), ip("0b010203"))
under(
    "IPv4 excluded: IPv6", True, limits((), (ip("0a000000ff000000"),)), ip("20010db8" + 12 * "00")
)
wide = ip("20010db8" + 12 * "00" + "ffffffff" + 12 * "00")
under("IPv6 permitted: inside", True, limits((wide,)), ip("20010db8" + 11 * "00" + "01"))
under("IPv6 permitted: outside", False, limits((wide,)), ip("20010db9" + 11 * "00" + "01"))
under("IPv6 excluded: inside", False, limits((), (wide,)), ip("20010db8" + 11 * "00" + "01"))
under("IP all excluded", False, limits((), (ip(16 * "0"),)), ip("0a010203"))
under("IP constraint of six octets", False, limits((ip("0a0000ffff00"),)), ip("0a000001"))
under(
    "IP mask with holes",
    True,
    limits((ip("0a000001ff0000ff"),)),
    ip("0a0b0c01"),
    cryptography="masks with holes",
)
under("IP base beyond its mask", True, limits((ip("0a010203ff000000"),)), ip("0a090909"))

# E-mail addresses.
for title, base, text, inside in (
    ("mailbox", "a@example.com", "a@example.com", True),
    ("another mailbox", "a@example.com", "b@example.com", False),
    ("mailbox in another case", "a@example.com", "A@example.com", False),
    ("mailbox with its host in another case", "a@example.com", "a@EXAMPLE.com", True),
    ("host", "example.com", "a@example.com", True),
    ("below a host", "example.com", "a@mail.example.com", False),
    ("domain", ".example.com", "a@mail.example.com", True),
    ("the domain itself", ".example.com", "a@example.com", False),
    ("elsewhere", "example.com", "a@example.org", False),
):
    under(f"e-mail permitted: {title}", inside, limits((email(base),)), email(text))
    under(f"e-mail excluded: {title}", not inside, limits((), (email(base),)), email(text))
under("e-mail without a host", False, limits((email("example.com"),)), email("a"))
address = names((NameOID.COMMON_NAME, "a"), (NameOID.EMAIL_ADDRESS, "a@example.com"))
under(
    "e-mail in the subject: inside",
    True,
    limits((email("example.com"),)),
    subject=address,
    cryptography=NEEDS_SAN,
)
under("e-mail in the subject: outside", False, limits((email("example.org"),)), subject=address)
under(
    "e-mail in the subject: excluded", False, limits((), (email("example.com"),)), subject=address
)
under(
    "UTF-8 mailbox",
    False,
    limits((), (email("example.com"),)),
    other(SMTP_UTF8, "ü@example.com"),
    cryptography=NO_OTHER,
)

# URIs.
for title, base, text, inside in (
    ("host", "example.com", "https://example.com/path", True),
    ("host with a port", "example.com", "https://example.com:8443", True),
    ("host in another case", "example.com", "urn://EXAMPLE.com", True),
    ("below a host", "example.com", "https://a.example.com/", False),
    ("domain", ".example.com", "https://a.example.com/", True),
    ("the domain itself", ".example.com", "https://example.com/", False),
    ("elsewhere", "example.com", "https://example.org/example.com", False),
):
    allowed = NO_URI if inside else ""
    under(f"URI permitted: {title}", inside, limits((uri(base),)), uri(text), cryptography=allowed)
    allowed = "" if inside else NO_URI
    under(
        f"URI excluded: {title}",
        not inside,
        limits((), (uri(base),)),
        uri(text),
        cryptography=allowed,
    )
for title, text, openssl in (
    ("without a host", "urn:uuid:7", ""),
    ("without an authority", "https:///example.org", ""),
    ("with a query", "https://example.com?a=/", NO_AUTHORITY),
    ("with a fragment", "https://example.com#a", NO_AUTHORITY),
    ("with a user", "https://user@example.com/", NO_AUTHORITY),
    ("with a user and a password", "https://example.org:b@example.com/", NO_AUTHORITY),
    ("with an IPv4 address", "https://10.0.0.1/", NO_AUTHORITY),
    ("with an IPv6 address", "https://[::1]/", NO_AUTHORITY),
):
    under(f"URI permitted: {title}", False, limits((uri("example.com"),)), uri(text))
    under(
        f"URI excluded: {title}",
        False,
        limits((), (uri("example.com"),)),
        uri(text),
        openssl=openssl,
    )

# Directory names.
ours = directory(organization("Ours"))
board = (NameOID.COMMON_NAME, "board")
for title, subject, inside in (
    ("below", organization("Ours", board), True),
    ("itself", organization("Ours"), True),
    ("another case", organization("OURS", board), True),
    ("more spaces", organization("  ours ", board), True),
    ("another string type", organization("Ours", board, kind=_ASN1Type.PrintableString), True),
    ("as BMPString", organization("Ours", board, kind=_ASN1Type.BMPString), True),
    ("another organization", organization("Theirs", board), False),
    ("another order", names(board, (NameOID.ORGANIZATION_NAME, "Ours")), False),
):
    allowed = NO_DIRECTORY if inside else ""
    under(
        f"directory permitted: {title}",
        inside,
        limits((ours,)),
        dns(HOST),
        subject=subject,
        cryptography=allowed,
    )
    allowed = "" if inside else NO_DIRECTORY
    under(
        f"directory excluded: {title}",
        not inside,
        limits((), (ours,)),
        dns(HOST),
        subject=subject,
        cryptography=allowed,
    )
under(
    "directory: no subject",
    True,
    limits((ours,)),
    dns(HOST),
    subject=x509.Name([]),
    cryptography=NO_DIRECTORY,
)
under(
    "directory in the alternative names",
    False,
    limits((ours,)),
    directory(organization("Theirs")),
    subject=organization("Ours", board),
)
under(
    "directory: empty base",
    True,
    limits((directory(x509.Name([])),)),
    dns(HOST),
    cryptography=NO_DIRECTORY,
)
under("directory: empty base excluded", False, limits((), (directory(x509.Name([])),)), dns(HOST))

# Other kinds, forms.
under("registered ID", False, limits((), (REGISTERED,)), REGISTERED)
under("registered ID, and none", True, limits((), (REGISTERED,)), dns(HOST))
under("other name", False, limits((), (other(UPN, "a"),)), other(UPN, "b"))
under("other name under DNS", True, permitted, other(UPN, "b"))
under(
    "minimum",
    False,
    limits((dns("example.com") + b"\x80\1\1",)),
    dns(HOST),
    cryptography=NO_DISTANCE,
)
under(
    "maximum",
    False,
    limits((dns("example.com") + b"\x81\1\5",)),
    dns(HOST),
    cryptography=NO_DISTANCE,
)
under(
    "minimum 0 written",
    False,
    limits((dns("example.com") + b"\x80\1\0",)),
    dns(HOST),
    openssl="no DER: a default is not written",
)
under("empty constraints", True, der.sequence(), dns(HOST))
under("empty list", True, der.sequence(b"\xa0\0"), dns(HOST))
under("constraints that are none", False, b"\5\0", dns(HOST))
under("constraints with more", False, der.sequence(b"\xa2\0"), dns(HOST))


def limited(value: bytes, critical: bool = True) -> tuple[tuple[bytes, bytes, bool], ...]:
    return ((NAME_CONSTRAINTS, value, critical),)


SIGN = usage(True)
board_leaf = leaf(extra=san(dns(HOST)))
row("of the root", False, board_leaf, root(extra=limited(excluded), usage=SIGN))
row(
    "of the root, two below",
    False,
    board_leaf,
    middle(usage=SIGN),
    root(extra=limited(excluded), usage=SIGN),
)
row(
    "of both, met",
    True,
    board_leaf,
    middle(extra=limited(permitted), usage=SIGN),
    root(extra=limited(limits((dns("com"),))), usage=SIGN),
)
row(
    "of both, one is not met",
    False,
    board_leaf,
    middle(extra=limited(permitted), usage=SIGN),
    root(extra=limited(limits((dns("org"),))), usage=SIGN),
)
row(
    "of the leaf itself",
    True,
    leaf(extra=san(dns(HOST)) + limited(excluded)),
    root(usage=SIGN),
    cryptography=NOT_A_CA,
)
row(
    "the intermediate's own subject",
    False,
    leaf(extra=san(dns(HOST)), subject=organization("Ours")),
    middle(usage=SIGN),
    root(extra=limited(limits((ours,))), usage=SIGN),
)
row(
    "the intermediate's subject",
    True,
    leaf(extra=san(dns(HOST)), subject=organization("Ours")),
    middle(subject=organization("Ours", (NameOID.COMMON_NAME, "CA")), usage=SIGN),
    root(extra=limited(limits((ours,))), usage=SIGN),
    cryptography=NO_DIRECTORY,
)
row(
    "the intermediate's host is no host",
    True,
    leaf(extra=san(dns(HOST))),
    Made("ca.example.org", number=2, usage=SIGN),
    root(extra=limited(permitted), usage=SIGN),
)
row(
    "the intermediate's alternative name",
    False,
    board_leaf,
    middle(extra=san(dns("example.org")), usage=SIGN),
    root(extra=limited(permitted), usage=SIGN),
)
same_subject = organization("Theirs")
for title, own in (
    ("self-issued intermediate", same_subject),
    ("intermediate", organization("Theirs", board)),
):
    row(
        f"{title} outside",
        own is same_subject,
        leaf(extra=san(dns(HOST)), subject=organization("Ours"), key_id=b"2"),
        Made(
            "",
            number=2,
            subject=own,
            usage=SIGN,
            key_id=b"3",
            extra=((SUBJECT_KEY, der.octets(b"2"), False),),
        ),
        Made(
            "",
            number=3,
            subject=same_subject,
            usage=SIGN,
            extra=(*limited(limits((ours,))), (SUBJECT_KEY, der.octets(b"3"), False)),
        ),
        cryptography=NO_DIRECTORY if own is same_subject else "",
    )
row(
    "two intermediates, the lower limited",
    False,
    board_leaf,
    low(extra=limited(excluded), usage=SIGN),
    middle(usage=SIGN),
    root(usage=SIGN),
)


def cryptography_accepts(certificates: list[bytes]) -> bool:
    found = [x509.load_der_x509_certificate(one) for one in certificates]
    anyhow = verification.ExtensionPolicy.permit_all()
    either = verification.Criticality.AGNOSTIC
    # It takes no policy without these.
    ca = anyhow.require_present(x509.BasicConstraints, either, None)
    end = anyhow.require_present(x509.SubjectAlternativeName, either, None)
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store(found[-1:]))
        .time(NOW.replace(tzinfo=None))
        .extension_policies(ca_policy=ca, ee_policy=end)
        .build_client_verifier()
    )
    try:
        verifier.verify(found[0], found[1:-1])
    except verification.VerificationError:
        return False
    return True


# What OpenSSL 3.0 makes of these; 3.5 reads the host in another way.
OF_3_0 = {
    f"URI {kind}: {title}"
    for kind in ("permitted", "excluded")
    for title in (
        "without an authority",
        "with a query",
        "with a fragment",
        "with a user",
        "with a user and a password",
    )
}
IS_3_0 = " 3.0." in subprocess.run(["openssl", "version"], capture_output=True, text=True).stdout


@pytest.mark.parametrize("title", ROWS)
def test_verdicts(title: str, tmp_path: Path) -> None:
    accepted, parts, openssl, cryptography = ROWS[title]
    certificates = chain(*parts)
    assert accepts(certificates) == accepted
    verdicts = openssl_accepts(certificates, tmp_path), cryptography_accepts(certificates)
    for program, found, why in zip(
        ("openssl", "cryptography"), verdicts, (openssl, cryptography), strict=True
    ):
        if program == "openssl" and title in OF_3_0 and not IS_3_0:
            continue
        same = found == accepted
        assert same != bool(why), f"{program} has {'the same' if same else 'another'} verdict"
    assert accepted in verdicts, "both have another verdict"


@pytest.mark.parametrize("title", ROWS)
def test_constraints_that_are_not_critical_count_as_well(title: str) -> None:
    accepted, parts, *_ = ROWS[title]
    relaxed = [
        replace(one, extra=tuple((oid, value, False) for oid, value, _ in one.extra))
        for one in parts
    ]
    assert accepts(chain(*relaxed)) == accepted


def test_another_path_is_taken() -> None:
    """One intermediate is certified twice, once with limits that the leaf does not meet."""
    certificates = chain(leaf(extra=san(dns(HOST))), middle(extra=limited(excluded)), root())
    free = chain(middle(), root())[0]
    assert not accepts(certificates)
    assert accepts([*certificates[:2], free, certificates[2]])


def test_the_work_is_bounded() -> None:
    many = tuple(dns(f"x{number}") for number in range(64))
    bases = tuple(dns(f"y{number}") for number in range(32))
    made = chain(leaf(extra=san(*many)), root(extra=limited(limits((), bases))))
    assert not accepts(made)
    parsed = [x509_of_est.Certificate(one) for one in made]
    with pytest.raises(NotTrusted, match="too many"):
        constraints.judge(parsed)

"""est.x509 against `openssl verify`: the same chains, and a reason for each other verdict."""

import datetime
import functools
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpest.sim import cpython

cpython.install()

from est import asn1, der, signatures  # noqa: E402
from est import x509 as ours  # noqa: E402
from est.errors import NotTrusted, PeerError, Unsupported  # noqa: E402

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
KINDS = ("P-256", "P-384", "P-521", "RSA", "PSS")
SHA = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
CURVES |= {"P-224": ec.SECP224R1(), "K-256": ec.SECP256K1()}
RSA_OIDS = {0x05: hashes.SHA1(), 0x0B: SHA[0], 0x0C: SHA[1], 0x0D: SHA[2], 0x0E: hashes.SHA224()}
PKCS1 = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01"
ECDSA_SHA256 = b"\x2a\x86\x48\xce\x3d\x04\x03\x02"
NULL = b"\5\0"


@functools.cache
def key(kind: str, number: int = 0) -> Any:
    if kind in CURVES:
        return ec.generate_private_key(CURVES[kind])
    return rsa.generate_private_key(65537, 1024 if kind == "RSA-1024" else 2048)


def name(text: str, kind: Any = None) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text, kind)])


def usage(cert_sign: bool) -> x509.KeyUsage:
    """For certificates, or for anything but them."""
    other = not cert_sign
    return x509.KeyUsage(other, False, False, False, False, cert_sign, other, False, False)


@dataclass
class Made:
    """How one certificate of a chain is made; `kind` is that of its own key."""

    text: str
    kind: str = "P-256"
    number: int = 0
    ca: bool | None = True  # None: no basicConstraints
    length: int | None = None
    usage: x509.KeyUsage | None = None
    start: int = -1
    end: int = 1
    extra: tuple[tuple[bytes, bytes, bool], ...] = ()
    issuer: x509.Name | None = None
    subject: x509.Name | None = None
    sha: int = 0
    signer: tuple[str, int] | None = None
    key_id: bytes | None = None


def build(made: Made, issuer: Made) -> bytes:
    """`made` in DER, signed by the key of `issuer`."""
    builder = x509.CertificateBuilder(
        made.issuer or (name(issuer.text) if issuer.subject is None else issuer.subject),
        name(made.text) if made.subject is None else made.subject,
        key(made.kind, made.number).public_key(),
        7,
        NOW + made.start * DAY,
        NOW + made.end * DAY,
    )
    if made.ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(made.ca, made.length), True)
    if made.usage:
        builder = builder.add_extension(made.usage, True)
    if made.key_id:
        identifier = x509.AuthorityKeyIdentifier(made.key_id, None, None)
        builder = builder.add_extension(identifier, False)
    for oid, value, critical in made.extra:
        dotted = x509.ObjectIdentifier(asn1.oid_text(oid))
        builder = builder.add_extension(x509.UnrecognizedExtension(dotted, value), critical)
    kind, number = made.signer or (issuer.kind, issuer.number)
    algorithm = SHA[made.sha]
    scheme = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size) if kind == "PSS" else None
    signed = builder.sign(key(kind, number), algorithm, rsa_padding=scheme)
    return signed.public_bytes(serialization.Encoding.DER)


def chain(*parts: Made) -> list[bytes]:
    """Leaf first, anchor last, each signed by the next; the anchor by itself."""
    return [build(one, parts[min(at + 1, len(parts) - 1)]) for at, one in enumerate(parts)]


def leaf(**changes: Any) -> Made:
    return Made("leaf", number=1, **{"ca": None, **changes})


def middle(**changes: Any) -> Made:
    return Made("middle", number=2, **changes)


def root(**changes: Any) -> Made:
    return Made("root", number=3, **changes)


def low(**changes: Any) -> Made:
    return Made("low", number=4, **changes)


def ladder(count: int) -> list[bytes]:
    """A chain of `count` certificates."""
    return chain(leaf(), *[Made(f"step {at}", number=at) for at in range(count - 2)], root())


def accepts(certificates: Sequence[bytes]) -> bool:
    """Our verdict; the last is the anchor, the first the leaf."""
    try:
        parsed = [ours.Certificate(one) for one in certificates]
        ours.verify_path(parsed[0], parsed[1:-1], parsed[-1:], int(NOW.timestamp()))
    except (NotTrusted, PeerError, Unsupported):
        return False
    return True


def openssl_accepts(certificates: Sequence[bytes], folder: Path) -> bool:
    for file, found in (
        ("leaf", certificates[:1]),
        ("untrusted", certificates[1:-1]),
        ("anchor", certificates[-1:]),
    ):
        text = b"".join(ssl_pem(one) for one in found)
        (folder / f"{file}.pem").write_bytes(text)
    untrusted = ["-untrusted", "untrusted.pem"] if certificates[1:-1] else []
    # Level 2 refuses SHA-1 and what is weaker than RSA 2048. -partial_chain: as with us an anchor
    # need not be signed by itself.
    verify = (
        "openssl verify -no-CApath -no-CAstore -partial_chain -auth_level 2 -CAfile anchor.pem"
    )
    done = subprocess.run(
        [*verify.split(), "-attime", str(int(NOW.timestamp())), *untrusted, "leaf.pem"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return done.returncode == 0


def ssl_pem(data: bytes) -> bytes:
    import base64

    return b"-----BEGIN CERTIFICATE-----\n%s-----END CERTIFICATE-----\n" % base64.encodebytes(data)


# What cryptography does not make: a certificate taken apart, changed and signed again.


def elements(data: bytes) -> list[bytes]:
    reader = der.Reader(data).enter()
    found = []
    while reader.more():
        found.append(reader.element())
    return found


@dataclass
class Change:
    """algorithm: that of the signature, in both places. sign: makes it. spki: another one."""

    algorithm: bytes | None = None
    sign: Callable[[bytes], bytes] | None = None
    spki: bytes | None = None
    fields: Callable[[list[bytes]], list[bytes]] | None = None
    outer: bytes | None = None


def changed(certificate: bytes, signer: Any, change: Change) -> bytes:
    tbs, algorithm, _ = elements(certificate)
    parts = elements(tbs)
    algorithm = change.algorithm or algorithm
    parts[2] = algorithm
    parts[6] = change.spki or parts[6]
    parts = change.fields(parts) if change.fields else parts
    tbs = der.sequence(*parts)
    sign = change.sign or (lambda data: signer.sign(data, ec.ECDSA(hashes.SHA256())))
    return der.sequence(tbs, change.outer or algorithm, der.bits(sign(tbs)))


def oid(content: bytes, *parameters: bytes) -> bytes:
    return der.sequence(der.tlv(asn1.OID, content), *parameters)


def rsa_oid(last: int, *parameters: bytes) -> bytes:
    return oid(PKCS1 + bytes((last,)), *parameters)


def pkcs1(last: int, kind: str = "RSA") -> Callable[[bytes], bytes]:
    return lambda data: key(kind, 3).sign(data, padding.PKCS1v15(), RSA_OIDS[last])


def pss(salt: int, mask: hashes.HashAlgorithm = SHA[0]) -> Callable[[bytes], bytes]:
    scheme = padding.PSS(padding.MGF1(mask), salt)
    return lambda data: key("RSA", 3).sign(data, scheme, SHA[0])


def hash_oid(last: int) -> bytes:
    return oid(b"\x60\x86\x48\x01\x65\x03\x04\x02" + bytes((last,)), NULL)


def pss_parameters(
    salt: int = 32, mask: int = 1, digest: int = 1, trailer: bytes = b"", mgf: int = 0x08
) -> bytes:
    return der.sequence(
        der.tlv(0xA0, hash_oid(digest)),
        der.tlv(0xA1, rsa_oid(mgf, hash_oid(mask))),
        der.tlv(0xA2, asn1.integer(salt)),
        trailer,
    )


def spki_with(algorithm: bytes, kind: str, number: int) -> bytes:
    public = key(kind, number).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    parts = elements(public.public_bytes(serialization.Encoding.DER, form))
    return der.sequence(algorithm, parts[1])


def odd_leaf(kind: str, change: Change) -> list[bytes]:
    """A leaf with `change` under a root with a key of `kind`."""
    made = chain(leaf(), root(kind=kind))
    return [changed(made[0], key(kind, 3), change), made[1]]


def odd_root(kind: str, spki: bytes, sign: Callable[[bytes], bytes] | None = None, **changes):
    """A root whose key says `spki` of itself, over a leaf that it signed."""
    spki = spki_with(spki, kind, 3)
    made = chain(leaf(), root(kind=kind))
    anchor = changed(made[1], key(kind, 3), Change(spki=spki, sign=sign, **changes))
    return [changed(made[0], key(kind, 3), Change(sign=sign, **changes)), anchor]


def explicit() -> bytes:
    """P-256's parameters in place of its name (RFC 3279 2.3.5)."""
    p = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
    n = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    numbers = ec.derive_private_key(1, ec.SECP256R1()).public_key().public_numbers()
    return der.sequence(
        asn1.integer(1),
        der.sequence(der.tlv(asn1.OID, b"\x2a\x86\x48\xce\x3d\x01\x01"), asn1.integer(p)),
        der.sequence(der.octets((p - 3).to_bytes(32, "big")), der.octets(b.to_bytes(32, "big"))),
        der.octets(b"\4" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")),
        asn1.integer(n),
        asn1.integer(1),
    )


def ecdsa(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda data: change(key("P-256", 3).sign(data, ec.ECDSA(hashes.SHA256())))


def padded(signature: bytes) -> bytes:
    """r and s with a leading zero too many."""
    r, s = (one[2:] for one in elements(signature))
    return der.sequence(der.tlv(asn1.INTEGER, b"\0", r), der.tlv(asn1.INTEGER, b"\0", s))


def constraints(value: bytes) -> tuple[tuple[bytes, bytes, bool], ...]:
    return ((BASIC_CONSTRAINTS, der.sequence(value), True),)


def first_version(parts: list[bytes]) -> list[bytes]:
    return parts[1:7]


def twice(parts: list[bytes]) -> list[bytes]:
    same = der.sequence(der.tlv(asn1.OID, UNKNOWN), der.octets(NULL))
    return [*parts[:7], der.tlv(0xA3, der.sequence(same, same))]


def retimed(validity: bytes, at: int, text: bytes) -> bytes:
    times = elements(validity)
    times[at] = der.tlv(asn1.UTC_TIME, text)
    return der.sequence(*times)


def pss_sha1(data: bytes) -> bytes:
    scheme = padding.PSS(padding.MGF1(hashes.SHA1()), 20)
    return key("RSA", 3).sign(data, scheme, hashes.SHA1())


TRUE = b"\1\1\xff"
P256_NAME = der.tlv(asn1.OID, b"\x2a\x86\x48\xce\x3d\x03\x01\x07")
BASIC_CONSTRAINTS = b"\x55\x1d\x13"
SUBJECT_ALT_NAME = b"\x55\x1d\x11"
POLICY_CONSTRAINTS = b"\x55\x1d\x24"
INHIBIT_ANY = b"\x55\x1d\x36"
MAPPING = der.sequence(b"\x81\1\5")
EXPLICIT = der.sequence(b"\x80\1\0")
POLICY_MAPPINGS = b"\x55\x1d\x21"
CRL_POINTS = b"\x55\x1d\x1f"
FRESHEST_CRL = b"\x55\x1d\x2e"
ISSUER_ALT_NAME = b"\x55\x1d\x12"
NAME_CONSTRAINTS = b"\x55\x1d\x1e"
EXCLUDED = der.sequence(der.tlv(0xA1, der.sequence(der.tlv(0x82, b"example.com"))))
UNKNOWN = b"\x2b\x06\x01\x04\x01\x86\x8d\x1f\x01"
SUBJECT_KEY = b"\x55\x1d\x0e"
POLICIES = b"\x55\x1d\x20"
ANY_POLICY = der.sequence(der.sequence(der.tlv(asn1.OID, b"\x55\x1d\x20\x00")))
ONE_POLICY = der.sequence(der.sequence(der.tlv(asn1.OID, UNKNOWN)))
MAPPINGS = der.sequence(
    der.sequence(der.tlv(asn1.OID, UNKNOWN), der.tlv(asn1.OID, UNKNOWN + b"\1"))
)
POINTS = der.sequence(
    der.sequence(der.tlv(0xA0, der.tlv(0xA0, der.tlv(0x86, b"http://ca.example/crl"))))
)
SAN = der.sequence(der.tlv(0x82, b"a.example.com"))
EC_KEY = b"\x2a\x86\x48\xce\x3d\x02\x01"

OURS_ANYWAY = "a leaf's key is the board's own, whatever it is"
STRICT = "RFC 5280 and 5480 forbid it"

Chain = Callable[[], list[bytes]]
# title: (chain, our verdict, why openssl's is another)
CASES: dict[str, tuple[Chain, bool, str]] = {}


def case(title: str, accepted: bool, make: Chain, why: str = "") -> None:
    assert title not in CASES
    CASES[title] = (make, accepted, why)


def good(title: str, *parts: Made, why: str = "") -> None:
    case(title, True, lambda: chain(*parts), why)


def bad(title: str, *parts: Made, why: str = "") -> None:
    case(title, False, lambda: chain(*parts), why)


def odd(title: str, accepted: bool, kind: str, why: str = "", **change: Any) -> None:
    case(title, accepted, lambda: odd_leaf(kind, Change(**change)), why)


for one in KINDS:
    for size in range(3):
        good(f"{one} with {SHA[size].name}", leaf(sha=size), root(kind=one))
good("intermediate", leaf(), middle(), root())
good("intermediates of all kinds", leaf(), middle(kind="RSA"), root(kind="P-384"))
case("anchor is an intermediate", True, lambda: chain(leaf(), middle(), root())[:2])
case("issuer is missing", False, lambda: chain(leaf(), middle(), root())[::2])
bad("signed by another key", leaf(signer=("P-256", 9)), root())
bad("intermediate signed by another key", leaf(), middle(signer=("P-256", 9)), root())

# Names.
bad("issuer of another name", leaf(issuer=name("elsewhere")), root())
bad("intermediate's issuer of another name", leaf(), middle(issuer=name("other")), root())
good("issuer in another case", leaf(issuer=name("ROOT")), root())
good("issuer with more spaces", leaf(issuer=name(" my   CA")), Made("my ca", number=3))
bad("issuer with a space less", leaf(issuer=name("myca")), Made("my ca", number=3))
for kind in ("PrintableString", "T61String", "BMPString", "IA5String"):
    good(
        f"issuer as {kind}",
        leaf(issuer=name("root", _ASN1Type[kind])),
        root(),
    )
bad("issuer as VisibleString", leaf(issuer=name("root", _ASN1Type.VisibleString)), root())
for title, text in (("Latin-1", "Wurzel \xfc"), ("Chinese", "\u6839")):
    good(
        f"issuer in {title} as BMPString",
        leaf(issuer=name(text, _ASN1Type.BMPString)),
        Made(text, number=3),
    )
bad("issuer beyond ASCII in another case", leaf(issuer=name("\xdc")), Made("\xfc", number=3))
case(
    "two issuers of one name",
    True,
    lambda: [
        *chain(leaf(), middle(), root())[:1],
        *chain(middle(kind="P-384"), root())[:1],
        *chain(middle(), root()),
    ],
    "openssl tries one issuer of a name, unless key identifiers tell them apart",
)
good(
    "authority key identifier of another key",
    leaf(key_id=b"other"),
    root(extra=((SUBJECT_KEY, der.octets(b"key"), False),)),
    why="we go by the signature, identifiers are hints",
)

# Validity.
for which, at in (("leaf", 0), ("intermediate", 1), ("root", 2)):
    for when, dates in (("expired", (-3, -1)), ("not yet valid", (1, 3))):
        spans: list[dict[str, int]] = [{}, {}, {}]
        spans[at] = {"start": dates[0], "end": dates[1]}
        bad(f"{which} {when}", leaf(**spans[0]), middle(**spans[1]), root(**spans[2]))
good("first second", leaf(start=0), root())
good("last second", leaf(end=0), root(), why="valid through notAfter (RFC 5280 4.1.2.5)")
for at, text in ((0, b"300101000000"), (1, b"3001010000Z"), (1, b"300132000000Z")):
    odd(
        f"time {text.decode()}",
        False,
        "P-256",
        fields=lambda parts, text=text, at=at: [
            *parts[:4],
            retimed(parts[4], at, text),
            *parts[5:],
        ],
    )

# Basic constraints, key usage, path length.
bad("intermediate without constraints", leaf(), middle(ca=None), root())
bad("intermediate that is no CA", leaf(), middle(ca=False), root())
bad("root that is no CA", leaf(), root(ca=False))
bad("root without constraints", leaf(), root(ca=None))
case(
    "root of version 1",
    False,
    lambda: [
        *chain(leaf(), root())[:1],
        changed(chain(root())[0], key("P-256", 3), Change(fields=first_version)),
    ],
    "no CA without basic constraints; openssl takes those of version 1 signed by themselves",
)
good("key usage to sign certificates", leaf(), middle(usage=usage(True)), root(usage=usage(True)))
bad("intermediate's key usage", leaf(), middle(usage=usage(False)), root())
bad("root's key usage", leaf(), middle(), root(usage=usage(False)))
good("leaf's key usage", leaf(usage=usage(False)), root())
good("path length 0", leaf(), root(length=0))
good("path length 1", leaf(), middle(length=0), root(length=1))
bad("path length of the root", leaf(), middle(), root(length=0))
bad("path length of an intermediate", leaf(), low(), middle(length=0), root())
bad("shorter path length below", leaf(), low(), middle(length=0), root(length=5))
good("path of four", leaf(), low(), middle(length=1), root(length=2))
good("leaf that is a CA", leaf(ca=True), root(length=0), why="")
good(
    "path length and a self-issued intermediate",
    leaf(key_id=b"2", issuer=name("root")),
    Made("root", number=2, key_id=b"3", extra=((SUBJECT_KEY, der.octets(b"2"), False),)),
    root(length=0, extra=((SUBJECT_KEY, der.octets(b"3"), False),)),
)
good(
    "path length and an intermediate self-issued in another case",
    leaf(key_id=b"2", issuer=name("ROOT")),
    Made("ROOT", number=2, key_id=b"3", extra=((SUBJECT_KEY, der.octets(b"2"), False),)),
    root(length=0, extra=((SUBJECT_KEY, der.octets(b"3"), False),)),
)
bad(
    "path length, a self-issued intermediate and another",
    leaf(),
    middle(issuer=name("root"), key_id=b"2"),
    Made("root", number=4, key_id=b"3", extra=((SUBJECT_KEY, der.octets(b"2"), False),)),
    root(length=0, extra=((SUBJECT_KEY, der.octets(b"3"), False),)),
)
case("too long a path", False, lambda: ladder(7), "we look no further than six certificates")
case("path of six", True, lambda: ladder(6))
bad(
    "basic constraints with more",
    leaf(),
    middle(ca=None, extra=constraints(TRUE + b"\5\0")),
    root(),
)
bad("negative path length", leaf(), middle(ca=None, extra=constraints(TRUE + b"\2\1\xff")), root())
bad("no basic constraints in them", leaf(), middle(ca=None, extra=constraints(b"")), root())

# Extensions.
for which, at in (("leaf", 0), ("intermediate", 1), ("root", 2)):
    for title, value, known in (
        ("unknown", (UNKNOWN, NULL), False),
        ("name constraints", (NAME_CONSTRAINTS, EXCLUDED), True),
        ("policies", (POLICIES, ONE_POLICY), True),
        ("policy constraints", (POLICY_CONSTRAINTS, MAPPING), True),
        ("explicit policy", (POLICY_CONSTRAINTS, EXPLICIT), True),
        ("policy mappings", (POLICY_MAPPINGS, MAPPINGS), True),
        ("inhibit any policy", (INHIBIT_ANY, asn1.integer(5)), True),
        ("CRL distribution points", (CRL_POINTS, POINTS), True),
        ("freshest CRL", (FRESHEST_CRL, POINTS), False),
        ("issuer's alternative name", (ISSUER_ALT_NAME, SAN), False),
    ):
        for critical in (True, False):
            extras: list[dict[str, Any]] = [{}, {}, {}]
            extras[at] = {"extra": ((*value, critical),)}
            parts = leaf(**extras[0]), middle(**extras[1]), root(**extras[2])
            if critical and not known:
                bad(f"critical {title} in {which}", *parts)
            else:
                good(f"{'critical ' * critical}{title} in {which}", *parts)
good("critical policies", leaf(extra=((POLICIES, ANY_POLICY, True),)), root())
good("critical names", leaf(extra=((SUBJECT_ALT_NAME, SAN, True),)), root())
odd("extension twice", False, "P-256", "RFC 5280 4.2 forbids it", fields=twice)

# Keys.
bad("RSA 1024", leaf(), root(kind="RSA-1024"))
bad("intermediate of RSA 1024", leaf(), middle(kind="RSA-1024"), root())
good("leaf of RSA 1024", leaf(kind="RSA-1024"), root(), why=OURS_ANYWAY)
bad("P-224", leaf(), root(kind="P-224"), why="a curve nobody should use any more")
bad("secp256k1", leaf(), root(kind="K-256"), why="a curve of no CA")
case(
    "explicit parameters",
    False,
    lambda: odd_root("P-256", oid(EC_KEY, explicit())),
)
for title, parameters in (("no", ()), ("NULL", (NULL,)), ("two", (P256_NAME, NULL))):
    case(
        f"P-256 key with {title} parameters",
        False,
        lambda parameters=parameters: odd_root("P-256", oid(EC_KEY, *parameters)),
    )
for title, parameters in (("no", ()), ("wrong", (b"\5\1\0",)), ("two", (NULL, NULL))):
    case(
        f"RSA key with {title} parameters",
        False,
        lambda parameters=parameters: odd_root(
            "RSA", rsa_oid(1, *parameters), pkcs1(11), algorithm=rsa_oid(11, NULL)
        ),
        STRICT if title == "no" else "",
    )

# Algorithms.
odd("SHA-1", False, "RSA", algorithm=rsa_oid(5, NULL), sign=pkcs1(5))
odd("SHA-224", False, "RSA", algorithm=rsa_oid(14, NULL), sign=pkcs1(14), why="of no CA")
odd("RSA's signature without NULL", True, "RSA", algorithm=rsa_oid(11), sign=pkcs1(11))
odd(
    "RSA's signature with more",
    False,
    "RSA",
    algorithm=rsa_oid(11, NULL, NULL),
    sign=pkcs1(11),
)
odd("SHA-384 said, SHA-256 used", False, "RSA", algorithm=rsa_oid(12, NULL), sign=pkcs1(11))
odd(
    "another algorithm outside",
    False,
    "RSA",
    algorithm=rsa_oid(11, NULL),
    outer=rsa_oid(12, NULL),
    sign=pkcs1(12),
)
odd("ECDSA said with an RSA key", False, "RSA", algorithm=oid(ECDSA_SHA256), sign=pkcs1(11))
odd("RSA said with a P-256 key", False, "P-256", algorithm=rsa_oid(11, NULL))
odd("PSS said with a P-256 key", False, "P-256", algorithm=rsa_oid(10, pss_parameters()))
odd("rsaEncryption as a signature", False, "RSA", algorithm=rsa_oid(1, NULL), sign=pkcs1(11))
odd("ECDSA with NULL", False, "P-256", STRICT, algorithm=oid(ECDSA_SHA256, NULL))
odd(
    "ECDSA with SHA-1",
    False,
    "P-256",
    algorithm=oid(b"\x2a\x86\x48\xce\x3d\x04\x01"),
    sign=lambda data: key("P-256", 3).sign(data, ec.ECDSA(hashes.SHA1())),
)
odd(
    "ECDSA with SHA-224",
    False,
    "P-256",
    "of no CA",
    algorithm=oid(ECDSA_SHA256[:-1] + b"\1"),
    sign=lambda data: key("P-256", 3).sign(data, ec.ECDSA(hashes.SHA224())),
)
odd("BER length in a signature", False, "P-256", sign=ecdsa(lambda found: b"\x30\x81" + found[1:]))
odd("zero too many in a signature", False, "P-256", sign=ecdsa(padded))
odd("more after a signature", False, "P-256", sign=ecdsa(lambda found: found + b"\0"))
odd("signature of zeros", False, "P-256", sign=lambda data: der.sequence(b"\2\1\0" * 2))

# RSASSA-PSS.
for title, accepted, parameters, sign, why in (
    ("as made", True, pss_parameters(), pss(32), ""),
    ("longer salt", True, pss_parameters(64), pss(64), ""),
    ("no salt", True, pss_parameters(0), pss(0), ""),
    ("other salt than said", False, pss_parameters(31), pss(32), ""),
    ("other mask than said", False, pss_parameters(mask=2), pss(32), ""),
    ("mask of another hash", False, pss_parameters(mask=2), pss(32, SHA[1]), "rare"),
    ("other hash than said", False, pss_parameters(digest=2, mask=2), pss(32), ""),
    ("another mask function", False, pss_parameters(mgf=9), pss(32), ""),
    ("trailer 1", True, pss_parameters(trailer=der.tlv(0xA3, asn1.integer(1))), pss(32), ""),
    ("trailer 2", False, pss_parameters(trailer=der.tlv(0xA3, asn1.integer(2))), pss(32), ""),
    ("no parameters", False, b"", pss(32), ""),
    ("NULL", False, NULL, pss(32), ""),
    ("more", False, pss_parameters() + NULL, pss(32), ""),
    ("SHA-1, as is the default", False, der.sequence(), pss_sha1, ""),
    ("PKCS #1 v1.5 inside", False, pss_parameters(), pkcs1(11), ""),
):
    odd(f"PSS: {title}", accepted, "RSA", why, algorithm=rsa_oid(10, parameters), sign=sign)
for title, accepted, parameters in (
    ("none", True, ()),
    ("the same", True, (pss_parameters(),)),
    ("less salt", True, (pss_parameters(20),)),
    ("more salt", False, (pss_parameters(33),)),
    ("another hash", False, (pss_parameters(digest=2, mask=2),)),
):
    case(
        f"PSS key for {title}",
        accepted,
        lambda parameters=parameters: odd_root(
            "RSA", rsa_oid(10, *parameters), pss(32), algorithm=rsa_oid(10, pss_parameters())
        ),
    )
case(
    "PSS key and PKCS #1 v1.5",
    False,
    lambda: odd_root("RSA", rsa_oid(10), pkcs1(11), algorithm=rsa_oid(11, NULL)),
)


@pytest.mark.parametrize("title", CASES)
def test_verdicts(title: str, tmp_path: Path) -> None:
    make, accepted, why = CASES[title]
    certificates = make()
    assert accepts(certificates) == accepted
    same = openssl_accepts(certificates, tmp_path) == accepted
    assert same != bool(why), "openssl has %s verdict" % ("the same" if same else "another")


LINKS = st.builds(
    dict,
    kind=st.sampled_from(("P-256", "P-384", "RSA")),
    ca=st.sampled_from((True, True, True, True, False, None)),
    length=st.sampled_from((None, None, None, 0, 1)),
    usage=st.sampled_from((None, None, usage(True), usage(False))),
    start=st.sampled_from((-2, -1, -1, -1, 1)),
    end=st.sampled_from((1, 1, 1, 3)),
    sha=st.integers(0, 2),
)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.lists(LINKS, min_size=1, max_size=3), st.booleans(), st.data())
def test_any_chain(tmp_path: Path, links: list[dict], self_signed: bool, data: st.DataObject):
    parts = [leaf(sha=data.draw(st.integers(0, 2)))]
    for at, link in enumerate(links):
        if not link["ca"]:
            link["length"] = None
        parts.append(Made(f"issuer {at}", number=at, **link))
    certificates = chain(*parts)
    if any(link["ca"] is None for link in links):
        # Of a CA that does not say so openssl takes keyUsage's word; RFC 5280 6.1.4 (k) does not.
        assert not accepts(certificates)
    else:
        assert accepts(certificates) == openssl_accepts(certificates, tmp_path)


def test_sha1_is_taken_from_listed_anchors_only() -> None:
    made = odd_leaf("RSA", Change(algorithm=rsa_oid(5, NULL), sign=pkcs1(5)))
    below = chain(leaf(), middle(), root(kind="RSA"))
    intermediate = changed(below[1], None, Change(algorithm=rsa_oid(5, NULL), sign=pkcs1(5)))
    chains = made, [below[0], intermediate, below[2]]
    assert not any(map(accepts, chains))
    try:
        signatures.allow_sha1(chain(low(kind="RSA"))[0])
        assert not any(map(accepts, chains))
        signatures.allow_sha1(made[1])
        assert all(map(accepts, chains))
        # Not for a signature that is wrong, nor by another key, nor for MD5.
        assert not accepts([made[0][:-1] + bytes((made[0][-1] ^ 1,)), made[1]])
        assert not accepts(odd_leaf("RSA", Change(algorithm=rsa_oid(4, NULL), sign=pkcs1(5))))
        other = Change(algorithm=rsa_oid(5, NULL), sign=lambda data: pkcs1(5)(data + b"x"))
        assert not accepts(odd_leaf("RSA", other))
    finally:
        signatures._sha1.clear()
    assert not any(map(accepts, chains))

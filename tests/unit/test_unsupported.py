"""The true reason: a part that is missing or broken, what is no base64, what TLS does not load."""

import sys

import check
import est
from est import (
    asn1,
    attributes,
    auth,
    base64,
    challenge,
    der,
    duty,
    errors,
    keys,
    parts,
    protocol,
    reasons,
    refusal,
    rsa_key,
    run,
    serverkeygen,
    signatures,
    x509,
)
from est.errors import PeerError, Unsupported, UsageError
from test_messages import DAY, KEY, NOW, OTHER, certificate, signed_data
from test_rsa_key import KEY as RSA

MISSING = (
    ("no module named 'est.hashes'", "est.hashes"),
    ("No module named 'est.rsa_pss'", "est.rsa_pss"),
    ("cannot import name 'hashes' from 'est' (/a/est/__init__.py)", "est.hashes"),
)
BROKEN = (
    "can't import name new",
    "cannot import name 'new' from 'est.hashes' (/a/est/hashes.py)",
    "no module named 'machine'",
    "module not found",
    "",
)


def test_missing_or_broken():
    for text, part in MISSING:
        error = errors.missing(ImportError(text))
        assert isinstance(error, Unsupported)
        assert str(error) == "it needs %s, which is not installed" % part, str(error)
    for text in BROKEN:
        error = errors.missing(ImportError(text))
        assert str(error).startswith("a part of est is broken"), str(error)
        assert text in str(error)
    # The least install says less, and what is true.
    for text in BROKEN + tuple(text for text, _ in MISSING):
        error = check.without("reasons", errors.missing, ImportError(text))
        assert isinstance(error, Unsupported)
        assert str(error) == text


def test_the_platform_says_so():
    """The words of this very interpreter are understood."""
    for name in ("est.nothing", "from est"):
        try:
            if name == "from est":
                from est import nothing  # noqa: F401
            else:
                __import__(name)
        except ImportError as error:
            assert "needs est.nothing," in str(errors.missing(error)), str(error)
    try:
        from est.numbers import nothing  # noqa: F401
    except ImportError as error:
        assert "is broken" in str(errors.missing(error)), str(error)


def test_a_part_of_a_part():
    """est.signatures without est.hashes is no unsupported algorithm."""
    algorithm, signature = KEY.sign(b"x")
    spki = KEY.spki()
    longer = spki.replace(b"\x3d\x03\x01\x07", b"\x3d\x03\x01\x06")
    loaded = [sys.modules.pop("est." + name, None) for name in ("signatures", "hashes")]
    kept = [(name, est.__dict__.pop(name)) for name in ("signatures", "hashes")]
    try:
        for part in ("signatures", "hashes"):
            error = check.raises(
                Unsupported, check.without, part, x509.verify, longer, algorithm, b"x", signature
            )
            assert str(error) == "it needs est.%s, which is not installed" % part, str(error)
    finally:
        for (name, module), found in zip(kept, loaded):
            setattr(est, name, module)
            sys.modules["est." + name] = found
    other = der.sequence(der.tlv(asn1.OID, b"\x2a\x86\x48\xce\x3d\x04\x03\x03"))
    error = check.raises(
        Unsupported, check.without, "sha512", x509.verify, spki, other, b"x", signature
    )
    assert "needs est.sha512," in str(error), str(error)
    key = rsa_key.load(RSA)
    algorithm, signature = key.sign(b"x")
    error = check.raises(
        Unsupported, check.without, "rsa", x509.verify, key.spki(), algorithm, b"x", signature
    )
    assert "needs est.rsa," in str(error), str(error)
    error = check.raises(
        Unsupported, signatures.verify, longer, KEY.sign(b"x")[0], b"x", signature
    )
    assert "curve" in str(error)


def test_a_key_that_needs_a_part():
    error = check.raises(Unsupported, check.without, "key_forms", keys.load, b"\x30\0")
    assert "est.key_forms" in str(error)


def test_a_part_that_only_some_need():
    def lacks(text):
        raise ImportError(text)

    for text, _ in MISSING:
        assert parts.optional(lambda: lacks(text)) is None
    for text in BROKEN:
        error = check.raises(Unsupported, parts.optional, lambda: lacks(text))
        assert "is broken" in str(error)
        assert check.without("reasons", parts.optional, lambda: lacks(text)) is None


def test_a_stored_order_of_a_kind_that_is_not_installed():
    error = check.raises(Unsupported, check.without, "serverkeygen", duty.of_kind, "serverkeygen")
    assert "needs est.serverkeygen," in str(error)


def test_a_login_that_needs_a_part():
    """The server offers nothing else that may be done."""
    digest = ['Digest realm="a", nonce="b"']
    for login, offered in (
        (auth.Password("u", "secret"), digest),
        (auth.Password("u", "secret", basic=False), digest + ["Basic"]),
    ):
        error = check.raises(
            Unsupported, check.without, "digest", challenge.answer, login, offered
        )
        assert "needs est.digest," in str(error)
    login = auth.Password("u", "secret")
    assert check.without("digest", challenge.answer, login, digest + ["Basic"])


def test_a_demand_that_needs_a_part():
    wanted = attributes.CsrAttrs()
    wanted.keys = ["P-384"]
    error = check.raises(UsageError, check.without, "key_types", wanted.demands, None, print)
    assert "P-384" in str(error) and "est.key_types is not installed" in str(error)


def test_a_given_key():
    """What is only not supported is told as that, of SEC1 and of PKCS #8."""
    private = KEY.der()[7:39]
    point = KEY.spki()[26:]
    compressed = bytes((2 + (point[-1] & 1),)) + point[1:33]
    named = der.tlv(asn1.OID, b"\x2a\x86\x48\xce\x3d\x03\x01\x07")
    ec = der.tlv(asn1.OID, b"\x2a\x86\x48\xce\x3d\x02\x01")
    spelt_out = der.sequence(asn1.integer(1))

    def sec1(curve, public):
        halves = der.tlv(0xA0, curve), der.tlv(0xA1, der.bits(public))
        return der.sequence(asn1.integer(1), der.octets(private), *halves)

    def pkcs8(algorithm):
        key = der.octets(sec1(named, point))
        return der.sequence(asn1.integer(0), der.sequence(*algorithm), key)

    for data, word in (
        (sec1(named, compressed), "a compressed point"),
        (sec1(named, b"\6" + point[1:]), "a hybrid point"),
        (sec1(spelt_out, point), "a curve that is not named"),
        (pkcs8((ec, spelt_out)), "a curve that is not named"),
        (sec1(der.tlv(asn1.OID, b"\x2b\x81\x04\0\x0a"), point), "curve 1.3.132.0.10"),
        (pkcs8((der.tlv(asn1.OID, b"\x2b\x65\x70"),)), "algorithm 1.3.101.112"),
    ):
        error = check.raises(Unsupported, keys.load, data)
        assert word in str(error) and "not supported" in str(error), str(error)
    error = check.raises(Unsupported, check.without, "rsa_key", keys.load, RSA)
    assert "needs est.rsa_key," in str(error)
    error = check.raises(UsageError, keys.load, sec1(named, b"\4" + bytes(64)))
    assert not isinstance(error, Unsupported)


def test_a_key_from_the_server():
    """Its order stays (est.verdict.judge) where only this board cannot use or decrypt it."""
    root = certificate("CN=root", "CN=root", KEY, KEY, 0)
    issued = signed_data(root)

    def accept(data):
        order = serverkeygen.ServerKey()
        order.answer = [issued, data]
        return run(order.accept([], [root.der], NOW))

    strange = der.sequence(asn1.integer(0), der.sequence(der.tlv(asn1.OID, b"\x2b\x65\x70")))
    error = check.raises(Unsupported, accept, strange)
    assert "the key that the server sent" in str(error) and "1.3.101.112" in str(error)
    oid = der.tlv(asn1.OID, b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03")
    enveloped = der.sequence(oid, der.tlv(0xA0, der.sequence()))
    error = check.raises(Unsupported, check.without, "envelope", accept, enveloped)
    assert "needs est.envelope," in str(error)
    check.raises(PeerError, accept, der.sequence(asn1.integer(9)))


def test_apart_after_an_import_that_failed():
    """A module that failed halfway stays in sys.modules on MicroPython, and is no attribute."""

    def half():
        sys.modules["est.half"] = reasons
        raise MemoryError

    check.raises(MemoryError, est.apart, half)
    assert "est.half" not in sys.modules


def decoded(text, step=0):
    out = bytearray()
    sink = protocol.Body(out, 0)
    for at in range(0, len(text), step or len(text)):
        sink.feed(text[at : at + (step or len(text))])
    sink.end()
    return bytes(out)


WEB_PAGES = (
    b"<!DOCTYPE html>\r\n<html><body>Log in</body></html>",
    b"\r\n\t <html>\xff\xfe</html>",
    b"\xef\xbb\xbf<?xml version='1.0'?><error/>",
)
PEM = b"-----BEGIN PKCS7-----\n" + base64.encode(bytes(60)) + b"-----END PKCS7-----\n"


def test_what_is_no_base64():
    for step in (0, 1, 3, 4):
        for page in WEB_PAGES:
            error = check.raises(PeerError, decoded, page, step)
            assert "a web page came" in str(error), (step, str(error))
            assert "URL" in str(error)
        error = check.raises(PeerError, decoded, b'{"error": "not_found"}', step)
        assert "JSON came" in str(error)
        error = check.raises(PeerError, decoded, PEM, step)
        assert "PEM came" in str(error), (step, str(error))
    error = check.raises(PeerError, decoded, b"MAA=MAA=")
    assert str(error) == "base64: unexpected character or padding"
    # What is there may be of a key.
    for text in (b"MAsecret!", b"<secret>", b"-----BEGIN SECRET-----"):
        assert "secret" not in str(check.raises(PeerError, decoded, text)).lower()
    error = check.raises(PeerError, check.without, "reasons", decoded, WEB_PAGES[0])
    assert str(error) == "base64: malformed"


def test_what_tls_does_not_load():
    strange = certificate("CN=root", "CN=root", KEY, KEY, 1, extra=[(b"\x55\x1d\x1e", b"\x30\0")])
    assert refusal.name(strange.der) == (
        " CN=root, whose critical extension 2.5.29.30 TLS may not know,"
    )
    assert refusal.name(certificate("CN=a", "CN=b", KEY, OTHER, 0).der) == " CN=a"
    dsa = strange.der.replace(b"\x2a\x86\x48\xce\x3d\x02\x01", b"\x2a\x86\x48\xce\x38\x04\x01")
    assert ", whose key 1.2.840.10040.4.1 TLS may not know," in refusal.name(dsa)
    for data in (b"", b"-----BEGIN CERTIFICATE-----", strange.der[:-1]):
        assert "no certificate in DER" in refusal.name(data)


class Context:
    shown = ()
    now = NOW

    def __init__(self, leaf):
        self.leaf = leaf


def test_a_server_that_cannot_be_judged():
    unknown = certificate("CN=a", "CN=b", KEY, OTHER, extra=[(b"\x55\x1d\x1c", b"\x30\0")])
    text = refusal.reason(Context(unknown.der), "a", -0x2700, "its words")
    assert "unknown critical extension 2.5.29.28" in text and text.endswith("(its words)")
    assert refusal.reason(Context(None), "a", -0x2700, "its words") == "its words"


def test_why_the_own_certificate_is_refused():
    root = certificate("CN=root", "CN=root", OTHER, OTHER, 0)
    leaf = certificate("CN=leaf", "CN=root", KEY, OTHER)
    assert "revoked" in refusal.of_own([leaf.der], [root.der], NOW)
    assert "expired" in refusal.of_own([leaf.der], [root.der], NOW + 2 * DAY)
    assert "does not have its issuer" in refusal.of_own([leaf.der], [], NOW)
    odd = certificate("CN=root", "CN=root", OTHER, OTHER, 0, extra=[(b"\x55\x1d\x1c", b"\x30\0")])
    text = refusal.of_own([leaf.der], [odd.der], NOW)
    assert "cannot be judged here" in text and "unknown critical extension" in text, text


def test_it_is_no_wrong_use():
    """What a server uses ends no service, as wrong settings do."""
    from estd import exits

    assert exits.of(UsageError("x")) == exits.USAGE
    assert exits.of(Unsupported("x")) == exits.of(PeerError("x")) == exits.NETWORK

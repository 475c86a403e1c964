"""CSR attributes: what each published example means, and what a board makes of it."""

import check
from est import asn1, base64, csrattrs, csrtemplate, der, extensions, x509
from est.csr import name
from est.der import DerError
from est.errors import UsageError

EXAMPLES = (
    "rfc7030/a2-csrattrs-resp.der",
    "rfc8951/4-csrattrs-example.der",
    "rfc9908/5.1-acp-san.csrattrs.der",
    "rfc9908/5.2-rfc7030-corrected.csrattrs.der",
    "rfc9908/5.3-potato.csrattrs.der",
    "rfc9908/5.4-rsa4096.csrattrs.der",
    "rfc9908/5.5-p384.csrattrs.der",
    "rfc9908/5.6-p521-attrs.csrattrs.der",
    "rfc9908/DERIVED-3.4-csrattrs.normative-oid-16.2.62.der",
    "rfc9908/DERIVED-3.4-csrattrs.as-printed-oid-9.62.der",
)
TEMPLATES = EXAMPLES[-2:]

MAC_ADDRESS = "1.3.6.1.1.1.1.22"
KEY_USAGE = "2.5.29.15"
SAN = "2.5.29.17"
BASIC_CONSTRAINTS = "2.5.29.19"
EXT_KEY_USAGE = "2.5.29.37"
TEMPLATE = "1.2.840.113549.1.9.16.2.61"
EXTENSION_TEMPLATE = "1.2.840.113549.1.9.16.2.62"
EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
CHALLENGE = "1.2.840.113549.1.9.7"
RSA = "1.2.840.113549.1.1.1"
CLIENT_AUTH = extensions.requested(eku=["clientAuth"])[0][2]


def oid(text):
    return der.tlv(asn1.OID, extensions.oid(text))


def attribute(kind, *values):
    return der.sequence(oid(kind), der.set_of(*values))


def template(subject=b"", key=b"", *attributes):
    """CsrAttrs DER that holds only a template."""
    body = der.sequence(asn1.integer(0), subject, key, der.tlv(0xA1, *attributes))
    return der.sequence(attribute(TEMPLATE, body))


def partial(*listed):
    """The attribute with ExtensionTemplates of (OID, critical, DER value or None)."""
    return attribute(EXTENSION_TEMPLATE, der.sequence(*[extension(*one) for one in listed]))


def extension(kind, critical=False, value=None):
    flag = der.tlv(asn1.BOOLEAN, b"\xff") if critical else b""
    return der.sequence(oid(kind), flag, b"" if value is None else der.octets(value))


def meaning(attrs):
    """(first key, signature, digest, challenge_password, extensions, unknown), the OIDs dotted."""
    listed = [(asn1.oid_text(one), critical, value) for one, critical, value in attrs.extensions]
    unknown = [asn1.oid_text(one) for one in attrs.unknown]
    key = attrs.keys[0] if attrs.keys else None
    return key, attrs.signature, attrs.digest, attrs.challenge_password, listed, unknown


def example(path):
    return csrattrs.parse(check.vector(path))


def applied(attrs, subject="CN=a", san=(), eku=(), kept=(), extra=()):
    """(subject as text, {dotted OID: (critical, DER value)} as in a request, lines of the log)."""
    log = []
    wanted = extensions.requested(san, eku)
    subject, listed = attrs.apply(subject, wanted, list(kept), extra, log.append)
    found = {asn1.oid_text(one): (critical, value) for one, critical, value in listed}
    return x509.name_text(subject), found, log


def test_rfc7030_example():
    # A bare curve is a wish: servers of old list it without meaning to refuse other keys.
    assert meaning(example("rfc7030/a2-csrattrs-resp.der")) == (
        None,
        None,
        "SHA-384",
        True,
        [],
        [MAC_ADDRESS, "2.999.1", "2.999.2", "1.3.36.3.3.2.8.1.1.11"],
    )


def test_several_keys_and_hints():
    ec = "1.2.840.10045.2.1"
    p256, p384 = "1.2.840.10045.3.1.7", "1.3.132.0.34"
    attrs = csrattrs.parse(
        der.sequence(
            attribute(ec, oid(p256)), attribute(RSA, asn1.integer(3072)), attribute(ec, oid(p384))
        )
    )
    assert (attrs.keys, attrs.hints) == (["P-256", "RSA-3072", "P-384"], [])
    # Several values of one attribute are as several attributes.
    attrs = csrattrs.parse(
        der.sequence(
            attribute(ec, oid(p256), oid(p384)),
            attribute(RSA, asn1.integer(2048), asn1.integer(3072)),
        )
    )
    assert attrs.keys == ["P-384", "P-256", "RSA-2048", "RSA-3072"]
    attrs = csrattrs.parse(der.sequence(oid(ec), oid(RSA), oid(p384)))
    assert (attrs.keys, attrs.hints, attrs.unknown) == ([], ["EC", "RSA", "P-384"], [])


def demanded(parts, other=None):
    """(what is demanded of the key, what is logged) where est.key_types is missing, too."""
    said = []
    attrs = csrattrs.parse(der.sequence(*parts))
    found = attrs.demands(other, said.append)
    without = check.without("key_types", attrs.demands, other, said.append)
    return found, without, " ".join(said)


def test_what_is_demanded_of_the_key():
    ec = "1.2.840.10045.2.1"
    p256, p384, sha384 = "1.2.840.10045.3.1.7", "1.3.132.0.34", "2.16.840.1.101.3.4.2.2"
    for plain in ([], [oid(ec)], [attribute(ec, oid(p256))], [oid(p256)]):
        assert demanded(plain) == (None, None, "")
    # What libest and OpenXPKI list by default ends no enrolment.
    for hints, words in (
        ([oid(RSA)], "suggests RSA, this"),
        ([oid(p384), oid(sha384)], "suggests P-384 SHA-384, this"),
    ):
        found, without, said = demanded(hints)
        assert found and without is None and words in said, said
    found, without, said = demanded([attribute(ec, oid(p384)), attribute(ec, oid(p256))])
    assert found[0] == ["P-384", "P-256"] and without is None and said == ""
    attrs = csrattrs.parse(
        der.sequence(attribute(ec, oid(p384)), attribute(RSA, asn1.integer(2048)))
    )
    error = check.raises(UsageError, check.without, "key_types", attrs.demands, None, print)
    assert "P-384 or RSA-2048" in str(error)


def test_rfc8951_example():
    # macAddress stands in the extension request, as if it were an extension.
    assert meaning(example("rfc8951/4-csrattrs-example.der")) == (
        "P-384",
        "ecdsa-with-SHA384",
        None,
        True,
        [(MAC_ADDRESS, False, None)],
        [],
    )


def test_rfc9908_examples():
    first = example("rfc9908/5.1-acp-san.csrattrs.der")
    assert meaning(first)[:4] == (None, None, None, False)
    ((kind, critical, value),) = meaning(first)[4]
    assert (kind, critical) == (SAN, True)
    # One otherName of kind id-on-AcpNodeName (RFC 8994), an IA5String.
    assert value[:4] == b"\x30\x49\xa0\x47"
    assert value.endswith(b"rfc8994+fd739fc23c3440112233445500000000+@acp.example.com")
    assert meaning(example("rfc9908/5.2-rfc7030-corrected.csrattrs.der")) == (
        "P-384",
        "ecdsa-with-SHA384",
        None,
        True,
        [],
        [MAC_ADDRESS],
    )
    assert meaning(example("rfc9908/5.4-rsa4096.csrattrs.der")) == (
        "RSA-4096",
        "sha256WithRSAEncryption",
        None,
        True,
        [],
        [],
    )
    assert meaning(example("rfc9908/5.5-p384.csrattrs.der")) == (
        "P-384",
        "ecdsa-with-SHA384",
        None,
        True,
        [],
        ["2.5.4.5"],
    )
    # friendlyName, favouriteDrink and serialNumber, and no alternative name.
    last = (
        "P-521",
        "ecdsa-with-SHA512",
        None,
        True,
        [],
        ["1.2.840.113549.1.9.20", "0.9.2342.19200300.100.1.5", "2.5.4.5"],
    )
    assert meaning(example("rfc9908/5.6-p521-attrs.csrattrs.der")) == last
    assert meaning(example("rfc9908/5.3-potato.csrattrs.der")) == last


def test_libest_answer():
    answer = check.vector("libest/libest32-csrattrs.http")
    body = answer[answer.find(b"\r\n\r\n") + 4 :]
    out = bytearray()
    decoder = base64.Decoder(out)
    decoder.feed(body)
    decoder.end()
    attrs = csrattrs.parse(out)
    assert attrs.hints == ["P-384"]
    unknown = ["1.3.6.1.1.1.1.22", "1.2.840.113549.1.9.1"]
    assert meaning(attrs) == (None, None, "SHA-384", False, [], unknown)


def test_template_example():
    for path in TEMPLATES:
        attrs = example(path)
        assert isinstance(attrs, csrtemplate.Template)
        rdns = [[(asn1.oid_text(one), value) for one, value in rdn] for rdn in attrs.subject]
        assert rdns == [
            [("2.5.4.3", None)],
            [("2.5.4.11", b"\x0c\x06myDept")],
            [("2.5.4.11", b"\x0c\x07myGroup")],
        ]
        names = der.sequence(b"\x82\x10www.myServer.com", b"\x87\0")
        assert meaning(attrs) == (
            "P-256",
            None,
            None,
            False,
            [
                (SAN, False, names),
                (KEY_USAGE, True, b"\x03\x02\x03\x88"),
                (EXT_KEY_USAGE, False, None),
            ],
            [],
        )


def test_template_filled_in():
    for path in TEMPLATES:
        subject, found, log = applied(example(path), "CN=b1", ["IP:192.0.2.9"], ["serverAuth"])
        assert subject == "CN=b1,OU=myDept,OU=myGroup"
        assert found == {
            SAN: (False, der.sequence(b"\x82\x10www.myServer.com", b"\x87\x04\xc0\0\2\x09")),
            KEY_USAGE: (True, b"\x03\x02\x03\x88"),
            EXT_KEY_USAGE: (False, extensions.requested(eku=["serverAuth"])[0][2]),
        }
        assert log == []
        # A board without a purpose of its own is a TLS client.
        assert applied(example(path), "CN=b1", ["IP:::1"])[1][EXT_KEY_USAGE] == (
            False,
            CLIENT_AUTH,
        )


def test_template_that_the_board_cannot_fill():
    attrs = example(TEMPLATES[0])
    for subject, san, named in (
        ("CN=a", [], "the board's IP address (san)"),
        ("CN=a", ["DNS:a.example"], "IP address"),
        ("O=a", ["IP:192.0.2.9"], "CN"),
        ("", ["IP:192.0.2.9"], "CN"),
    ):
        assert named in str(check.raises(UsageError, applied, attrs, subject, san))
    attrs = csrattrs.parse(template(b"", b"", partial((SAN, False, None))))
    assert "san" in str(check.raises(UsageError, applied, attrs))
    assert SAN in applied(attrs, "CN=a", ["DNS:a.example"])[1]


def test_template_leaves_out_what_it_has_no_place_for():
    subject, _, log = applied(example(TEMPLATES[0]), "CN=a,O=b,OU=myDept,CN=c", ["IP:::1"])
    assert subject == "CN=a,OU=myDept,OU=myGroup"
    assert log == ["the server's template has no place for this of the subject: O=b,CN=c"]


def test_template_comes_before_everything_else():
    old = example("rfc8951/4-csrattrs-example.der")
    assert old.keys == ["P-384"]
    parts = check.vector("rfc8951/4-csrattrs-example.der")[2:]
    for whole in (parts + template()[2:], template()[2:] + parts):
        assert meaning(csrattrs.parse(der.sequence(whole))) == (None, None, None, False, [], [])


def test_template_without_a_subject_leaves_the_boards():
    attrs = csrattrs.parse(template())
    assert attrs.subject is None
    assert applied(attrs, "CN=a,O=b", ["DNS:a"])[0] == "CN=a,O=b"
    check.raises(UsageError, applied, attrs, "")
    # An empty list of RDNs takes none.
    assert applied(csrattrs.parse(template(der.sequence())), "")[0] == ""


def test_template_on_renewal_keeps_the_names():
    kept = extensions.requested(["DNS:old.example", "IP:192.0.2.1"])
    subject, found, _ = applied(example(TEMPLATES[0]), name("CN=old"), kept=kept)
    assert subject == "CN=old"
    assert found[SAN] == (False, kept[0][2])


def test_template_attributes():
    full = attribute(EXTENSION_REQUEST, der.sequence(extension(KEY_USAGE, True, b"\3\2\7\x80")))
    attrs = csrattrs.parse(template(b"", b"", full, attribute(CHALLENGE), attribute(MAC_ADDRESS)))
    assert meaning(attrs)[3:] == (True, [(KEY_USAGE, True, b"\3\2\7\x80")], [MAC_ADDRESS])
    listed = partial((BASIC_CONSTRAINTS, True), ("1.2.3", False), ("1.2.4", True, b"x"))
    attrs = csrattrs.parse(template(b"", b"", listed))
    _, found, log = applied(attrs)
    assert found == {BASIC_CONSTRAINTS: (True, b"\x30\0"), "1.2.4": (True, b"x")}
    assert log == ["the server also asks for what is left out: 1.2.3"]


def test_template_keys():
    def key(algorithm, *placeholder):
        return csrattrs.parse(template(b"", der.tlv(0xA0, algorithm, *placeholder))).keys[0]

    rsa = der.sequence(oid(RSA), b"\5\0")

    def placeholder(modulus):
        return der.bits(der.sequence(der.tlv(2, modulus), asn1.integer(65537)))

    assert key(rsa) == "RSA"
    assert key(rsa, placeholder(b"\0\x80" + bytes(383))) == "RSA-3072"
    assert key(rsa, placeholder(b"\xff" * 256)) == "RSA-2048"
    assert key(rsa, placeholder(bytes(513))) == "RSA-4096"
    ec = "1.2.840.10045.2.1"
    assert key(der.sequence(oid(ec))) == "EC"
    assert key(der.sequence(oid(ec), oid("1.3.132.0.35"))) == "P-521"
    assert key(der.sequence(oid(ec), oid("1.3.36.3.3.2.8.1.1.11"))) == "1.3.36.3.3.2.8.1.1.11"
    assert key(der.sequence(oid("1.3.101.112"))) == "1.3.101.112"


def test_extensions_with_and_without_values():
    wish = attribute(EXTENSION_REQUEST, oid(KEY_USAGE), oid(EXT_KEY_USAGE), oid("2.5.29.14"))
    _, found, log = applied(csrattrs.parse(der.sequence(wish, oid(SAN))), "CN=a", ["DNS:a"])
    assert found == {
        KEY_USAGE: (False, b"\3\2\7\x80"),
        EXT_KEY_USAGE: (False, CLIENT_AUTH),
        SAN: (False, der.sequence(b"\x82\1a")),
    }
    assert log == ["the server also asks for what is left out: 2.5.29.14"]
    value = der.sequence(b"\x82\1b")
    wish = attribute(EXTENSION_REQUEST, der.sequence(extension(SAN, True, value)))
    assert applied(csrattrs.parse(der.sequence(wish)), "CN=a", ["DNS:a"])[1] == {
        SAN: (True, value)
    }


def test_what_is_left_out_is_named():
    attrs = example("rfc7030/a2-csrattrs-resp.der")
    (line,) = applied(attrs)[2]
    for text in (MAC_ADDRESS, "2.999.1", "2.999.2", "challengePassword"):
        assert text in line
    # The subject and the caller's own attributes are what was asked for.
    attrs = example("rfc9908/5.5-p384.csrattrs.der")
    extra = [extensions.challenge("code")]
    assert applied(attrs, "CN=a,serialNumber=1", extra=extra)[2] == []
    assert len(applied(attrs, "CN=a", extra=extra)[2]) == 1


def test_nothing_asked_for():
    for data in (b"", b"\x30\0"):
        assert meaning(csrattrs.parse(data)) == (None, None, None, False, [], [])


def test_a_size_that_no_key_has():
    for size, key in ((b"\1" * 3000, "RSA-65536"), (2048, "RSA-2048"), (0, "RSA-0")):
        keys = csrattrs.parse(der.sequence(attribute(RSA, asn1.integer(size)))).keys
        assert keys == [key], keys


def test_malformed():
    for path in EXAMPLES:
        data = check.vector(path)
        check.truncated(csrattrs.parse, data)
        check.mutated(csrattrs.parse, data)
    for data in (
        der.sequence(*[b"\x06\x01\x2a"] * 65),
        der.sequence(attribute(EXTENSION_REQUEST, *[oid(SAN)] * 65)),
        der.sequence(attribute(TEMPLATE, der.sequence(asn1.integer(1), der.tlv(0xA1)))),
        der.sequence(attribute(TEMPLATE, der.sequence(asn1.integer(0)), b"\5\0")),
        template(b"\x31\0"),
        template(der.sequence(*[der.set_of(der.sequence(oid(SAN)))] * 65)),
        template(der.sequence(der.set_of(der.sequence(oid(SAN), b"\x0c\0", b"\x0c\0")))),
        template(b"", b"\xa0\0"),
        template(b"", der.tlv(0xA0, der.sequence(oid(RSA)), der.bits(b"\5\0"))),
        template(b"", b"", partial((SAN, False, b"")).replace(b"\4\0", b"\5\0")),
        b"\x31\0",
        b"\x30\0\0",
    ):
        check.raises(der.DerError, csrattrs.parse, data)


def test_malformed_alternative_names():
    def fill(value):
        return applied(
            csrattrs.parse(template(b"", b"", partial((SAN, False, value)))), "CN=a", ["DNS:a"]
        )

    value = der.sequence(b"\x82\0", b"\x86\5urn:a", b"\x82\3b.c")
    assert fill(value)[1][SAN][1] == der.sequence(b"\x82\1a", b"\x86\5urn:a", b"\x82\3b.c")
    check.truncated(fill, value)
    check.mutated(fill, value)


def test_each_of_the_boards_names_is_taken_once():
    value = der.sequence(b"\x82\0", b"\x87\0", b"\x82\0")
    attrs = csrattrs.parse(template(b"", b"", partial((SAN, False, value))))
    names = ["DNS:a", "DNS:b", "DNS:c", "IP:192.0.2.1"]
    found = applied(attrs, "CN=a", names)[1][SAN][1]
    assert found == der.sequence(b"\x82\1a", b"\x87\4\xc0\0\2\1", b"\x82\1b")
    attrs = csrattrs.parse(template(b"", b"", partial((SAN, False, value))))
    assert "DNS name" in str(check.raises(UsageError, applied, attrs, "CN=a", names[2:]))


def test_an_answer_in_ber():
    """As in DER, where est.ber is there; what is neither stays an error."""
    listed = oid(CHALLENGE) + attribute(EXTENSION_REQUEST, oid(SAN))
    for data in (b"\x30\x80" + listed + b"\0\0", b"\x30\x82\0" + bytes((len(listed),)) + listed):
        attrs = csrattrs.parse(data)
        assert meaning(attrs) == meaning(csrattrs.parse(der.sequence(listed)))
        error = check.raises(DerError, check.without, "ber", csrattrs.parse, data)
        assert "BER needs est.ber" in str(error), str(error)
    for bad in (b"\x30\x80" + listed, b"\x30\x80" + listed + b"\0\0\0", b"<html>"):
        check.raises(DerError, csrattrs.parse, bad)

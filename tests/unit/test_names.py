"""Names and object identifiers as text; and what remains of both without their parts."""

import check
from est import asn1, csr, der, names, oids, x509
from est.errors import EstError, UsageError


def common(text):
    """Name of one CN, as UTF8String."""
    pair = der.tlv(asn1.OID, b"\x55\x04\x03"), der.tlv(asn1.UTF8_STRING, text.encode())
    return der.sequence(der.set_of(der.sequence(*pair)))


def test_names_round_trip():
    for text in (
        "CN=a",
        "CN=board-1,O=Example,C=DE",
        "OU=a b,L=x,ST=y,serialNumber=17,emailAddress=a@b.example,DC=example",
        "CN=ü日本",
        "CN=a=b",
    ):
        assert names.text(names.name(text)) == text
        assert csr.name(text) == names.name(text)
        assert x509.name_text(names.name(text)) == text
    assert names.name("CN=a") == common("a")
    assert names.text(names.name(" CN = a , O=b")) == "CN=a,O=b"
    assert names.text(names.name("CN=a\\,b\\=c\\\\")) == "CN=a,b=c\\"


def test_names_have_bounds():
    for text in ("CN=" + "x" * 64, "serialNumber=" + "9" * 64, "C=DE", "L=" + "x" * 128):
        assert names.text(names.name(text)) == text
        longer = text + "x" if text != "C=DE" else "C=D"
        check.raises(UsageError, names.name, longer)
    # An escape needs what it escapes (RFC 4514 2.4).
    for text in ("CN=a\\", "CN=a\\\\\\", "CN=a,O=b\\"):
        assert text in str(check.raises(UsageError, names.name, text))
    assert names.name("CN=a\\\\") == common("a\\")
    # An octet of UTF-8 in hexadecimal.
    assert names.name("CN=\\C3\\a4\\2C\\xb") == common("\xe4,xb")
    for text in ("CN=\\C3", "CN=\\e4x"):
        assert "UTF-8" in str(check.raises(UsageError, names.name, text))
    for text in ("", ",", "CN", "CN=", "CN=a,", "x=1", "CN=a\x1fb", "serialNumber=_", "DC=a b"):
        check.raises(UsageError, names.name, text)


def test_names_of_others():
    unknown = der.sequence(
        der.set_of(
            der.sequence(der.tlv(asn1.OID, b"\x2a\x03\x04"), der.tlv(asn1.UTF8_STRING, b"x")),
            der.sequence(der.tlv(asn1.OID, b"\x55\x04\x03"), der.tlv(asn1.UTF8_STRING, b"\xff")),
        )
    )
    assert sorted(names.text(unknown).split(",")) == ["1.2.3.4=x", "CN=?"]
    assert names.text(der.sequence()) == ""
    check.truncated(names.text, unknown)
    check.mutated(names.text, unknown)


def test_names_without_the_part():
    def alone():
        assert csr.name("CN=board-1") == common("board-1")
        assert csr.name("CN=ü") == common("ü")
        for text in ("", "CN=", "O=a", "CN=a,O=b", "cn=a", "C=DE", "CN=a\\,b", "CN=a\\2C"):
            error = check.raises(UsageError, csr.name, text)
            assert "est.names" in str(error)
        # Not readable, and yet told apart.
        assert x509.name_text(common("a")) != x509.name_text(common("b"))
        assert isinstance(x509.name_text(common("a")), str)

    check.without("names", alone)


OIDS = (
    ("2b0601050507", "1.3.6.1.5.5.7"),
    ("2a864886f70d010702", "1.2.840.113549.1.7.2"),
    ("550403", "2.5.4.3"),
    ("883703", "2.999.3"),
    ("00", "0.0"),
    ("27", "0.39"),
    ("28", "1.0"),
    ("50", "2.0"),
    ("7f", "2.47"),
    ("2a8fffffff7f", "1.2.4294967295"),
)


def test_object_identifiers():
    for content, text in OIDS:
        assert oids.text(bytes.fromhex(content)) == text
        assert asn1.oid_text(bytes.fromhex(content)) == text
    # What ends amid an arc is no error here: what is shown is all that there is.
    assert oids.text(b"") == ""
    assert oids.text(b"\x2a\x86") == "1.2"


def test_object_identifiers_without_the_part():
    def alone():
        for content, _ in OIDS:
            assert asn1.oid_text(bytes.fromhex(content)) == content

    check.without("oids", alone)


def test_the_errors_are_typed():
    for bad in (b"", b"\x30\x05", der.sequence(b"\x05\0"), der.sequence(der.set_of(b"\x05\0"))):
        check.raises(EstError, names.text, bad)


def test_strings_of_every_type():
    for tag, value, text in (
        (0x0C, b"Ger\xc3\xa4t", "Ger\xe4t"),
        (0x13, b"device", "device"),
        (0x1E, b"\0G\0e\0r\0\xe4\0t", "Ger\xe4t"),
        (0x1E, b"\0\x31\x20\xac", "1\u20ac"),
        (0x1C, b"\0\0\0\xe4\0\0\0b", "\xe4b"),
        (0x0C, b"\xff", "?"),
        (0x1E, b"", ""),
        (0x0C, b"", ""),
        (0x0C, b"a\nNote: \x1b[31m\0\x7fb\xc2\xb0", "a?Note: ?[31m??b\xb0"),
        (0x1E, b"\0a\0\r\0b", "a?b"),
    ):
        pair = der.sequence(b"\x06\x03\x55\x04\x03", der.tlv(tag, value))
        assert names.text(der.sequence(der.set_of(pair))) == "CN=" + text, (tag, value)

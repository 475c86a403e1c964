"""Keys, requests, certificates and PKCS#7: their form, and anything but it."""

import check
from est import asn1, cms, csr, der, extensions, key_forms, keys, x509
from est.errors import NotTrusted, Unsupported, UsageError

KEY = keys.P256Key(bytes(31) + b"\7")
OTHER = keys.P256Key(bytes(31) + b"\x0b")
DAY = 86400
NOW = 1800000000


def certificate(subject, issuer, key, signer, ca=None, start=-DAY, end=DAY, extra=()):
    """A Certificate; `ca` is its path length, None for a leaf."""

    def time(seconds):
        # 2027-01-15 08:00:00 is NOW; whole days suffice here.
        day = 15 + seconds // DAY
        return der.tlv(asn1.GENERALIZED_TIME, b"202701%02d080000Z" % day)

    extensions = [
        der.sequence(der.tlv(asn1.OID, oid), der.tlv(1, b"\xff"), der.octets(value))
        for oid, value in extra
    ]
    if ca is not None:
        value = der.sequence(der.tlv(asn1.BOOLEAN, b"\xff"), asn1.integer(ca))
        extensions.append(
            der.sequence(der.tlv(asn1.OID, check.BASIC_CONSTRAINTS), der.octets(value))
        )
    algorithm = signer.sign(b"")[0]
    tbs = der.sequence(
        der.tlv(0xA0, asn1.integer(2)),
        asn1.integer(1),
        algorithm,
        csr.name(issuer),
        der.sequence(time(start), time(end)),
        csr.name(subject),
        key.spki(),
        der.tlv(0xA3, der.sequence(*extensions)),
    )
    return x509.Certificate(der.sequence(tbs, algorithm, der.bits(signer.sign(tbs)[1])))


def signed_data(*certificates):
    content = der.sequence(
        asn1.integer(1),
        der.set_of(),
        der.sequence(der.tlv(asn1.OID, extensions.oid("1.2.840.113549.1.7.1"))),
        der.tlv(0xA0, *[one.der for one in certificates]),
        der.set_of(),
    )
    oid = der.tlv(asn1.OID, extensions.oid("1.2.840.113549.1.7.2"))
    return der.sequence(oid, der.tlv(0xA0, content))


def test_keys_round_trip():
    for data in (KEY.der(), key_forms.pkcs8(KEY)):
        assert keys.load(data).der() == KEY.der()
        check.truncated(keys.load, data)
    check.raises(UsageError, keys.load, KEY.der() + b"\0")
    check.raises(UsageError, keys.load, KEY.der()[:-65] + OTHER.der()[-65:])
    check.raises(
        UsageError,
        keys.load,
        key_forms.pkcs8(OTHER).replace(b"\x3d\x03\x01\x07", b"\x3d\x03\x01\x06"),
    )


def subject(request):
    info = der.Reader(request).enter().enter()
    info.skip(asn1.INTEGER)
    return info.element(asn1.SEQUENCE)


def test_request_subject():
    request = csr.build(KEY, "CN=a\\,b,O=Ü,C=DE,DC=x", extensions.requested(["DNS:a.example"]))
    assert x509.name_text(subject(request)) == "CN=a,b,O=Ü,C=DE,DC=x"
    for text in ("", "CN=", "XX=1", "C=DEU", "CN=" + 65 * "x", "serialNumber=a_b", "DC=ü"):
        check.raises(UsageError, csr.name, text)


def test_request_signature():
    fields = der.Reader(csr.build(KEY, "CN=a")).enter()
    info = fields.element()
    algorithm = fields.element()
    assert x509.verify(KEY.spki(), algorithm, info, fields.bit_string())


def test_request_names():
    def extension(san):
        request = csr.build(KEY, "CN=a", extensions.requested([san]))
        at = request.find(b"\x06\x03" + check.SUBJECT_ALT_NAME)
        reader = der.Reader(request, at)
        reader.oid()
        return reader.bytes()

    assert extension("IP:192.0.2.1") == der.sequence(b"\x87\x04\xc0\0\2\1")
    for text, tail in (("2001:db8::1", 1), ("2001:db8:0:0:0:0:0:1", 1), ("2001:db8::", 0)):
        address = b"\x20\x01\x0d\xb8" + bytes(11) + bytes((tail,))
        assert extension("IP:" + text) == der.sequence(der.tlv(0x87, address))
    for text in (
        "IP:1.2.3",
        "IP:1.2.3.256",
        "IP:1:2",
        "IP:1::2::3",
        "IP::::",
        "X:1",
        "DNS:",
        "DNS:ü",
        "DNS:a..b",
        "DNS:-a",
        "DNS:a,DNS:b",
        "DNS:" + "a" * 64,
    ):
        check.raises(UsageError, extension, text)
    assert extension("DNS:*.a_1.example-2") == der.sequence(der.tlv(0x82, b"*.a_1.example-2"))
    check.raises(UsageError, csr.name, "CN=a\nb")


def test_path():
    root = certificate("CN=root", "CN=root", KEY, KEY, 1)
    middle = certificate("CN=middle", "CN=root", OTHER, KEY, 0)
    leaf = certificate("CN=leaf", "CN=middle", KEY, OTHER)
    path = x509.verify_path(leaf, [leaf, root, middle], [root], NOW)
    assert [str(one) for one in path] == ["CN=leaf", "CN=middle", "CN=root"]
    check.raises(NotTrusted, x509.verify_path, leaf, [], [root], NOW)
    check.raises(NotTrusted, x509.verify_path, leaf, [middle], [], NOW)


def test_paths_that_fail():
    root = certificate("CN=root", "CN=root", KEY, KEY, 0)
    leaf = certificate("CN=leaf", "CN=root", OTHER, KEY)
    assert x509.verify_path(leaf, [], [root], NOW)
    for now in (NOW - 2 * DAY, NOW + 2 * DAY):
        assert "check the clock" in str(check.raises(NotTrusted, leaf.check, NOW - 2 * DAY))
        check.raises(NotTrusted, x509.verify_path, leaf, [], [root], now)
    for bad in (
        certificate("CN=leaf", "CN=root", OTHER, OTHER),
        certificate("CN=leaf", "CN=elsewhere", OTHER, KEY),
        certificate("CN=leaf", "CN=root", OTHER, KEY, extra=[(b"\x55\x1d\x1c", b"\x30\0")]),
    ):
        check.raises((NotTrusted, Unsupported), x509.verify_path, bad, [], [root], NOW)
    for bad in (
        certificate("CN=root", "CN=root", KEY, KEY),
        certificate("CN=root", "CN=root", KEY, KEY, 0, -3 * DAY, -2 * DAY),
        certificate("CN=root", "CN=root", KEY, KEY, 0, extra=[(check.KEY_USAGE, b"\3\2\1\2")]),
    ):
        check.raises(NotTrusted, x509.verify_path, leaf, [], [bad], NOW)
    # The path length of the root allows no intermediate.
    middle = certificate("CN=middle", "CN=root", OTHER, KEY, 0)
    below = certificate("CN=below", "CN=middle", KEY, OTHER)
    check.raises(NotTrusted, x509.verify_path, below, [middle], [root], NOW)


def test_certificate_malformed():
    leaf = certificate("CN=leaf", "CN=root", OTHER, KEY, extra=[(check.KEY_USAGE, b"\3\2\7\x80")])
    check.truncated(x509.Certificate, leaf.der)
    check.mutated(x509.Certificate, leaf.der)


def test_pkcs7():
    root = certificate("CN=root", "CN=root", KEY, KEY, 0)
    leaf = certificate("CN=leaf", "CN=root", OTHER, KEY)
    data = signed_data(root, leaf)
    assert [str(x509.Certificate(one)) for one in cms.certificates(data)] == ["CN=root", "CN=leaf"]
    assert cms.certificates(signed_data()) == []
    check.truncated(cms.certificates, data)
    check.mutated(cms.certificates, data)
    assert len(cms.certificates(signed_data(*[leaf] * 48))) == 48
    check.raises(der.DerError, cms.certificates, signed_data(*[leaf] * 49))


def parsed(vector):
    return [x509.Certificate(one) for one in cms.certificates(check.vector(vector))]


def test_pkcs7_of_rfc7030():
    found = parsed("rfc7030/a1-cacerts-resp.der")
    assert len(found) == 4
    assert str(found[0]).startswith("CN=estExampleCA")
    # The link certificates of the RFC's example are no CA certificates.
    assert [one.path_length() >= 0 for one in found] == [True, False, False, True]
    found = parsed("rfc7030/a3-simpleenroll-resp.der")
    assert str(found[0]).startswith("CN=demostep4")

import binascii

import check
from est import (
    asn1,
    auth,
    cbc,
    cms,
    der,
    kdf,
    keys,
    keywrap,
    multipart,
    protocol,
    run,
    serverkeygen,
    steps,
    x509,
)
from est.errors import EstError, NotTrusted, PeerError, RetryLater, UsageError
from test_rsa_key import KEY as RSA_KEY

_KEY = keys.P256Key(bytes(31) + b"\5")
_DATA = bytes.fromhex("2a864886f70d010701")
_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
# `openssl cms -sign` of _KEY.der() by a CA, which it holds; from 2026 to 2126.
_SIGNED = bytes.fromhex(
    "3082033206092a864886f70d010702a08203233082031f020101310d300b060960864801650304020130818806"
    "092a864886f70d010701a07b047930770201010420000000000000000000000000000000000000000000000000"
    "0000000000000005a00a06082a8648ce3d030107a1440342000451590b7a515140d2d784c85608668fdfef8c82"
    "fd1f5be52421554a0dc3d033ede0c17da8904a727d8ae1bf36bf8a79260d012f00d4d80888d1d0bb44fda16da4"
    "a082017d308201793082011fa003020102021446b85455c0953cc339d5ab88352505cdb9df9467300a06082a86"
    "48ce3d0403023011310f300d06035504030c067369676e65723020170d3236313132333136323732305a180f32"
    "313236313033303136323732305a3011310f300d06035504030c067369676e65723059301306072a8648ce3d02"
    "0106082a8648ce3d03010703420004f79a269137b00d11f26e93a7b06794bba0df34ddaea25922fa4c66b607b8"
    "30a55601a8ea8aa497989af66e6e7dff71f14907c6bb660eae4a688ea68c8ebbc7bba3533051301d0603551d0e"
    "041604146d967cca2ae0ec12ed0b861a2b121cdd703cd66d301f0603551d230418301680146d967cca2ae0ec12"
    "ed0b861a2b121cdd703cd66d300f0603551d130101ff040530030101ff300a06082a8648ce3d04030203480030"
    "45022008b12bf4afceaeb05eb96f53b94336ed3c59e45331b76c31ef93faa8ff98a48e022100b2c3f69cec2199"
    "fd77e45ea8d6fa6e24db003503bfb86e40a288b2828a7af7d93181fe3081fb02010130293011310f300d060355"
    "04030c067369676e6572021446b85455c0953cc339d5ab88352505cdb9df9467300b0609608648016503040201"
    "a069301806092a864886f70d010903310b06092a864886f70d010701301c06092a864886f70d010905310f170d"
    "3236313132333136323732305a302f06092a864886f70d0109043122042033a18eec5a8d49e52e312db7482406"
    "dcbed75014851a69d5ee43eb144649f120300a06082a8648ce3d0403020447304502205d0f0272add3ac98ac83"
    "979a97e19b76cac6c9162e423522a61fac73748020a3022100a029363c2cfd7f3a2f5e0b27a37dbac2d12ccbbf"
    "925a3563728ab7dca9ebeb23"
)
# What globalsign/est 1.0.6 sent for /pkcs7/serverkeygen: EncryptedData with its own kind of
# parameters, in it SignedData, in that an RSA key.
_GLOBALSIGN = binascii.a2b_base64(
    "MIIH1QYJKoZIhvcNAQcGoIIHxjCCB8ICAQAwgge7BgkqhkiG9w0BBwEwIAYJYIZIAWUDBAEGEBMwEYQMy1V/J80e12Kv"
    "V3tJAgEQoIIHigSCB4b9qXRdqun5HOtrTiiXuTBxYqp8NnKHyy3Ld7NegQIcUk8yVeSQGeZezbQ9EUlL/Af2iu4gDDBh"
    "PYeBd5IyZMjRtrwxkweQs2DieAOfcbkJc2qoxsD7P4t7rVvpdkZ47h/6+eP3ZpUnOw8QET8iMFQa2mNknuoE1h+vKxeC"
    "eMrM2h11hKjfxPUS1OGHRKuK/1McbWRep2q0RwNwcsox+rMczC9/KsEXJY9PGBULzy7hfGzqQV2K/bLABWC+2rkaYTY9"
    "/efXRF+B+6SaZw/rx45HvIuRRdX/NqtrZTAhkc4QI+8v0CjAjjbnLzw9FgDjaCsb6fp7B2WlxlyJ4f+mTT9Ocv/aNrwr"
    "0p8DaTyVughyji4cjTZrBYiPrpl6xdpS/1ZA0mSvBEYog6XXi/OmD4GNfXSMz6+0/O35s4TTuwLVO1FTHazL/q0YMQ8x"
    "MtpEUlLSNNEEjQyJK37PUX6khe90zxsCov5e1zrlponyl3OVRn44IIWv6yMF2B+/SFm6cDqYAhij/LEqaqWQBMxE5mR3"
    "ypP1yireimultQmGLxa/1p3TXLexa1s2H7+w2K+KLx6CTyVR/uFqb1J5bbGzEQkm8Xx9c1GV5rnqBlS359N+mPVh25/I"
    "sAqfz5q0gI8/G2Yv579ql2I4Qi4FdAPDhYbd/22BaPQIDGOWNPl6gIBmSdBd49Whd/szARy8lufIpFdg3AngUZmc0/J9"
    "7HNZrAepGbyiofTerynVVmJNF6SJPYxeyRvFnht3/9RyNec03PoLKTsh0q0gCpxjwItL9TrVUuof6TaJNsTWVFuGHbHy"
    "U2Ezx8tITpBMlqlRTUpGG1F9V5fkBpoaQWUAErLEwKzMYvFyX6D2cUDkfZ3BVlLfrTaQJI3p1HajYflE1YDOF6ek2xY+"
    "GcZFyYb3u2xDzgwVnMtUNm1d/K/1MDSb3e1vEIdSYGTa6wyk2alXMMuiH9vne9eN4qO/hEGoE79xK1NelC3gnwozL4Rx"
    "pXokI9aw4VEAuSli/qZrqahi7KJ0c33teZXOGMza/00KHMR1F0QohTW7DLOK266EvMdaprciGb5jFjp021sV9XK78kvl"
    "7f4h5S1+IqAfewepe4dliZ7w4MKQhbQumszPl0E9n/NPm3DjBmXz8aL5RIOmYnaQsXdrW0sF7UvxHiFMDD9GFV9+vtGQ"
    "KyCllt3cecpLT66yQM2PoWbUL6pJ0wkwbWVQgTYGmqyELTwUaffrHZMxqrbZOkH9BhS1VKdHpt8T/qmieUoLUCbeisu5"
    "11/JC+NRJNvBl63a0KOW8Pm1En/dunarXU4Wo2epSpF4JBfpXjr/eJO64GFTl8rCl5ZaTCCbBDbjtS7pB9NbJwTqNLCv"
    "xdZj2z/vQ0US+abgjlen8CZcaGIWQS81A/B22A7SxeAEQZkfwow3LKKnG0hoXq08EOuKjYmGu5ihSNC7kwp35g0TIKqK"
    "0vhP1DOMSWuLEMuCA4Ga2BMqVd6+zsktalS8GBsNOo3AdkVFubEHN3PbyyaMPwmhtTUcs6Mv8TlD+p66F0Rhv4mWvYYj"
    "gAyFaki/Ds+IX9yzZvQ44EBDOH0zQpLysxwfUMRQfXDjAtin4YoCO7oR6Vp14n2bO5HPPf8+pcJTBUqfI2sf4MauP8UH"
    "0ojJX3Zqi02I3m9aVUbt87JvwusYvupwUXLTmbA3k2u6hopnDy7a5rPGEjpgaiiP48vKh1qNAcZM46DSPAuZklYmlOZY"
    "ThdTvQxzmum7Mx6X0RbivCM+rIt/r+FFw9OyrcRleP1M61/j27vPD5cUWJmC0Z1AiWXfEnn64pfom4eWKS+6SqzmaxTG"
    "Qeb3ZG0C5up/HgI7frLknZTFxZhI2hbPVLSvU3Zdm8oo465psS4BJX1dzC1mznnyz52GsYdeYE/qGCzDhh0JoBYh6wmt"
    "MjLNlUK9j/XbYpPmvLU6vH1w2P/NGKw0J24SZLDn1mt6aZ4UH0K13OkLRQc9Ka+7Hia/RtvE8AKznmBYMHlsUhW2ze2u"
    "hxVHatahOMnK5RAHRfUmz5fej6x9qT7WdE7YjtvtQxJlJhCSyN5m9WJvPWE4rLp12r+8P/SCF3UemYHQFwDZWXykgrVp"
    "9z6KIV3JsHIIYrzdjQ7fc3rw0V1fUlfFjrJwhwlxJtSmCfEcEijII/5dCT8+bsKdk1YGk5XpeMheLIiCoscjlsDpgAV3"
    "MjI10hIXc/B2k2+evOmNtM+6xtNNggls8cWupYzpEaYUsE1/GuquGmaPpqsqNaT23UPPqvVxsCElUo07F18hny+x3GrH"
    "9JcnH8/WZXrzPUHEfcUxuqtB119z7hht6j4utwa/Dnk3INhzawyzIVRmu5eH/q83E+/doD/tAWAd+a+6Ta8O/4jfgMO6"
    "dq4kuE8KiqyUoqd/kB1Dpgy7aViRimL+NoJjlRG2WWHKk/q79zXLo8L3wOtL/RDJGNkvOxTs625QfDwhOdrfx4CdFUAe"
    "YND63+C6OcFlpgWVLgrs4BYdwjCiODEEWCs2cV35c9e1acMIbo+47mt+SMPDjLUc33HNJdqYYE8151aTuFU+1eWagmxU"
    "IfAvfazddA0="
)
_NOW = 1800000000
_WANTED = ("application/pkcs8",)
_NOTHING = (None, None, None, None)


def _unwrap(data, given=_NOTHING, known=(), anchors=(), now=0):
    return steps.run(serverkeygen.unwrap(data, given, known, anchors, now))


def _oid(content):
    return der.tlv(asn1.OID, content)


def _info(oid, body):
    return der.sequence(_oid(oid), der.tlv(0xA0, body))


def _pkcs8(key):
    algorithm = der.Reader(key.spki()).enter().element()
    return der.sequence(asn1.integer(0), algorithm, der.octets(key.der()))


def _enveloped(content, secret, kind=_DATA):
    aes = bytes.fromhex("608648016503040102"), bytes.fromhex("608648016503040105")
    content_key, iv = bytes(range(16)), bytes(16)
    wrapped = der.octets(keywrap.wrap(secret, content_key))
    to = der.tlv(
        0xA2,
        asn1.integer(4),
        der.sequence(der.octets(b"id")),
        der.sequence(_oid(aes[1])),
        wrapped,
    )
    encrypted = der.tlv(0x80, cbc.encrypt(content_key, iv, content))
    inner = der.sequence(_oid(kind), der.sequence(_oid(aes[0]), der.octets(iv)), encrypted)
    body = der.sequence(asn1.integer(2), der.tlv(asn1.SET, to), inner)
    return _info(bytes.fromhex("2a864886f70d010703"), body)


def _under_password(data, password):
    key = steps.run(kdf.pbkdf2(32, password, b"salt", 1, 16))
    derivation = der.sequence(
        der.octets(b"salt"),
        asn1.integer(1),
        der.sequence(_oid(bytes.fromhex("2a864886f70d0209")), b"\5\0"),
    )
    parameters = der.sequence(
        der.sequence(_oid(bytes.fromhex("2a864886f70d01050c")), derivation),
        der.sequence(_oid(bytes.fromhex("608648016503040102")), der.octets(bytes(16))),
    )
    algorithm = der.sequence(_oid(bytes.fromhex("2a864886f70d01050d")), parameters)
    return der.sequence(algorithm, der.octets(cbc.encrypt(key, bytes(16), data)))


def test_bare():
    for data in (_KEY.der(), _pkcs8(_KEY), RSA_KEY):
        assert _unwrap(data) == data
        assert _unwrap(der.sequence(data)) == data
    for bad in (
        b"",
        b"\x30\0",
        b"\x04\x01\0",
        _KEY.der() + b"\0",
        der.sequence(_KEY.der(), _KEY.der()),
        der.sequence(der.octets(b"")),
    ):
        check.raises(EstError, _unwrap, bad)


def test_layers():
    secret = bytes(range(32))[:16]
    given = (secret, None, None, b"password")
    package = der.sequence(_pkcs8(_KEY))
    locked = _under_password(_pkcs8(_KEY), b"password")
    for content in (_KEY.der(), _pkcs8(_KEY), package, locked):
        assert keys.load(_unwrap(_enveloped(content, secret), given)).spki() == _KEY.spki()
    for content in (_enveloped(package, secret), locked):
        check.raises(UsageError, _unwrap, content)
    assert "password" in str(check.raises(UsageError, _unwrap, locked))
    deep = _KEY.der()
    for _ in range(4):
        deep = _enveloped(deep, secret)
    assert _unwrap(deep, given) == _KEY.der()
    assert "form" in str(check.raises(PeerError, _unwrap, _enveloped(deep, secret), given))


def test_a_padding_that_is_right_by_chance():
    secret = bytes(16)
    given = (secret, None, None, b"password")
    for found in (b"", b"\x11" * 40, b"\x30", b"\x30\1", b"\x31\0", b"\x30\0\0"):
        error = check.raises(PeerError, _unwrap, _enveloped(found, secret), given)
        assert "wrong key" in str(error)
        locked = _under_password(found, b"password")
        for data in (locked, der.sequence(locked), _enveloped(locked, secret)):
            assert "wrong key" in str(check.raises(UsageError, _unwrap, data, given))


def test_signed():
    secret = bytes(16)
    given = (secret, None, None, None)
    (signer,) = cms.certificates(_SIGNED)
    whole = der.Reader(_SIGNED).enter()
    whole.skip()
    bare = whole.enter(0xA0).element()
    # SignedData may stand in EnvelopedData as it is, or with a ContentInfo around it.
    for data in (_SIGNED, _enveloped(_SIGNED, secret), _enveloped(bare, secret, _SIGNED_DATA)):
        assert _unwrap(data, given, (), [signer], _NOW) == _KEY.der()
        for anchors, now in (((), _NOW), ([signer], 0), ([signer], 1 << 34)):
            check.raises(NotTrusted, _unwrap, data, given, (), anchors, now)
    at = _SIGNED.find(_KEY.der()) + 20
    changed = _SIGNED[:at] + b"\xff" + _SIGNED[at + 1 :]
    check.raises(NotTrusted, _unwrap, changed, given, (), [signer], _NOW)


def test_signed_with_sha1():
    # As globalsign/est signs; other hashes are not let off.
    def signed(algorithm, *parameters):
        inner = der.sequence(_oid(_DATA), der.tlv(0xA0, der.octets(_KEY.der())))
        algorithms = der.set_of(der.sequence(_oid(bytes.fromhex(algorithm)), *parameters))
        signers = der.set_of(der.octets(b"whatever"))
        return _info(_SIGNED_DATA, der.sequence(asn1.integer(1), algorithms, inner, signers))

    for parameters in ((), (b"\5\0",)):
        assert _unwrap(signed("2b0e03021a", *parameters)) == _KEY.der()
        check.raises(EstError, _unwrap, signed("608648016503040201", *parameters))
    check.truncated(_unwrap, signed("2b0e03021a"))


def test_globalsign():
    key = keys.load(_unwrap(_GLOBALSIGN, (b"pseudohistorical", None, None, None)))
    assert len(key.spki()) == 294
    check.raises(PeerError, _unwrap, _GLOBALSIGN, (bytes(16), None, None, None))


def test_malformed():
    secret = bytes(16)
    good = _enveloped(der.sequence(_pkcs8(_KEY)), secret)

    def parse(data):
        return keys.load(_unwrap(data, (secret, None, None, None)))

    assert parse(good).spki() == _KEY.spki()
    check.truncated(parse, good)
    check.mutated(parse, good)


def test_rfc7030():
    # The RFC's key is of the certificate beside it.
    key = keys.load(_unwrap(check.vector("rfc7030/a4-serverkeygen-resp-key.der")))
    (leaf,) = cms.certificates(check.vector("rfc7030/a4-serverkeygen-resp-cert.der"))
    assert x509.Certificate(leaf).spki == key.spki()


def _answer(response, content_type, status=200):
    # The Response of an operation that got `response` as body.
    est = protocol.Est("host")
    operation = serverkeygen.operation(est, b"csr")
    request = next(operation)
    assert (request.method, request.path) == ("POST", "/.well-known/est/serverkeygen")
    head = "HTTP/1.1 %d OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (
        status,
        content_type,
        len(response),
    )
    request.response.feed(head.encode() + response)
    try:
        operation.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("another request")


def test_a_login_in_the_content_type():
    est = protocol.Est("host", None, auth.Token("sesame"))
    request = next(serverkeygen.operation(est, b"csr"))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: Bearer sesame\r\n\r\n"
    error = check.raises(PeerError, request.response.feed, head)
    assert str(error) == "content type Bearer *** where multipart/mixed is expected"


def test_libest():
    whole = check.vector("libest/libest32-serverkeygen.http")
    cut = whole.find(b"\r\n\r\n") + 4
    certificates, key = _answer(whole[cut:], "multipart/mixed; boundary=est-server-boundary")
    key = keys.load(_unwrap(key))
    (leaf,) = cms.certificates(certificates)
    assert x509.Certificate(leaf).spki == key.spki()


def _body(*parts):
    out = b""
    for kind, content in parts:
        out += b"--b\r\nContent-Type: %s\r\n\r\n%s\r\n" % (kind, content)
    return out + b"--b--"


def test_parts():
    message = check.vector("rfc7030/a4-serverkeygen-resp-cert.der")
    enveloped = _enveloped(_KEY.der(), bytes(16))
    certs = b"application/pkcs7-mime; smime-type=certs-only", message
    bare = b"application/pkcs7-mime", message
    plain = b"application/pkcs8", _KEY.der()
    generated = b"application/pkcs7-mime; smime-type=server-generated-key", enveloped
    text = b"text/plain", b"hello"
    for parts in (
        (plain, certs),
        (certs, plain),
        (text, bare, plain, text),
        (generated, certs),
        ((b"application/pkcs7-mime", enveloped), bare),
    ):
        certificates, key = _answer(_body(*parts), "multipart/mixed; boundary=b")
        assert certificates == message
        assert bytes(key) in (enveloped, _KEY.der())
    for parts, words in (
        ((plain,), "no certificate"),
        ((certs,), "no key"),
        ((text,), "no key"),
        ((plain, certs, plain), "two keys"),
        ((plain, generated, certs), "two keys"),
    ):
        error = check.raises(PeerError, _answer, _body(*parts), "multipart/mixed; boundary=b")
        assert words in str(error), error
    for kind in ("text/html", "application/pkcs7-mime", ""):
        check.raises(PeerError, _answer, _body(plain, certs), kind)
    check.raises(RetryLater, _answer, b"", "text/plain", 202)
    error = check.raises(EstError, _answer, b"no key\nfor you", "text/plain", 400)
    assert "no key for you" in str(error)


def _attributes(decryption):
    return dict(decryption.attributes())


def test_attributes():
    capabilities = bytes.fromhex("2a864886f70d01090f")
    assert serverkeygen.Decryption().attributes() == []
    assert serverkeygen.Decryption(secret=bytes(16)).attributes() == []
    found = _attributes(serverkeygen.Decryption(secret=bytes(32), identifier=b"id"))
    assert found[bytes.fromhex("2a864886f70d0109100225")] == der.octets(b"id")
    listed = der.Reader(found[capabilities]).enter()
    assert asn1.oid_text(listed.enter().oid()) == "2.16.840.1.101.3.4.1.45"
    for key, name in ((_KEY, "1.3.132.1.11.1"), (keys.load(RSA_KEY), "1.2.840.113549.1.1.7")):
        found = _attributes(serverkeygen.Decryption(private=key))
        identifier = found[bytes.fromhex("2a864886f70d0109100236")]
        assert identifier[:2] == b"\4\x14" and len(identifier) == 22
        listed = der.Reader(found[capabilities]).enter()
        assert asn1.oid_text(listed.enter().oid()) == name
        named = _attributes(serverkeygen.Decryption(private=key, identifier=b"mine"))
        assert named[bytes.fromhex("2a864886f70d0109100236")] == der.octets(b"mine")
    for bad in ({"secret": b""}, {"secret": bytes(24)}, {"secret": bytes(16), "private": _KEY}):
        check.raises(UsageError, lambda: serverkeygen.Decryption(**bad))


def test_no_secret_shows():
    secret = b"sixteen letters."
    for decryption in (
        serverkeygen.Decryption(secret, b"id"),
        serverkeygen.Decryption(password=secret),
        serverkeygen.Decryption(secret),
    ):
        assert "sixteen" not in repr(decryption) and "sixteen" not in str(decryption)
    # And two of them are told apart where they ask for different things.
    kinds = [serverkeygen.Decryption(secret, name) for name in (b"a", b"b", None)]
    assert len({repr(one) for one in kinds}) == 3


def test_length_too_small():
    # As libest's Debian build answers: without what stands around the parts, and then it closes.
    whole = _body((b"application/pkcs8", _KEY.der())) + b"\r\nepilogue"
    for protocol_version, short, good in (("1.0", 20, True), ("1.1", 20, False), ("1.0", 0, True)):
        parsed = []
        response = serverkeygen._Response(
            lambda head: (
                parsed.append(multipart.Parts("multipart/mixed; boundary=b", _WANTED))
                or parsed[-1]
            )
        )
        head = "HTTP/%s 200 OK\r\nContent-Length: %d\r\n\r\n"
        response.feed((head % (protocol_version, len(whole) - 9 - short)).encode())
        try:
            for octet in whole:
                if response.done:
                    break
                response.feed(bytes((octet,)))
            assert response.done and good
            assert parsed[0].parts == [("application/pkcs8", bytearray(_KEY.der()))]
        except PeerError:
            assert not good
    # Cut off all the same.
    response = serverkeygen._Response(
        lambda head: multipart.Parts("multipart/mixed; boundary=b", _WANTED)
    )
    response.feed(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n" + whole[:30])
    check.raises(PeerError, response.eof)


def test_plain_where_encryption_was_asked_for():
    plain = keys.P256Key().der()
    certificates = check.vector("rfc7030/a4-serverkeygen-resp-cert.der")
    asked = serverkeygen.ServerKey(serverkeygen.Decryption(bytes(16), b"id"))
    for sent in (plain, check.vector("cmc/response-success.signed.der")):
        asked.answer = [certificates, sent]
        error = check.raises(PeerError, run, asked.accept([], [], 0))
        assert "unencrypted" in str(error)

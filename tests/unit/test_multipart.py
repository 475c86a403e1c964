import binascii

import check
from est import multipart
from est.errors import PeerError

_KEY, _CERTIFICATES, _TEXT = b"\x30\x03\x02\x01\x05", b"\x30\x06\x06\x01\x2a\x02\x01\x09", b"hello"
_WANTED = ("application/pkcs8", "application/pkcs7-mime")
_TYPE = "multipart/mixed; boundary=b"
# As base64 and as they are.
_KEY64, _CERTIFICATES64 = b"MAMC\r\nAQU=", b"MAYGASoCAQk=\r\n"


def _parse(body, content_type=_TYPE, size=None):
    sink = multipart.Parts(content_type, _WANTED)
    size = size or len(body) or 1
    for at in range(0, len(body), size):
        sink.feed(body[at : at + size])
    sink.end()
    return [(kind, bytes(content)) for kind, content in sink.parts]


def _part(content, *headers):
    return b"".join([header + b"\r\n" for header in headers]) + b"\r\n" + content


def _body(*parts):
    return b"".join([b"--b\r\n" + part + b"\r\n" for part in parts]) + b"--b--\r\n"


_TYPE8, _TYPE7 = b"Content-Type: application/pkcs8", b"Content-Type: application/pkcs7-mime"
_GOOD = _body(
    _part(_KEY64, _TYPE8, b"Content-Transfer-Encoding: base64"), _part(_CERTIFICATES64, _TYPE7)
)
_PARTS = [("application/pkcs8", _KEY), ("application/pkcs7-mime", _CERTIFICATES)]


def test_good():
    for size in range(1, len(_GOOD) + 1):
        assert _parse(_GOOD, size=size) == _PARTS, size
    assert _parse(_GOOD.replace(b"\r", b"")) == _PARTS
    for around in (b"text\r\n", b"\r\n", b"a\r\n-\r\n--\r\n --b\r\n--c\r\n"):
        for size in (1, 7, 300):
            assert _parse(around + _GOOD + around, size=size) == _PARTS, (around, size)
            # The epilogue may hold anything, boundaries too, and no line end need come before.
            assert _parse(_GOOD[:-2] + around + _GOOD, size=size) == _PARTS


def test_order_and_others():
    other = _part(b"%%%", b"Content-Type: text/plain")
    parts = _part(_CERTIFICATES64, _TYPE7), other, _part(_KEY64, _TYPE8), other, _part(b"")
    assert _parse(_body(*parts)) == _PARTS[::-1]
    assert _parse(_body(other)) == []
    assert _parse(_body(_part(b"", _TYPE8))) == [("application/pkcs8", b"")]


def test_binary():
    # A line end and a hyphen in the content are its own.
    for content in (b"\x30\x02\x0d\x0a", b"\x30\x04\r\n--", b"\x30\x05\n--\r\n", b"\x30\x01\n"):
        for size in (1, 2, 5, 100):
            body = _body(_part(content, _TYPE8, b"Content-Transfer-Encoding: binary"))
            assert _parse(body, size=size) == [("application/pkcs8", content)], (content, size)


def test_headers():
    for headers in (
        (b"CONTENT-TYPE: Application/PKCS8",),
        (b"content-type:application/pkcs8", b"content-transfer-encoding: x-unknown"),
        (b"Content-Type : application/pkcs8  ",),
        (b"Content-Type:", b" application/pkcs8"),
        (b"X: y", b"\tContent-Type: text/plain", b"Content-Type: application/pkcs8"),
    ):
        body = _body(_part(_KEY64, *headers))
        assert _parse(body) == [("application/pkcs8", _KEY)], headers
    folded = _part(_KEY64, _TYPE7 + b";", b"\tSMIME-type=Server-generated-key", b"X: y")
    kind, content = _parse(_body(folded))[0]
    assert kind == "application/pkcs7-mime; smime-type=server-generated-key"
    assert content == _KEY


def test_boundary():
    for content_type in (
        'multipart/mixed; boundary="b"',
        "Multipart/Mixed ; BOUNDARY=b",
        "multipart/mixed;charset=x; boundary = b ;x=y",
        'multipart/mixed; type="a/b"; boundary="b"; x',
    ):
        assert _parse(_GOOD, content_type) == _PARTS, content_type
    odd = "=_(a)+,./:?'b c"
    body = _GOOD.replace(b"--b", b"--" + odd.encode())
    assert _parse(body, 'multipart/mixed; boundary="%s"' % odd) == _PARTS
    for content_type in (
        "",
        "none",
        "text/html",
        "multipart/mixed",
        "multipart/mixed; boundary",
        "multipart/mixed; boundary=",
        'multipart/mixed; boundary=""',
        "multipart/mixed; boundary=" + "b" * 71,
        "multipart/form-data; boundary=b",
        "multipart/mixed; boundary=c",
        "multipart/mixed; boundary=bb",
    ):
        check.raises(PeerError, _parse, _GOOD, content_type)


def test_padding():
    assert _parse(_GOOD.replace(b"--b\r\n", b"--b \t \r\n")) == _PARTS
    check.raises(PeerError, _parse, _GOOD.replace(b"--b\r\n", b"--bc\r\n"))
    check.raises(PeerError, _parse, _GOOD.replace(b"--b\r\n", b"--b" + b" " * 1025 + b"\r\n"))


def test_malformed():
    check.raises(PeerError, _parse, b"")
    # The line end after the last boundary is no more than an epilogue.
    check.truncated(_parse, _GOOD[:-2])
    check.mutated(_parse, _GOOD, 2000)
    for bad in (b"%%%%", b"MAMC", b"MAMCAQU=MAMC"):
        good = bad == b"MAMC"
        body = _body(_part(bad, _TYPE8))
        if good:
            assert _parse(body) == [("application/pkcs8", b"\x30\x03\x02")]
        else:
            check.raises(PeerError, _parse, body)
    assert _parse(_body(_part(_KEY64, b"Content-Type: \xff"))) == []


def test_types():
    for header, kind in (
        (b"Content-Type: application/X-pkcs8", "application/pkcs8"),
        (b'Content-Type: application/pkcs8; name="\xe4"', 'application/pkcs8; name="\xe4"'),
    ):
        assert _parse(_body(_part(_KEY64, header))) == [(kind, _KEY)]


def test_bounds():
    part = _part(_KEY64, _TYPE8)
    assert len(_parse(_body(*[part] * 8))) == 8
    check.raises(PeerError, _parse, _body(*[part] * 9))
    header = b"X: y"
    assert len(_parse(_body(_part(_KEY64, *[header] * 15 + [_TYPE8])))) == 1
    check.raises(PeerError, _parse, _body(_part(_KEY64, *[header] * 16 + [_TYPE8])))
    long = b"X: " + b"y" * 1020
    assert len(_parse(_body(_part(_KEY64, long, _TYPE8)))) == 1
    for size in (1, 5000):
        check.raises(PeerError, _parse, _body(_part(_KEY64, long + b"yy", _TYPE8)), _TYPE, size)


def _lines(text):
    return text.replace(b"\r\n", b"\n").split(b"\n")


def test_rfc7030():
    text = check.vector("rfc7030/appendixA.txt")
    text = text[text.find(b"This is the preamble") :]
    body = b"\r\n".join([line.strip() for line in _lines(text)])
    parts = _parse(body, "multipart/mixed ; boundary=estServerExampleBoundary", 100)
    assert [kind for kind, _ in parts] == [
        "application/pkcs8",
        "application/pkcs7-mime; smime-type=certs-only",
    ]
    assert parts[0][1] == check.vector("rfc7030/a4-serverkeygen-resp-key.der")
    assert parts[1][1] == check.vector("rfc7030/a4-serverkeygen-resp-cert.der")


def test_libest():
    message = check.vector("libest/libest32-serverkeygen.http")
    body = message[message.find(b"--est-server-boundary\r\n") :]
    parts = _parse(body, "multipart/mixed; boundary=est-server-boundary", 256)
    sent = [part.split(b"\r\n\r\n", 1)[1] for part in body.split(b"--est-server-boundary\r\n")[1:]]
    sent[-1] = sent[-1].split(b"--est")[0]
    assert [content for _, content in parts] == [binascii.a2b_base64(text) for text in sent]
    check.truncated(
        lambda part: _parse(part, "multipart/mixed; boundary=est-server-boundary"),
        body[: body.rfind(b"--") + 2],
    )

"""What is fuzzed: every parser of what a peer sends, each with real messages to begin with.

TARGETS: {name: (function of bytes, patterns of seeds among the vectors, further seeds)}.
BER: those whose seeds come by `indefinite` as well.
"""

from contextlib import suppress

from est import (
    asn1,
    base64,
    ber,
    challenge,
    cmc,
    cms,
    constraints,
    csrattrs,
    der,
    digest,
    envelope,
    httpdate,
    key_forms,
    multipart,
    own_request,
    pem,
    refusal,
    signed,
    steps,
    store,
    url,
    x509,
)
from est.errors import PeerError
from est.protocol import Request

_PRIVATE = bytes.fromhex(
    "30310201010420" + "07" * 32 + "a00a06082a8648ce3d030107"  # SEC 1, P-256
)
_BOUNDARY = 'multipart/mixed; boundary="b"'
_PARTS = b"--b\r\ncontent-type: application/pkcs8\r\n\r\nMAo=\r\n--b--"
# It waits, with a text and a time to ask again.
_PKI_RESPONSE = der.sequence(
    der.sequence(
        der.sequence(
            asn1.integer(1),
            der.tlv(asn1.OID, bytes.fromhex("2b06010505070719")),
            der.set_of(
                der.sequence(
                    asn1.integer(3),
                    der.sequence(asn1.integer(1)),
                    der.tlv(asn1.UTF8_STRING, b"wait"),
                    der.sequence(
                        der.octets(b"token"), der.tlv(asn1.GENERALIZED_TIME, b"20300101000000Z")
                    ),
                )
            ),
        )
    ),
    der.sequence(),
    der.sequence(),
)
_SUBJECT_ALT_NAME = b"\x55\x1d\x11"
_NAME_CONSTRAINTS = b"\x55\x1d\x1e"
# Limits, alternative names and a subject, of each kind that there is.
_ORGANIZATION = der.sequence(
    der.set_of(der.sequence(der.tlv(asn1.OID, b"\x55\x04\x0a"), der.tlv(0x1E, b"\0o\0 \0\xfc")))
)
_GENERAL_NAMES = (
    der.tlv(0x82, b"a.example.com"),
    der.tlv(0x81, b"a@example.com"),
    der.tlv(0x86, b"https://a.example.com:8443/path"),
    der.tlv(0x87, bytes((10, 0, 0, 1))),
    der.tlv(0xA4, _ORGANIZATION),
)
_BASES = (
    der.tlv(0x82, b"example.com"),
    der.tlv(0x81, b"a@example.com"),
    der.tlv(0x86, b".example.com"),
    der.tlv(0x87, bytes((10, 0, 0, 0, 255, 0, 0, 0))),
    der.tlv(0xA4, _ORGANIZATION),
)
_LIMITED = der.sequence(
    der.sequence(
        der.tlv(0xA0, *[der.sequence(base) for base in _BASES]),
        der.tlv(0xA1, der.sequence(der.tlv(0x82, b"b.example.com"))),
    ),
    der.sequence(*_GENERAL_NAMES),
    _ORGANIZATION,
)
# Any time at all: whatever a certificate says is then reached.
_NOW = 1_700_000_000


def _der(data, kind=der.Reader):
    # Every element, as deep as it goes.
    def walk(reader):
        while reader.more():
            tag = reader.peek()
            if tag == asn1.INTEGER:
                reader.integer()
            elif tag == asn1.OID:
                asn1.oid_text(reader.oid())
            elif tag == asn1.BOOLEAN:
                reader.boolean()
            elif tag & 0x20:
                walk(reader.enter(tag))
            else:
                reader.bytes(tag)

    walk(kind(data))


def _ber(data):
    with suppress(PeerError):
        _der(data, ber.Reader)
    element = ber.Reader(data).element()
    for kind in (der.Reader, ber.Reader):
        if kind(element).element() != element:
            raise AssertionError("what came out as DER is none")


def indefinite(data, depth=4):
    """DER `data` with the lengths of `depth` levels told by their end: of CMS, to certificates."""
    out = b""
    reader = der.Reader(data)
    while reader.more():
        tag = reader.peek()
        if depth and tag & 0x20:
            content = indefinite(reader.bytes(tag), depth - 1)
            out += bytes((tag, 0x80)) + content + b"\0\0"
        else:
            out += reader.element()
    return out


def _base64(data):
    out = bytearray()
    decoder = base64.Decoder(out)
    # In two pieces, as they may come from a socket.
    decoder.feed(data[:7])
    decoder.feed(data[7:])
    decoder.end()


def _pem(data):
    pem.decode(data.decode("latin-1"), "CERTIFICATE")


def _x509(data):
    certificate = x509.Certificate(data)
    str(certificate)
    certificate.path_length()
    x509.verify_path(certificate, [certificate], [certificate], _NOW)


def _cms(data):
    for certificate in cms.certificates(data):
        x509.Certificate(certificate)


class _Named:
    # What constraints.judge asks of a Certificate.

    issuer = _ORGANIZATION

    def __init__(self, subject, extensions):
        self.subject = subject
        self.extension = extensions.get

    def __str__(self):
        return "it"


def _constraints(data):
    fields = der.Reader(data).enter()
    limits, names, subject = fields.element(), fields.element(), fields.element()
    constraints.match(subject, _ORGANIZATION)
    issuer = _Named(_ORGANIZATION, {_NAME_CONSTRAINTS: limits})
    constraints.judge([_Named(subject, {_SUBJECT_ALT_NAME: names}), issuer])


def _cmc(data):
    cmc.Response(data).check(_NOW)


def _csrattrs(data):
    attributes = csrattrs.parse(data)
    attributes.apply("CN=device", [], [], [], lambda text: None)


def _exchange(data, piece):
    request = Request("GET", "/", [], None)
    request.encode("h")
    response = request.response
    for at in range(0, len(data), piece):
        response.feed(data[at : at + piece])
    if not response.done:
        response.eof()
    return request


def _http(data):
    # What comes out does not depend on how it was cut.
    found = []
    for piece in (len(data) or 1, 1 + len(data) // 3):
        try:
            request = _exchange(data, piece)
            response = request.response
            found.append((response.status, response.headers, bytes(request.content)))
        except PeerError:
            found.append(None)
    if found[0] != found[1]:
        raise AssertionError(f"the answer depends on how it is cut: {found}")


def _multipart(data):
    found = []
    for piece in (len(data) or 1, 1 + len(data) // 3):
        parts = multipart.Parts(_BOUNDARY, ("application/pkcs8", "application/pkcs7-mime"))
        try:
            for at in range(0, len(data), piece):
                parts.feed(data[at : at + piece])
            parts.end()
            found.append(parts.parts)
        except PeerError:
            found.append(None)
    if found[0] != found[1]:
        raise AssertionError(f"the parts depend on how they are cut: {found}")


def _content_type(data):
    multipart.Parts(data.decode("latin-1"), ())


def _digest(data):
    answer = digest.Digest("user", "password")
    if answer.answer(challenge.parts(data.decode("latin-1").split("\n"))):
        answer.header("GET", "/.well-known/est/cacerts")


def _key(data):
    key_forms.load(data).spki()


def _request(data):
    own_request.check(data, _PRIVATE)


def _record(data):
    # What a power cut or bad flash left behind.
    store.unpack(data)


class _Shown:
    now = _NOW


def _refusal(data):
    _Shown.leaf = data
    refusal.reason(_Shown, "host.example", -0x2700, "")


def _httpdate(data):
    with suppress(ValueError):  # what it promises
        httpdate.unix_time(data.decode("latin-1"))


def _envelope(data):
    for given in (
        {"secret": bytes(16)},
        {"private": _PRIVATE},
        {"password": b"password"},
    ):
        steps.run(envelope.decrypt(data, **given))


def _url(data):
    url.parse(data.decode("latin-1"))


BER = ("ber", "cmc", "cms", "envelope", "signed")
TARGETS = {
    "base64": (_base64, ("*/*.b64",), ()),
    "ber": (_ber, ("*/*.der",), (der.tlv(0x24, der.octets(b"piece")),)),
    "cmc": (_cmc, ("cmc/*.pkidata.der",), (_PKI_RESPONSE,)),
    "cms": (_cms, ("rfc7030/*resp*.der", "cmc/*.der"), ()),
    "constraints": (_constraints, (), (_LIMITED,)),
    "content_type": (_content_type, (), (_BOUNDARY.encode(),)),
    "csrattrs": (_csrattrs, ("*/*csrattrs*.der",), ()),
    "der": (_der, ("*/*.der",), ()),
    "digest": (_digest, (), (b'Digest realm="r, s", qop="auth,auth-int", nonce="n", stale=true',)),
    "envelope": (_envelope, ("rfc7030/*key*.der",), ()),
    "http": (_http, ("libest/*.http",), (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n",)),
    "httpdate": (_httpdate, (), (b"Sun, 06 Nov 1994 08:49:37 GMT",)),
    "key": (_key, ("rfc7030/*key*.der",), (_PRIVATE,)),
    "multipart": (
        _multipart,
        (),
        (b"--b\r\ncontent-type: application/pkcs8\r\n\r\nMAo=\r\n--b--",),
    ),
    "pem": (_pem, ("libest/*.pem",), ()),
    "record": (_record, (), (store.pack({"kind": "simpleenroll"}, b"key", b"request"),)),
    "refusal": (_refusal, ("cmc/signer-cert.der",), ()),
    "request": (_request, ("rfc7030/*req.der", "libest/*.der"), ()),
    "signed": (signed.verify, ("cmc/*signed.der", "rfc7030/*resp*.der"), ()),
    "url": (_url, (), (b"https://user@[::1]:8443/.well-known/est/label",)),
    "x509": (_x509, ("cmc/signer-cert.der",), ()),
}

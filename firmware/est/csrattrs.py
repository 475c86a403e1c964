"""CSR attributes (RFC 7030 4.5.2, RFC 8951 4): what the server wants to see in a request."""

from micropython import const

from est import der
from est.errors import UsageError

_MAX_ELEMENTS = const(64)

_EXTENSION_REQUEST = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0e")
_KEY_USAGE = const(b"\x55\x1d\x0f")
_CHALLENGE_PASSWORD = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07")
_EC_PUBLIC_KEY = const(b"\x2a\x86\x48\xce\x3d\x02\x01")
_RSA_ENCRYPTION = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01")
_DIGITAL_SIGNATURE = const(b"\x03\x02\x07\x80")
_CURVES = {
    b"\x2a\x86\x48\xce\x3d\x03\x01\x07": "P-256",
    b"\x2b\x81\x04\x00\x22": "P-384",
    b"\x2b\x81\x04\x00\x23": "P-521",
}
_SIGNATURES = {
    b"\x2a\x86\x48\xce\x3d\x04\x03\x02": "ecdsa-with-SHA256",
    b"\x2a\x86\x48\xce\x3d\x04\x03\x03": "ecdsa-with-SHA384",
    b"\x2a\x86\x48\xce\x3d\x04\x03\x04": "ecdsa-with-SHA512",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b": "sha256WithRSAEncryption",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c": "sha384WithRSAEncryption",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d": "sha512WithRSAEncryption",
}


class CsrAttrs:
    """What the server asked for.

    key: "P-256", "RSA-2048", "EC" (any curve), "RSA" (any size), an OID text, or None.
    signature: name of the signature algorithm, or None.
    challenge_password: whether a challengePassword is wanted.
    extensions: [(OID content, critical, DER value)] to copy into the request.
    wanted: OID contents of extensions named without a value.
    unknown: dotted OIDs of everything else.
    """

    def __init__(self):
        self.key = None
        self.signature = None
        self.challenge_password = False
        self.extensions = []
        self.wanted = []
        self.unknown = []

    def apply(self, wanted, kept, log):
        """Extensions for est.csr.build, where later ones win: `wanted`, the server's, `kept`.

        wanted, kept: [(OID content, critical, DER value)] that the board would like or insists on.
        log: called with a line of text that names what is left out.
        Raises UsageError for a key or signature that the board cannot make.
        """
        if self.key not in (None, "EC", "P-256"):
            raise UsageError("the server demands a %s key, this board makes P-256" % self.key)
        if self.signature not in (None, "ecdsa-with-SHA256"):
            raise UsageError(
                "the server demands %s signatures, this board makes ecdsa-with-SHA256"
                % self.signature
            )
        out = wanted + self.extensions + kept
        known = [oid for oid, _, _ in out]
        if _KEY_USAGE in self.wanted and _KEY_USAGE not in known:
            out.append((_KEY_USAGE, True, _DIGITAL_SIGNATURE))
            known.append(_KEY_USAGE)
        missing = [der.oid_text(oid) for oid in self.wanted if oid not in known]
        if self.challenge_password:
            missing.append("challengePassword")
        missing += self.unknown
        if missing:
            log("the server also asks for what is left out: " + " ".join(missing))
        return out


def parse(data):
    """CsrAttrs from DER; an empty answer asks for nothing. Raises DerError."""
    attrs = CsrAttrs()
    if not data:
        return attrs
    whole = der.Reader(data)
    listed = whole.enter()
    whole.end()
    count = 0
    while listed.more():
        count += 1
        if count > _MAX_ELEMENTS:
            raise der.DerError("csrattrs: too many")
        if listed.peek() == der.OID:
            _take(attrs, listed.oid(), None)
        else:
            attribute = listed.enter()
            oid = attribute.oid()
            values = attribute.enter(der.SET)
            attribute.end()
            _take(attrs, oid, values)
    return attrs


def _take(attrs, oid, values):
    if oid == _CHALLENGE_PASSWORD:
        attrs.challenge_password = True
    elif oid == _EC_PUBLIC_KEY:
        attrs.key = "EC"
        if values and values.more():
            curve = values.oid()
            attrs.key = _CURVES.get(curve) or der.oid_text(curve)
    elif oid == _RSA_ENCRYPTION:
        attrs.key = "RSA"
        if values and values.more():
            attrs.key = "RSA-%d" % values.integer()
    elif oid in _SIGNATURES:
        attrs.signature = _SIGNATURES[oid]
    elif oid == _EXTENSION_REQUEST and values:
        _take_extensions(attrs, values)
    elif oid != _EXTENSION_REQUEST:
        attrs.unknown.append(der.oid_text(oid))


def _take_extensions(attrs, values):
    while values.more():
        if values.peek() == der.OID:
            attrs.wanted.append(values.oid())
            continue
        listed = values.enter()
        while listed.more():
            if listed.peek() == der.OID:
                attrs.wanted.append(listed.oid())
                continue
            extension = listed.enter()
            oid = extension.oid()
            critical = extension.peek() == der.BOOLEAN and extension.boolean()
            attrs.extensions.append((oid, critical, extension.bytes()))
            extension.end()

"""What a server wants in a request: its CSR attributes (RFC 7030 4.5.2, RFC 8951 4, RFC 9908 3).

Read while a connection is open, which leaves little room: what only `apply` needs is loaded there.
"""

from micropython import const

from est import der
from est.errors import UsageError

# As in est.asn1, without a look-up on the board.
_BOOLEAN = const(0x01)
_OID = const(0x06)
_SEQUENCE = const(0x30)
_SET = const(0x31)

# Of any list; the longest example known has seven.
_MAX_ELEMENTS = const(64)
# Bits of an RSA key that a server names; beyond what any has. A larger number takes long to become
# text, and one of more than 4300 digits never does on CPython.
_MAX_RSA = const(65536)

_EXTENSION_REQUEST = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0e")
_TEMPLATE = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x02\x3d")
# What the OIDs of X.509's own extensions begin with.
_EXTENSIONS = const(b"\x55\x1d")
_CHALLENGE_PASSWORD = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07")
_EC_PUBLIC_KEY = const(b"\x2a\x86\x48\xce\x3d\x02\x01")
_RSA_ENCRYPTION = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01")
# For extensions whose value is left to a board that has none, a TLS client and no CA: keyUsage,
# extKeyUsage and basicConstraints.
_OWN = {
    b"\x55\x1d\x0f": b"\x03\x02\x07\x80",
    b"\x55\x1d\x25": b"\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02",
    b"\x55\x1d\x13": b"\x30\x00",
}
_ECDSA = const("ecdsa-with-SHA256")
_CURVES = {
    b"\x2a\x86\x48\xce\x3d\x03\x01\x07": "P-256",
    b"\x2b\x81\x04\x00\x22": "P-384",
    b"\x2b\x81\x04\x00\x23": "P-521",
}
_DIGESTS = {
    b"\x60\x86\x48\x01\x65\x03\x04\x02\x01": "SHA-256",
    b"\x60\x86\x48\x01\x65\x03\x04\x02\x02": "SHA-384",
    b"\x60\x86\x48\x01\x65\x03\x04\x02\x03": "SHA-512",
}
_SIGNATURES = {
    b"\x2a\x86\x48\xce\x3d\x04\x03\x02": "ecdsa-with-SHA256",
    b"\x2a\x86\x48\xce\x3d\x04\x03\x03": "ecdsa-with-SHA384",
    b"\x2a\x86\x48\xce\x3d\x04\x03\x04": "ecdsa-with-SHA512",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b": "sha256WithRSAEncryption",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c": "sha384WithRSAEncryption",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d": "sha512WithRSAEncryption",
}


def each(listed):
    """Yield Reader `listed` before each of its elements. Raises DerError for too many."""
    for _ in range(_MAX_ELEMENTS):
        if not listed.more():
            return
        yield listed
    if listed.more():
        raise der.DerError("csrattrs: too many")


class CsrAttrs:
    """What the server asked for.

    keys: types of which the key must be one: "P-256", "RSA-2048", "EC" (any curve), "RSA" (any
        size), or an OID text.
    hints: the same of what stands there without a value: servers list it and take other keys too.
    signature: name of the signature algorithm, or None.
    digest: name of a hash that stands on its own, such as "SHA-384", or None.
    challenge_password: whether a challengePassword is wanted.
    extensions: [(OID content, critical, DER value)] for the request; without a value (None) the
        board is to give it.
    unknown: OID contents of everything else.
    """

    def __init__(self):
        self.keys = []
        self.hints = []
        self.signature = None
        self.digest = None
        self.challenge_password = False
        self.extensions = []
        self.unknown = []

    def demands(self, other, log):
        """(keys, hints, signature, digest) as above; None if a P-256 key with SHA-256 will do,
        and no `other` is given or to be renewed.

        log: called with a line of text. Raises UsageError where P-256 will not do and
        est.key_types is missing.
        """
        signature = self.signature
        usual = (None, "EC", "P-256", "SHA-256")
        wishes = [wish for wish in list(self.hints) + [self.digest] if wish not in usual]
        keys = [key for key in self.keys if key not in usual]
        if not (other or wishes or keys) and signature in (None, _ECDSA):
            return None
        try:
            from est import key_types  # noqa: F401
        except ImportError:
            if keys and keys == list(self.keys):
                raise UsageError(
                    "the server demands a %s key, and est.key_types is not installed"
                    % " or ".join(keys)
                )
            if signature not in (None, _ECDSA):
                raise UsageError(
                    "the server demands %s, and est.key_types is not installed" % signature
                )
            if wishes:
                log("the server suggests %s, this board makes P-256" % " ".join(wishes))
            return None
        return self.keys, self.hints, signature, self.digest

    def apply(self, subject, wanted, kept, extra, log):
        """(subject, extensions) for est.csr.build, of which later ones win.

        subject: text, or DER of a Name that must stay as it is.
        wanted, kept: [(OID content, critical, DER value)] that the board would like and insists
            on; what the server wants comes between them.
        extra: the request's other attributes, as for est.csr.build.
        log: called with a line of text that names what is left out.
        Raises UsageError for what the board cannot satisfy.
        """
        if isinstance(subject, str):
            from est.csr import name

            subject = name(subject)
        own_oids = [oid for oid, _, _ in wanted + kept]
        out = []
        missing = []
        for oid, critical, value in self.extensions:
            if value is None and oid not in own_oids:
                value = _OWN.get(oid)
            if value is not None:
                out.append((oid, critical, value))
            elif oid not in own_oids:
                missing.append(oid)
        self._report(missing, subject, extra, log)
        return subject, wanted + out + kept

    def _report(self, missing, subject, extra, log):
        # Says what is left out: `missing` (OID contents), and what else was asked for in vain.
        extra_oids = [oid for oid, _ in extra]
        for oid in self.unknown:
            # What is asked for may also be an attribute of the subject.
            if oid not in extra_oids and der.tlv(_OID, oid) not in subject:
                missing.append(oid)
        texts = [oid_text(oid) for oid in missing]
        if self.challenge_password and _CHALLENGE_PASSWORD not in extra_oids:
            texts.append("challengePassword")
        if texts:
            log("the server also asks for what is left out: " + " ".join(texts))

    def take_all(self, listed):
        """Take in every AttrOrOID of Reader `listed`; returns Readers of a template's values."""
        templates = []
        for _ in each(listed):
            if listed.peek() == _OID:
                oid = listed.oid()
                values = None
            else:
                attribute = listed.enter()
                oid = attribute.oid()
                values = attribute.enter(_SET)
                attribute.end()
            if values and oid == _TEMPLATE:
                templates.append(values)
            else:
                self.take(oid, values)
        return templates

    def take(self, oid, values):
        """Take in one attribute; `values` is a Reader, or None for an OID on its own."""
        if oid == _CHALLENGE_PASSWORD:
            self.challenge_password = True
        elif oid == _EC_PUBLIC_KEY:
            if values and values.more():
                for _ in each(values):
                    self.keys.append(curve(values.oid()))
            else:
                self.hints.append("EC")
        elif oid == _RSA_ENCRYPTION:
            if values and values.more():
                for _ in each(values):
                    self.keys.append("RSA-%d" % min(values.integer(), _MAX_RSA))
            else:
                self.hints.append("RSA")
        elif oid in _CURVES:
            self.hints.append(_CURVES[oid])
        elif oid in _SIGNATURES:
            self.signature = _SIGNATURES[oid]
        elif oid in _DIGESTS:
            self.digest = _DIGESTS[oid]
        elif oid == _EXTENSION_REQUEST:
            # RFC 8951 4 has the OIDs in the set itself.
            if values and values.peek() == _SEQUENCE:
                values = values.enter()
            if values:
                self.take_extensions(values)
        elif oid[:2] == _EXTENSIONS and values is None:
            self.extensions.append((oid, False, None))
        else:
            self.unknown.append(oid)

    def take_extensions(self, listed):
        """Take in what Reader `listed` holds: extensions, with or without values, or only OIDs."""
        for _ in each(listed):
            critical = False
            value = None
            if listed.peek() == _OID:
                oid = listed.oid()
            else:
                extension = listed.enter()
                oid = extension.oid()
                if extension.peek() == _BOOLEAN:
                    critical = extension.boolean()
                if extension.more():
                    value = extension.bytes()
                extension.end()
            self.extensions.append((oid, critical, value))


def curve(oid):
    """Name of an elliptic curve, or else the OID as text."""
    return _CURVES.get(oid) or oid_text(oid)


def oid_text(oid):
    """As est.asn1.oid_text, which is loaded for what is unknown here."""
    from est.asn1 import oid_text

    return oid_text(oid)

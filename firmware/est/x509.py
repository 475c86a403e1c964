"""X.509 certificates (RFC 5280): what a client must know of one, and path validation."""

import hashlib

from micropython import const

from est import clock, der, run
from est.errors import (
    Ended,
    EstError,
    NotTrusted,
    NotYetValid,
    Unsupported,
    missing,
)

# Leaf, root and intermediates; longer paths do not occur, and each link costs a verification.
_MAX_PATH = const(6)
# Names and signatures tried for one path; a hostile bag of certificates must not cost more.
_MAX_CHECKS = const(12)

# As in est.der, without a look-up on the board.
_BOOLEAN = const(0x01)
_INTEGER = const(0x02)
_BIT_STRING = const(0x03)
_UTC_TIME = const(0x17)
_GENERALIZED_TIME = const(0x18)
_SEQUENCE = const(0x30)

# What SubjectPublicKeyInfo with an uncompressed point begins with (RFC 5480 2), and its size.
_P256 = const(
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"
    b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\0\4"
)
_P256_SIZE = const(91)
# The whole AlgorithmIdentifier, which has no parameters (RFC 5758 3.2).
_ECDSA_SHA256 = const(b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02")

_KEY_USAGE = const(b"\x55\x1d\x0f")
_BASIC_CONSTRAINTS = const(b"\x55\x1d\x13")
# The last octet of those, subjectAltName and extKeyUsage: TLS of every board loads them critical.
_UNDERSTOOD = const(b"\x0f\x11\x13\x25")
# It limits others, critical or not.
_NAME_CONSTRAINTS = const(b"\x55\x1d\x1e")

_KEY_CERT_SIGN = const(0x04)


def _time(reader):
    # Time ::= CHOICE of UTCTime and GeneralizedTime, both in Zulu with seconds (RFC 5280 4.1.2.5).
    if reader.peek() == _UTC_TIME:
        text = reader.bytes(_UTC_TIME)
        text = (b"20" if text < b"50" else b"19") + text
    else:
        text = reader.bytes(_GENERALIZED_TIME)
    if text[14:] == b"Z" and text[:14].isdigit():
        month, day, hour, minute, second = [int(text[at : at + 2]) for at in range(4, 14, 2)]
        if 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61:
            return clock.unix_time(int(text[:4]), month, day, hour, minute, second)
    raise der.DerError("X.509: malformed time")


def name_text(name):
    """Readable text of a DER Name, as est.names.text; its octets without that part."""
    try:
        from est import names
    except ImportError:
        return str(name)
    return names.text(name)


class Certificate:
    """A parsed certificate. Names, key and extension values are DER; times are Unix seconds.

    algorithm: AlgorithmIdentifier (DER) of the signature. signature: content of its BIT STRING.

    Raises DerError for what is no certificate.
    """

    def __init__(self, data):
        self.der = data = bytes(data)
        reader = der.Reader(data)
        fields = reader.enter()
        reader.end()
        start = fields.pos
        tbs = fields.enter()
        self._tbs = memoryview(data)[start : fields.pos]
        self.algorithm = fields.element(_SEQUENCE)
        self.signature = fields.bit_string()
        fields.end()
        version = tbs.optional(0xA0)
        if version and version.integer() > 2:
            raise der.DerError("X.509: unknown version")
        self.serial = tbs.bytes(_INTEGER)
        if not self.serial:
            raise der.DerError("X.509: no serial")
        if tbs.element(_SEQUENCE) != self.algorithm:
            raise der.DerError("X.509: two signature algorithms")
        self.issuer = tbs.element(_SEQUENCE)
        validity = tbs.enter()
        self.not_before = _time(validity)
        self.not_after = _time(validity)
        validity.end()
        self.subject = tbs.element(_SEQUENCE)
        self.spki = tbs.element(_SEQUENCE)
        # Unique identifiers, unused since X.509 version 3.
        tbs.optional(0x81)
        tbs.optional(0x82)
        self._tagged = tbs.optional(0xA3)
        tbs.end()
        seen = []
        for oid, _, _ in self.extensions():
            if oid in seen:
                raise der.DerError("X.509: extension twice")
            seen.append(oid)

    def __str__(self):
        return name_text(self.subject) or "(no subject)"

    def extensions(self):
        """Yield (OID content, whether it is critical, DER value) of each."""
        # Read anew each time: a dict of them takes a KB of heap.
        tagged = self._tagged
        if not tagged:
            return
        start = tagged.pos
        fields = tagged.enter()
        tagged.end()
        tagged.pos = start
        while fields.more():
            extension = fields.enter()
            oid = extension.oid()
            critical = extension.peek() == _BOOLEAN and extension.boolean()
            yield oid, critical or oid == _NAME_CONSTRAINTS, extension.bytes()
            extension.end()

    def extension(self, oid):
        """Value (bytes) of an extension, or None."""
        for other, _, value in self.extensions():
            if other == oid:
                return value

    def path_length(self):
        """How many intermediates may follow, by basicConstraints; -1 where it is no CA at all.

        That is, may not sign certificates: there are none, or keyUsage objects.
        """
        constraints = self.extension(_BASIC_CONSTRAINTS)
        if constraints is None:
            return -1
        fields = der.Reader(constraints).enter()
        if fields.peek() != _BOOLEAN or not fields.boolean():
            return -1
        usage = self.extension(_KEY_USAGE)
        if usage is not None:
            bits = der.Reader(usage).bytes(_BIT_STRING)
            if len(bits) < 2 or not bits[1] & _KEY_CERT_SIGN:
                return -1
        length = fields.integer() if fields.more() else _MAX_PATH
        fields.end()
        return length

    def check(self, now):
        """Raise NotYetValid or Ended unless `now` (Unix seconds) is within the validity.

        Unsupported for a critical extension that is not understood (RFC 5280 4.2).
        """
        if now < self.not_before:
            raise NotYetValid("%s is not valid yet: check the clock" % self, self.not_before - now)
        if now > self.not_after:
            raise Ended("%s has expired" % self)
        for oid, critical, _ in self.extensions():
            if critical and not (oid[:-1] == b"\x55\x1d" and oid[2] in _UNDERSTOOD):
                try:
                    from est.constraints import check
                except ImportError as error:
                    raise missing(error)
                check(self, oid)

    def check_signature(self, issuer):
        """Raise NotTrusted unless `issuer`'s key signed this certificate."""
        if not verify(issuer.spki, self.algorithm, self._tbs, self.signature):
            raise NotTrusted("%s was not signed by %s" % (self, issuer))


def certificates(listed, log=None):
    """Yield Certificates of those in DER. Malformed ones are left out; `log` is told so in a line.

    One by one: parsed, thirty take more heap than some boards have.
    """
    for encoded in listed:
        try:
            yield Certificate(encoded)
        except EstError as error:
            if log:
                log("a certificate is left out: %s" % error)


def verify(spki, algorithm, message, signature):
    """Whether `signature` over `message` is by the key of `spki`. DER in, bool out.

    Raises Unsupported for an algorithm or a form of the key that the board cannot verify with,
    NotTrusted for one that is too weak.
    """
    if spki[:27] != _P256 or len(spki) != _P256_SIZE or algorithm != _ECDSA_SHA256:
        try:
            from est import signatures

            return signatures.verify(spki, algorithm, message, signature)
        except ImportError as error:
            raise missing(error)
    from est import ec

    return ec.P256.verify(spki[26:], hashlib.sha256(message).digest(), signature)


def verify_path(*arguments):
    """verify_path(leaf, others, anchors, now): the path from `leaf` to one of `anchors`.

    That is [leaf, intermediates..., anchor].
    `others` (list) are untrusted Certificates in any order. Dates, signatures, CA flags, path
    lengths and critical extensions are checked (RFC 5280 6.1, without policies), and what
    est.constraints adds. Without that part name constraints are refused, critical or not.
    Raises NotTrusted with the reason that got furthest, Unsupported where that is no verdict, and
    Ended or NotYetValid for the leaf; NotYetValid for who signed, too.
    """
    return run(path(*arguments))


def path(leaf, others, anchors, now):
    """As `verify_path`, in steps: one for each signature."""
    try:
        from est import constraints as rules
    except ImportError:
        rules = None
    checks = _MAX_CHECKS
    # Why no path was found so far.
    reason = None

    def match(name, other):
        return name == other or (rules and rules.match(name, other))

    def extend(path, length):
        # length: certificates in it but those that CAs issued to themselves (RFC 5280 6.1.4 l).
        nonlocal checks, reason
        tip = path[-1]
        for issuer in anchors + others:
            if issuer in path or not match(issuer.subject, tip.issuer):
                continue
            if not checks or len(path) == _MAX_PATH:
                return
            checks -= 1
            try:
                if issuer.path_length() < length:
                    raise NotTrusted("%s may not issue %s" % (issuer, tip))
                tip.check_signature(issuer)
                yield
                issuer.check(now)
                whole = extended = path + [issuer]
                if issuer not in anchors:
                    longer = length + (not match(issuer.subject, issuer.issuer))
                    whole = yield from extend(extended, longer)
                elif rules:
                    rules.judge(extended)
                if whole:
                    return whole
            except EstError as error:
                reason = error

    leaf.check(now)
    path = yield from extend([leaf], 0)
    if not path:
        if isinstance(reason, (Unsupported, NotYetValid)):
            raise reason
        raise NotTrusted(
            reason or "%s: no trusted certificate named %s" % (leaf, name_text(leaf.issuer))
        )
    return path

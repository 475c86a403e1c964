"""Extensions to ask for in a request (RFC 5280 4.2.1), from text."""

from micropython import const

from est import der
from est.errors import UsageError
from est.names import ascii, printable

# As in est.asn1, without a look-up on the board.
_BIT_STRING = const(0x03)
_OID = const(0x06)
_UTF8_STRING = const(0x0C)
_PRINTABLE_STRING = const(0x13)

_KEY_USAGE = const(b"\x55\x1d\x0f")
_SUBJECT_ALT_NAME = const(b"\x55\x1d\x11")
_EXT_KEY_USAGE = const(b"\x55\x1d\x25")
# Of a label in a DNS name.
_HOST = const(b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")
# Tags in GeneralName (RFC 5280 4.2.1.6).
_GENERAL_NAMES = {"email": 0x81, "dns": 0x82, "uri": 0x86, "ip": 0x87}
_KEY_USAGES = (
    "digitalSignature",
    "nonRepudiation",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
)
_EXT_KEY_USAGES = {
    "serverAuth": 1,
    "clientAuth": 2,
    "codeSigning": 3,
    "emailProtection": 4,
    "timeStamping": 8,
    "OCSPSigning": 9,
}


def challenge(text):
    """(OID content, DER value) of a challengePassword attribute (RFC 2985 5.4.1)."""
    tag = _PRINTABLE_STRING if printable(text) else _UTF8_STRING
    return b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07", der.tlv(tag, text.encode())


def requested(san=(), eku=(), key_usage=()):
    """[(OID content, critical, DER value)] for est.csr.build. Raises UsageError.

    san: texts such as "DNS:a.example", "IP:192.0.2.1", "URI:urn:x", "email:a@b.example".
    eku: "clientAuth" and the like, or dotted object identifiers.
    key_usage: "digitalSignature" and the like (RFC 5280 4.2.1.3).
    """
    out = []
    if san:
        names = der.sequence(*[_general_name(text) for text in san])
        out.append((_SUBJECT_ALT_NAME, False, names))
    if eku:
        purposes = der.sequence(*[der.tlv(_OID, _purpose(text)) for text in eku])
        out.append((_EXT_KEY_USAGE, False, purposes))
    if key_usage:
        bits = [_usage(text) for text in key_usage]
        out.append((_KEY_USAGE, True, named_bits(bits)))
    return out


def named_bits(numbers):
    """BIT STRING of a named bit list (X.680 22): no trailing zero bits."""
    if not numbers:
        return der.tlv(_BIT_STRING, b"\0")
    highest = max(numbers)
    content = bytearray(2 + highest // 8)
    content[0] = 7 - highest % 8
    for number in numbers:
        content[1 + number // 8] |= 0x80 >> number % 8
    return der.tlv(_BIT_STRING, content)


def oid(text):
    """Content octets of the object identifier in dotted `text`. Raises ValueError."""
    arcs = [int(arc) for arc in text.split(".")]
    if len(arcs) < 2 or arcs[0] > 2 or (arcs[0] < 2 and arcs[1] > 39) or min(arcs) < 0:
        raise ValueError("not an object identifier: " + text)
    first = arcs.pop(0)
    arcs[0] += first * 40
    out = bytearray()
    for arc in arcs:
        shift = 0
        while arc >> (shift + 7):
            shift += 7
        while shift:
            out.append(arc >> shift & 0x7F | 0x80)
            shift -= 7
        out.append(arc & 0x7F)
    return bytes(out)


def _general_name(text):
    kind, colon, value = text.partition(":")
    tag = _GENERAL_NAMES.get(kind.lower())
    if not colon or tag is None or not value:
        raise UsageError("alternative name: '%s' is none of DNS: IP: URI: email:" % text)
    if tag == 0x82 and not _is_host(value):
        raise UsageError("alternative name: '%s' is no DNS name" % value)
    return der.tlv(tag, _address(value) if tag == 0x87 else ascii(value))


def _is_host(text):
    # Labels of letters, digits, hyphen and underscore, the first perhaps a wildcard.
    for label in (text[2:] if text[:2] == "*." else text).split("."):
        if not 0 < len(label) < 64 or label[0] == "-":
            return False
        # As octets: MicroPython keeps each character of a text for good.
        for octet in label.encode():
            if octet not in _HOST:
                return False
    return True


def _address(text):
    # IPv4 or IPv6 text to octets in network order; the modules that do this are absent on boards.
    try:
        if ":" not in text:
            octets = [int(part) for part in text.split(".")]
            if len(octets) == 4:
                return bytes(octets)
        else:
            left, gap, right = text.partition("::")
            left = [int(part, 16) for part in left.split(":")] if left else []
            right = [int(part, 16) for part in right.split(":")] if right else []
            missing = 8 - len(left) - len(right)
            groups = left + [0] * missing + right
            # to_bytes before 1.24 cuts what is too large.
            if (missing > 0 if gap else missing == 0) and 0 <= min(groups) <= max(groups) < 65536:
                return b"".join([group.to_bytes(2, "big") for group in groups])
    except (ValueError, OverflowError):
        pass
    raise UsageError("alternative name: '%s' is no IP address" % text)


def _usage(text):
    if text not in _KEY_USAGES:
        raise UsageError("key usage: '%s' is none of %s" % (text, " ".join(_KEY_USAGES)))
    return _KEY_USAGES.index(text)


def _purpose(text):
    number = _EXT_KEY_USAGES.get(text)
    if number:
        return b"\x2b\x06\x01\x05\x05\x07\x03" + bytes((number,))
    try:
        return oid(text)
    except ValueError:
        raise UsageError("extended key usage: '%s' is no purpose nor object identifier" % text)

"""Distinguished names as text (RFC 4514, in their own order) and in DER."""

from micropython import const

from est import der
from est.errors import UsageError

# As in est.asn1, without a look-up on the board.
_OID = const(0x06)
_UTF8_STRING = const(0x0C)
_PRINTABLE_STRING = const(0x13)
_IA5_STRING = const(0x16)
_SET = const(0x31)

# Octets of a character in UniversalString and BMPString.
_WIDTHS = {0x1C: 4, 0x1E: 2}

ATTRIBUTES = {
    b"\x55\x04\x03": "CN",
    b"\x55\x04\x05": "serialNumber",
    b"\x55\x04\x06": "C",
    b"\x55\x04\x07": "L",
    b"\x55\x04\x08": "ST",
    b"\x55\x04\x0a": "O",
    b"\x55\x04\x0b": "OU",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01": "emailAddress",
    b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19": "DC",
}

# Upper bounds of RFC 5280 appendix A.1, in characters.
_LIMITS = {"C": 2, "CN": 64, "O": 64, "OU": 64, "serialNumber": 64, "emailAddress": 255}
_PRINTABLE = const(b" '()+,-./0123456789:=?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def name(text):
    """DER Name from "CN=device-1,O=Example,C=DE", in that order.

    A backslash escapes a comma, or stands before an octet of UTF-8 in hexadecimal: "\\C3\\A4".

    Attributes: CN O OU C ST L serialNumber emailAddress DC. Raises UsageError.
    """
    rdns = []
    for pair in _split(text):
        attribute, equals, value = pair.partition("=")
        attribute = attribute.strip()
        value = value.strip()
        oid = _oid(attribute)
        if not equals or oid is None or not value or min(value.encode()) < 0x20:
            raise UsageError(
                "subject: '%s' must be NAME=VALUE with a NAME of %s"
                % (pair, " ".join(ATTRIBUTES.values()))
            )
        limit = _LIMITS.get(attribute, 128)
        if len(value) > limit or (attribute == "C" and len(value) != 2):
            raise UsageError("subject: %s takes %d characters at most" % (attribute, limit))
        if attribute in ("C", "serialNumber"):
            if not printable(value):
                raise UsageError("subject: %s may not be '%s'" % (attribute, value))
            encoded = der.tlv(_PRINTABLE_STRING, value.encode())
        elif attribute in ("emailAddress", "DC"):
            encoded = der.tlv(_IA5_STRING, ascii(value))
        else:
            encoded = der.tlv(_UTF8_STRING, value.encode())
        rdns.append(der.set_of(der.sequence(der.tlv(_OID, oid), encoded)))
    return der.sequence(*rdns)


def _split(text):
    # At commas that no backslash escapes. An escape is one of an octet in two hexadecimal digits,
    # else the next character stands for itself (RFC 4514 2.4).
    # As octets: MicroPython keeps each character of a text for good.
    octets = text.encode()
    parts = [bytearray()]
    at = 0
    try:
        while at < len(octets):
            octet = octets[at]
            at += 1
            if octet == 0x2C:
                parts.append(bytearray())
                continue
            if octet == 0x5C:
                octet = octets[at]
                pair = octets[at : at + 2]
                if len(pair) == 2 and not pair.lower().strip(b"0123456789abcdef"):
                    octet = int(pair, 16)
                    at += 1
                at += 1
            parts[-1].append(octet)
        return [bytes(part).decode() for part in parts]
    except IndexError:
        raise UsageError("subject: '%s' ends in a backslash: two stand for one" % text)
    except ValueError:
        raise UsageError("subject: '%s' is no UTF-8" % text)


def printable(text):
    """Whether PrintableString can hold `text`."""
    for octet in text.encode():
        if octet not in _PRINTABLE:
            return False
    return True


def ascii(text):
    """Octets of `text`. Raises UsageError for anything but printable ASCII without spaces."""
    encoded = text.encode()
    for octet in encoded:
        if not 0x20 < octet < 0x7F:
            raise UsageError("'%s' may hold ASCII without spaces only" % text)
    return encoded


def text(name):
    """Readable text of a DER Name, in its own order: CN=device,O=Example."""
    out = []
    reader = der.Reader(name).enter()
    while reader.more():
        pairs = reader.enter(_SET)
        while pairs.more():
            pair = pairs.enter()
            oid = pair.oid()
            value = string(pair)
            short_name = ATTRIBUTES.get(oid)
            if not short_name:
                from est.asn1 import oid_text

                short_name = oid_text(oid)
            out.append("%s=%s" % (short_name, value))
    return ",".join(out)


def string(reader):
    """Text of the string of whatever type that comes next; "?" for what is none, and for each
    control character."""
    width = _WIDTHS.get(reader.peek(), 1)
    value = reader.bytes(0)
    # By way of UTF-8: MicroPython keeps each character of a text for good.
    out = bytearray()
    try:
        for at in range(0, len(value), width):
            code = int.from_bytes(value[at : at + width], "big")
            # What a peer says must begin no line of a log, nor steer a terminal.
            if code < 0x20 or code == 0x7F:
                code = 0x3F
            if code < 0x80 or width == 1:
                out.append(code)
            else:
                if code < 0x800:
                    out.append(0xC0 | code >> 6)
                else:
                    out.append(0xE0 | code >> 12)
                    out.append(0x80 | code >> 6 & 0x3F)
                out.append(0x80 | code & 0x3F)
        return out.decode()
    except ValueError:
        return "?"


def _oid(name):
    # Content of the OID of a subject attribute's short name, or None.
    for oid, short_name in ATTRIBUTES.items():
        if short_name == name:
            return oid
    return None

"""PKCS#10 certification requests (RFC 2986) with what EST servers ask for in them."""

from micropython import const

from est import der, x509
from est.errors import UsageError

_EXTENSION_REQUEST = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0e")

# Upper bounds of RFC 5280 appendix A.1, in characters.
_LIMITS = {"C": 2, "CN": 64, "O": 64, "OU": 64, "serialNumber": 64, "emailAddress": 255}
_PRINTABLE = const(" '()+,-./:=?")


def build(key, subject, extensions=(), attributes=()):
    """CertificationRequest DER signed by `key` (see est.keys).

    subject: text as for `name`, or DER of a Name.
    extensions: (OID content, critical, DER value) each, such as est.extensions makes; later ones
        win over earlier ones.
    attributes: (OID content, DER value) each.
    Raises UsageError for what cannot be encoded.
    """
    wanted = {}
    for oid, critical, value in extensions:
        wanted[oid] = _extension(oid, critical, value)
    listed = [_attribute(oid, value) for oid, value in attributes]
    if wanted:
        listed.append(_attribute(_EXTENSION_REQUEST, der.sequence(*wanted.values())))
    info = der.sequence(
        der.integer(0),
        name(subject) if isinstance(subject, str) else subject,
        key.spki(),
        b"\xa0" + der.set_of(*listed)[1:],
    )
    algorithm, signature = key.sign(info)
    return der.sequence(info, algorithm, der.bits(signature))


def name(text):
    """DER Name from "CN=device-1,O=Example,C=DE", in that order; a backslash escapes a comma.

    Attributes: CN O OU C ST L serialNumber emailAddress DC. Raises UsageError.
    """
    rdns = []
    for part in _split(text):
        attribute, equals, value = part.partition("=")
        attribute = attribute.strip()
        value = value.strip()
        oid = x509.attribute_oid(attribute)
        if not equals or oid is None or not value or min(value) < " ":
            raise UsageError(
                "subject: '%s' is no value for %s" % (part, " ".join(x509.ATTRIBUTES.values()))
            )
        limit = _LIMITS.get(attribute, 128)
        if len(value) > limit or (attribute == "C" and len(value) != 2):
            raise UsageError("subject: %s takes %d characters at most" % (attribute, limit))
        if attribute in ("C", "serialNumber"):
            if not printable(value):
                raise UsageError("subject: %s may not be '%s'" % (attribute, value))
            encoded = der.tlv(der.PRINTABLE_STRING, value.encode())
        elif attribute in ("emailAddress", "DC"):
            encoded = der.tlv(der.IA5_STRING, ascii(value))
        else:
            encoded = der.tlv(der.UTF8_STRING, value.encode())
        rdns.append(der.set_of(der.sequence(der.tlv(der.OID, oid), encoded)))
    return der.sequence(*rdns)


def _split(text):
    # At commas that no backslash escapes; every escaped character stands for itself (RFC 4514).
    parts = [""]
    escaped = False
    for character in text:
        if escaped:
            parts[-1] += character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ",":
            parts.append("")
        else:
            parts[-1] += character
    return parts


def printable(text):
    """Whether PrintableString can hold `text`."""
    for character in text:
        if character not in _PRINTABLE and not (
            character < "\x7f" and (character.isalpha() or character.isdigit())
        ):
            return False
    return True


def ascii(text):
    """Octets of `text`. Raises UsageError for anything but printable ASCII without spaces."""
    encoded = text.encode()
    for octet in encoded:
        if not 0x20 < octet < 0x7F:
            raise UsageError("'%s' may hold ASCII without spaces only" % text)
    return encoded


def _attribute(oid, value):
    return der.sequence(der.tlv(der.OID, oid), der.set_of(value))


def _extension(oid, critical, value):
    flag = der.tlv(der.BOOLEAN, b"\xff") if critical else b""
    return der.sequence(der.tlv(der.OID, oid), flag, der.octets(value))

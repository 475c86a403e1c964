"""PKCS#10 certification requests (RFC 2986) with what EST servers ask for in them."""

from est import der, x509
from est.errors import UsageError

_CHALLENGE_PASSWORD = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07"
EXTENSION_REQUEST = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0e"

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
# Upper bounds of RFC 5280 appendix A.1, in characters.
_LIMITS = {"C": 2, "CN": 64, "O": 64, "OU": 64, "serialNumber": 64, "emailAddress": 255}
_PRINTABLE = " '()+,-./:=?"


def build(
    key,
    subject,
    san=(),
    eku=(),
    key_usage=(),
    challenge_password=None,
    extensions=(),
    attributes=(),
):
    """CertificationRequest DER signed by `key` (see est.keys).

    subject: text as for `name`, or DER of a Name.
    san: texts such as "DNS:a.example", "IP:192.0.2.1", "URI:urn:x", "email:a@b.example".
    eku: "clientAuth" and the like, or dotted object identifiers.
    key_usage: "digitalSignature" and the like (RFC 5280 4.2.1.3).
    extensions: (OID content, critical, DER value) each; they win over the arguments above.
    attributes: (OID content, DER value) each.
    Raises UsageError for what cannot be encoded.
    """
    wanted = {}
    if san:
        names = der.sequence(*[_general_name(text) for text in san])
        wanted[x509.SUBJECT_ALT_NAME] = (False, names)
    if eku:
        purposes = der.sequence(*[der.tlv(der.OID, _purpose(text)) for text in eku])
        wanted[x509.EXT_KEY_USAGE] = (False, purposes)
    if key_usage:
        wanted[x509.KEY_USAGE] = (True, der.named_bits([_usage(text) for text in key_usage]))
    for oid, critical, value in extensions:
        wanted[oid] = (critical, value)
    listed = [_attribute(oid, value) for oid, value in attributes]
    if wanted:
        encoded = der.sequence(
            *[_extension(oid, critical, value) for oid, (critical, value) in wanted.items()]
        )
        listed.append(_attribute(EXTENSION_REQUEST, encoded))
    if challenge_password is not None:
        listed.append(_attribute(_CHALLENGE_PASSWORD, _directory_string(challenge_password)))
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
        if not equals or oid is None or not value:
            raise UsageError(
                "subject: '%s' is none of CN= O= OU= C= ST= L= serialNumber= "
                "emailAddress= DC= with a value" % part
            )
        limit = _LIMITS.get(attribute, 128)
        if len(value) > limit or (attribute == "C" and len(value) != 2):
            raise UsageError("subject: %s takes %d characters at most" % (attribute, limit))
        if attribute in ("C", "serialNumber"):
            for character in value:
                if not (_alphanumeric(character) or character in _PRINTABLE):
                    raise UsageError("subject: %s may not hold '%s'" % (attribute, character))
            encoded = der.tlv(der.PRINTABLE_STRING, value.encode())
        elif attribute in ("emailAddress", "DC"):
            encoded = der.tlv(der.IA5_STRING, _ascii(value))
        else:
            encoded = der.tlv(der.UTF8_STRING, value.encode())
        rdns.append(der.set_of(der.sequence(der.tlv(der.OID, oid), encoded)))
    if not rdns:
        raise UsageError("subject: empty")
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


def _alphanumeric(character):
    return "a" <= character <= "z" or "A" <= character <= "Z" or "0" <= character <= "9"


def _ascii(text):
    encoded = text.encode()
    for octet in encoded:
        if not 0x20 < octet < 0x7F:
            raise UsageError("'%s' may hold ASCII without spaces only" % text)
    return encoded


def _directory_string(text):
    # PrintableString where it fits, as RFC 2985 5.4.1 recommends for challengePassword.
    for character in text:
        if not (_alphanumeric(character) or character in _PRINTABLE):
            return der.tlv(der.UTF8_STRING, text.encode())
    return der.tlv(der.PRINTABLE_STRING, text.encode())


def _attribute(oid, value):
    return der.sequence(der.tlv(der.OID, oid), der.set_of(value))


def _extension(oid, critical, value):
    flag = der.tlv(der.BOOLEAN, b"\xff") if critical else b""
    return der.sequence(der.tlv(der.OID, oid), flag, der.octets(value))


def _general_name(text):
    kind, colon, value = text.partition(":")
    tag = _GENERAL_NAMES.get(kind.lower())
    if not colon or tag is None or not value:
        raise UsageError("alternative name: '%s' is none of DNS: IP: URI: email:" % text)
    return der.tlv(tag, _address(value) if tag == 0x87 else _ascii(value))


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
        return der.oid(text)
    except ValueError:
        raise UsageError("extended key usage: '%s' is no purpose nor object identifier" % text)

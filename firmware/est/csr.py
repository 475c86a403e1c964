"""PKCS#10 certification requests (RFC 2986) with what EST servers ask for in them."""

from micropython import const

from est import der
from est.errors import missing

# As in est.der, without a look-up on the board.
_BOOLEAN = const(0x01)
_OID = const(0x06)
_UTF8_STRING = const(0x0C)
_EXTENSION_REQUEST = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0e")
_COMMON_NAME = const(b"\x55\x04\x03")
_SUBJECT_ALT_NAME = const(b"\x55\x1d\x11")
_EXT_KEY_USAGE = const(b"\x55\x1d\x25")


def build(key, subject, extensions=(), attributes=()):
    """CertificationRequest DER signed by `key` (see est.keys). The rest as in `fields`."""
    from est.keys import request

    return request(key, *fields(subject, extensions, attributes))


def fields(subject, extensions, attributes):
    """(Name, attributes) of a request, DER each.

    subject: text as for `name`, or DER of a Name.
    extensions: (OID content, critical, DER value) each, such as est.extensions makes; later ones
        win over earlier ones.
    attributes: (OID content, DER value) each.
    Raises UsageError for what cannot be encoded.
    """
    by_oid = {}
    for extension in extensions:
        by_oid[extension[0]] = _extension(*extension)
    encoded = [_attribute(*attribute) for attribute in attributes]
    if by_oid:
        encoded.append(_attribute(_EXTENSION_REQUEST, der.sequence(*by_oid.values())))
    if isinstance(subject, str):
        subject = name(subject)
    return subject, b"\xa0" + der.set_of(*encoded)[1:]


def wanted(attributes, log, asked, leaf, key):
    """(what `fields` gives, renewed, demands) of a request.

    attributes: est.attributes.CsrAttrs, or None. asked: as `wanted` in est.request.build. leaf,
    key: as there.
    renewed, demands: what takes another key than P-256, as for est.key_types.choose; or None.
    """
    subject, san, eku, extra = asked
    own_extensions = []
    kept = []
    renewed = demands = None
    if leaf:
        from est import x509

        certificate = x509.Certificate(leaf)
        subject = certificate.subject
        if len(certificate.spki) != 91:  # that of P-256
            renewed = certificate.spki
        for oid in (_SUBJECT_ALT_NAME, _EXT_KEY_USAGE):
            value = certificate.extension(oid)
            if value:
                kept.append((oid, False, value))
    elif san or eku:
        from est.extensions import requested

        own_extensions = requested(san, eku)
    extensions = own_extensions + kept
    if attributes:
        subject, extensions = attributes.apply(subject, own_extensions, kept, extra, log)
        demands = attributes.demands(key or renewed, log)
    return fields(subject, extensions, extra), renewed, demands


def name(text):
    """DER Name of `text`, as est.names.name; without it a CN alone. Raises UsageError."""
    try:
        from est import names
    except ImportError as error:
        common = text[3:]
        if text[:3] != "CN=" or not common or "," in common or "\\" in common:
            raise missing(error)
        pair = der.tlv(_OID, _COMMON_NAME), der.tlv(_UTF8_STRING, common.encode())
        return der.sequence(der.set_of(der.sequence(*pair)))
    return names.name(text)


def _attribute(oid, value):
    return der.sequence(der.tlv(_OID, oid), der.set_of(value))


def _extension(oid, critical, value):
    flag = der.tlv(_BOOLEAN, b"\xff") if critical else b""
    return der.sequence(der.tlv(_OID, oid), flag, der.octets(value))

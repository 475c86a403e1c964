"""The few DER structures that `cryptography` can't write."""

from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

_DATA = "1.2.840.113549.1.7.1"
_SIGNED_DATA = "1.2.840.113549.1.7.2"


def tlv(tag: int, *contents: bytes) -> bytes:
    """One element with definite length; `tag` is the identifier byte."""
    body = b"".join(contents)
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    size = (len(body).bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + len(body).to_bytes(size, "big") + body


def sequence(*contents: bytes) -> bytes:
    return tlv(0x30, *contents)


def set_of(*contents: bytes) -> bytes:
    return tlv(0x31, *sorted(contents))


def integer(value: int) -> bytes:
    """A non-negative INTEGER."""
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def octet_string(value: bytes) -> bytes:
    return tlv(0x04, value)


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER from its dotted form. Raises ValueError."""
    x509.ObjectIdentifier(dotted)
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    return tlv(0x06, *(_base128(arc) for arc in (40 * first + second, *rest)))


def _base128(arc: int) -> bytes:
    septets = [arc & 0x7F]
    while arc := arc >> 7:
        septets.insert(0, 0x80 | arc & 0x7F)
    return bytes(septets)


def certs_only(certificates: Iterable[x509.Certificate], *before: bytes) -> bytes:
    """A certs-only PKCS#7 whose certificates keep their order, unlike a DER SET OF.

    `before` them stand others in DER.
    """
    ders = [certificate.public_bytes(Encoding.DER) for certificate in certificates]
    bag = tlv(0xA0, *before, *ders)
    signed = sequence(integer(1), set_of(), sequence(oid(_DATA)), bag, set_of())
    return sequence(oid(_SIGNED_DATA), tlv(0xA0, signed))

"""ASN.1 beyond the least install: tags (X.690 8.1.2), object identifiers as text, integers."""

from micropython import const

from est.encode import tlv

BOOLEAN = const(0x01)
INTEGER = const(0x02)
BIT_STRING = const(0x03)
OCTET_STRING = const(0x04)
OID = const(0x06)
UTF8_STRING = const(0x0C)
PRINTABLE_STRING = const(0x13)
IA5_STRING = const(0x16)
UTC_TIME = const(0x17)
GENERALIZED_TIME = const(0x18)
SEQUENCE = const(0x30)
SET = const(0x31)


def oid_text(content):
    """As est.oids.text; hexadecimal without it."""
    try:
        from est import oids
    except ImportError:
        return content.hex()
    return oids.text(content)


def integer(value):
    """INTEGER from a non-negative int or from big-endian bytes."""
    if isinstance(value, int):
        size = 1
        while value >> (8 * size):
            size += 1
        value = value.to_bytes(size, "big")
    value = bytes(value).lstrip(b"\0")
    return tlv(0x02, b"\0" if value[:1] >= b"\x80" or not value else b"", value)

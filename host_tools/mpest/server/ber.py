"""BER (X.690 8), in which CMS may come (RFC 5652), for pyasn1.

pyasn1 reads BER, but where a value is of any type it loses the marks that end indefinite lengths.
"""

from mpest.server import der

# A certification request inside CMC takes about 12.
_MAX_DEPTH = 32
_CONSTRUCTED = 0x20
_BIT_STRING, _OCTET_STRING, _SEQUENCE, _SET = 0x03, 0x04, 0x30, 0x31


def definite(data: bytes) -> bytes:
    """`data` as DER has it, but for strings in pieces whose tag does not tell that they are
    strings, and for the order of a SET. Raises ValueError.
    """
    tag, content, end = _element(data, 0, len(data), 0)
    return der.tlv(tag, content) + data[end:]


def indefinite(data: bytes, levels: int) -> bytes:
    """DER `data`, down so many levels with lengths told by their end."""
    out = b""
    at = 0
    while at < len(data):
        tag, content, at = _element(data, at, len(data), 0)
        if levels and tag & _CONSTRUCTED:
            out += bytes((tag, 0x80)) + indefinite(content, levels - 1) + b"\0\0"
        else:
            out += der.tlv(tag, content)
    return out


def _element(data: bytes, at: int, limit: int, depth: int) -> tuple[int, bytes, int]:
    """Tag and content of the element at `at`, and where it ends."""
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    if limit - at < 2:
        raise ValueError("truncated")
    tag, size = data[at : at + 2]
    at += 2
    if tag & 0x1F == 0x1F or not tag:
        raise ValueError(f"unexpected tag 0x{tag:02x}")
    end = None
    if size != 0x80:
        if size > 0x80:
            count = size & 0x7F
            size = int.from_bytes(data[at : at + count])
            at += count
        end = at + size
        if end > limit:
            raise ValueError("truncated")
    if not tag & _CONSTRUCTED:
        if end is None:
            raise ValueError("a primitive value without a length")
        return tag, data[at:end], end
    inner: list[tuple[int, bytes]] = []
    while at != end:
        if end is None and data[at : min(at + 2, limit)] == b"\0\0":
            at += 2
            break
        kind, content, at = _element(data, at, limit if end is None else end, depth + 1)
        inner.append((kind, content))
    if tag >= 0x40 or tag in (_SEQUENCE, _SET):
        return tag, b"".join(der.tlv(*element) for element in inner), at
    # The pieces of a string are OCTET STRINGs, those of a BIT STRING are such, with a number of
    # unused bits before each.
    tag &= ~_CONSTRUCTED
    bits = tag == _BIT_STRING
    if any(piece != (_BIT_STRING if bits else _OCTET_STRING) for piece, _ in inner):
        raise ValueError(f"unexpected tag in pieces of 0x{tag:02x}")
    pieces = [content for _, content in inner]
    if bits:
        return tag, b"".join([*(one[:1] for one in pieces[-1:]), *(one[1:] for one in pieces)]), at
    return tag, b"".join(pieces), at

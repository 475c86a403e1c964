"""DER (X.690): a bounded reader, and the writer of est.encode.

Object identifiers are handled as their encoded content (bytes), which compare and store cheaply.
"""

from micropython import const

from est.encode import *  # noqa: F403
from est.errors import PeerError

# Nesting of the deepest real message (a certificate inside EnvelopedData inside CMC) is about 16.
_MAX_DEPTH = const(24)
# Four length octets would allow 4 GiB; three cover anything a board can hold.
_MAX_LENGTH_OCTETS = const(3)
# The longest registered object identifiers take about 20 octets.
_MAX_OID = const(64)

_BOOLEAN = const(0x01)
_INTEGER = const(0x02)
_BIT_STRING = const(0x03)
_OCTET_STRING = const(0x04)
_OID = const(0x06)
_SEQUENCE = const(0x30)


class DerError(PeerError):
    """Not DER, or not the structure that was expected."""


def _malformed(text):
    raise DerError("DER: " + text)


class Reader:
    """A cursor over the elements of `data[start:end]`, which is never copied as a whole.

    Raises DerError for anything but definite, minimal lengths that fit their container.
    """

    def __init__(self, data, start=0, end=None, depth=0):
        if depth > _MAX_DEPTH:
            _malformed("nested too deeply")
        self.data = data
        self.pos = start
        self.limit = len(data) if end is None else end
        self.depth = depth

    def peek(self):
        """Tag of the next element; 0 at the end."""
        return self.data[self.pos] if self.pos < self.limit else 0

    def more(self):
        return self.pos < self.limit

    def end(self):
        """Raise unless everything was read."""
        if self.pos != self.limit:
            _malformed("unexpected element 0x%02x" % self.data[self.pos])

    def _header(self, tag):
        # Moves past the next element, whose content then begins at `_start`; returns its end.
        data = self.data
        pos = self.pos
        limit = self.limit
        if limit - pos < 2:
            _malformed("truncated")
        if tag and data[pos] != tag:
            _malformed("0x%02x where 0x%02x is expected" % (data[pos], tag))
        if data[pos] & 0x1F == 0x1F:
            _malformed("tag number above 30")
        size = data[pos + 1]
        pos += 2
        if size >= 0x80:
            count = size & 0x7F
            size = int.from_bytes(data[pos : pos + count], "big")
            pos += count
            if pos <= limit and (
                count > _MAX_LENGTH_OCTETS or size < 0x80 or size >> (8 * (count - 1)) == 0
            ):
                _malformed("BER needs est.ber")
        if size > limit - pos:
            _malformed("truncated")
        self._start = pos
        self.pos = pos + size
        return self.pos

    def enter(self, tag=_SEQUENCE):
        """A Reader over the content of the next element, which must have `tag` (0: any)."""
        end = self._header(tag)
        return type(self)(self.data, self._start, end, self.depth + 1)

    def bytes(self, tag=_OCTET_STRING):
        """Content of the next element as bytes."""
        end = self._header(tag)
        return bytes(self.data[self._start : end])

    def element(self, tag=0):
        """The next element whole, header included, as bytes."""
        start = self.pos
        self._header(tag)
        return bytes(self.data[start : self.pos])

    def skip(self, tag=0):
        self._header(tag)

    def optional(self, tag):
        """Reader over the next element's content when it has `tag`, else None."""
        return self.enter(tag) if self.peek() == tag else None

    def integer(self, tag=_INTEGER):
        """A non-negative integer (every one in these protocols is)."""
        content = self.bytes(tag)
        if content != b"\0" and not b"\0\x80" <= content[:2] < b"\x80":
            _malformed("integer negative or not minimal")
        return int.from_bytes(content, "big")

    def oid(self):
        """Content octets of an OBJECT IDENTIFIER."""
        content = self.bytes(_OID)
        if not 0 < len(content) <= _MAX_OID or content[-1] & 0x80:
            _malformed("malformed OID")
        return content

    def boolean(self):
        content = self.bytes(_BOOLEAN)
        # BER lets any nonzero octet mean true, and certificates with 0x01 exist.
        if len(content) != 1:
            _malformed("malformed boolean")
        return content != b"\0"

    def bit_string(self):
        """Content of a BIT STRING of whole octets."""
        content = self.bytes(_BIT_STRING)
        if not content or content[0]:
            _malformed("whole octets expected")
        return content[1:]

"""BER (X.690 8): what DER leaves out and CMS may be written in (RFC 5652), read within bounds.

Of CMS alone: certificates, requests, keys and signed attributes are DER. See est.cms.reader.
"""

from micropython import const

from est import der
from est.der import DerError

# As in est.asn1, without a look-up on the board.
_BIT_STRING = const(0x03)
_OCTET_STRING = const(0x04)
_SEQUENCE = const(0x30)
_SET = const(0x31)

# As in est.der.
_MAX_DEPTH = const(24)
# Some writers leave room for four length octets, or eight, whatever the length.
_MAX_LENGTH_OCTETS = const(8)
# Within one indefinite length: the largest bundle holds 48 certificates, 64 KB by kilobytes are 64
# pieces. Looking for the end of more would take a board seconds.
_MAX_ELEMENTS = const(1024)

_CONSTRUCTED = const(0x20)
# BOOLEAN, INTEGER, NULL, OBJECT IDENTIFIER, ENUMERATED: those that never come in pieces.
_WHOLE = const(b"\x01\x02\x05\x06\x0a")


class Reader(der.Reader):
    """As est.der.Reader, of BER. Strings come joined.

    Of an element that must be taken as it came, call `der.Reader.element`.
    """

    def _header(self, tag):
        # As in est.der, whose error serves.
        if tag and self.peek() != tag:
            super()._header(tag)
        end = pos = self._content(self.pos)
        if end < 0:
            start = self._start
            end = self._end(start)
            pos = end + 2
            self._start = start
        self.pos = pos
        return end

    def _content(self, pos):
        # End of the content of the element at `pos`, -1 where it is not told but marked. The start
        # is left in `_start`.
        data = self.data
        limit = self.limit
        if limit - pos < 2:
            raise DerError("BER: truncated")
        tag = data[pos]
        size = data[pos + 1]
        pos += 2
        if tag & 0x1F == 0x1F or not tag & ~_CONSTRUCTED:
            raise DerError("BER: tag number above 30, or end-of-contents out of place")
        if size == 0x80 and tag & _CONSTRUCTED:
            self._start = pos
            return -1
        if size >= 0x80:
            count = size & 0x7F
            if not 0 < count <= _MAX_LENGTH_OCTETS or count > limit - pos:
                raise DerError("BER: malformed or truncated length")
            size = 0
            for _ in range(count):
                size = size << 8 | data[pos]
                pos += 1
        if size > limit - pos:
            raise DerError("BER: truncated")
        self._start = pos
        return pos + size

    def _end(self, pos):
        # Where the end-of-contents stands that ends the content which begins at `pos`.
        data = self.data
        last = self.limit - 1
        depth = self.depth + 1
        for _ in range(_MAX_ELEMENTS):
            if pos < last and not (data[pos] or data[pos + 1]):
                depth -= 1
                if depth == self.depth:
                    return pos
                pos += 2
                continue
            end = self._content(pos)
            if end < 0:
                depth += 1
                if depth > _MAX_DEPTH:
                    raise DerError("BER: nested too deeply")
                end = self._start
            pos = end
        raise DerError("BER: too many elements")

    def bytes(self, tag=_OCTET_STRING):
        """As in est.der; of a string that came in pieces the whole."""
        if tag in _WHOLE or self.peek() != tag | _CONSTRUCTED:
            return super().bytes(tag)
        # The pieces of a BIT STRING are such, those of any other are OCTET STRINGs.
        kind = tag if tag == _BIT_STRING else _OCTET_STRING
        # A BIT STRING begins with the number of its unused bits.
        content = bytearray(b"\0" if tag == _BIT_STRING else b"")
        readers = [self.enter(tag | _CONSTRUCTED)]
        while readers:
            reader = readers[-1]
            if not reader.more():
                readers.pop()
            elif reader.peek() == kind | _CONSTRUCTED:
                readers.append(reader.enter(kind | _CONSTRUCTED))
            elif tag == _BIT_STRING:
                content.extend(reader.bit_string())
            else:
                content.extend(reader.bytes(kind))
        return bytes(content)

    def element(self, tag=0):
        """The next element whole, header included, as DER. (A SET keeps its order.)"""
        reader = self
        tag = tag or self.peek()
        elements = []
        outer = []
        while True:
            if tag & _CONSTRUCTED and (tag >= 0x40 or tag in (_SEQUENCE, _SET)):
                outer.append((reader, tag, elements))
                reader = reader.enter(tag)
                elements = []
            else:
                tag &= ~_CONSTRUCTED
                elements.append(der.tlv(tag, reader.bytes(tag)))
            while outer and not reader.more():
                content = elements
                reader, tag, elements = outer.pop()
                elements.append(der.tlv(tag, *content))
            if not outer:
                return elements[0]
            tag = reader.peek()

"""multipart/mixed (RFC 2046 5.1): a body of several parts, taken apart while it arrives."""

from micropython import const

from est.errors import PeerError
from est.protocol import Body

# RFC 2046 5.1.1.
_MAX_BOUNDARY = const(70)
# A key and its certificate, and what a server may think of besides.
_MAX_PARTS = const(8)
# As long as a header of HTTP may be; also what padding after a boundary may take.
_MAX_LINE = const(1024)
_MAX_HEADERS = const(16)

_SKIP, _BOUNDARY, _HEADERS, _CONTENT = range(4)


class Parts:
    """Sink of an HTTP body. `parts` becomes [(lower-case content type, content as bytearray)].

    content_type: that of the whole, which tells the boundary.
    whole: the boundary that ends the last part was read.
    wanted: the types of the parts to keep, which hold base64 or DER. Others are passed over.
    Lines end in CRLF or LF. Raises PeerError for what is not multipart/mixed, or not whole.
    """

    def __init__(self, content_type, wanted):
        self.parts = []
        self.whole = False
        self._wanted = wanted
        # At the very start a boundary needs no line end before it.
        self._data = b"\n"
        self._end = b"\n--" + _boundary(content_type)
        self._state = _SKIP
        self._count = 0
        self._begin()

    def _begin(self):
        self._headers = 0
        self._type = ""
        self._typed = False
        self._sink = None

    def feed(self, data):
        self._data += data
        while not self.whole and self._step():
            pass
        if self.whole:
            self._data = b""

    def end(self):
        if self._state == _SKIP:
            raise PeerError("multipart: no part begins with the boundary that was announced")
        if not self.whole:
            raise PeerError("multipart: cut off before its end")

    def _step(self):
        # Whether it went on; otherwise more data are needed.
        data = self._data
        if self._state in (_SKIP, _CONTENT):
            at = data.find(self._end)
            if at < 0:
                # All but what might begin a boundary, with the CR before it.
                self._pass_on(max(len(data) - len(self._end), 0))
                return False
            self._pass_on(at - 1 if data[at - 1 : at] == b"\r" else at)
            self._data = data[at + len(self._end) :]
            if self._sink:
                self._sink.end()
            self._state = _BOUNDARY
            return True
        if self._state == _BOUNDARY and data[:2] == b"--":
            self.whole = True
            return False
        at = data.find(b"\n")
        if (len(data) if at < 0 else at) > _MAX_LINE:
            raise PeerError("multipart: line too long")
        if at < 0:
            return False
        line = data[:at].rstrip()
        self._data = data[at + 1 :]
        if self._state == _BOUNDARY:
            self._count += 1
            if line or self._count > _MAX_PARTS:
                raise PeerError("multipart: malformed boundary, or too many parts")
            self._begin()
            self._state = _HEADERS
        elif line:
            self._header(line)
        else:
            # The line end stays: an empty part's boundary needs it.
            self._data = data[at:]
            self._state = _CONTENT
            self._first = True
            kind = self._type.replace("/x-", "/")
            if kind.partition(";")[0].strip() in self._wanted:
                content = bytearray()
                self._sink = Body(content, 0)
                self.parts.append((kind, content))
        return True

    def _pass_on(self, size):
        piece = self._data[:size]
        self._data = self._data[size:]
        if self._state == _CONTENT and piece and self._first:
            # The line end that ended the headers.
            piece = piece[1:]
            self._first = False
        if self._sink and piece:
            self._sink.feed(piece)

    def _header(self, line):
        self._headers += 1
        if self._headers > _MAX_HEADERS:
            raise PeerError("multipart: too many headers")
        # A line that begins with white space goes on with the header before.
        if line[:1] not in b" \t":
            name, _, line = line.partition(b":")
            self._typed = name.strip().lower() == b"content-type"
        if self._typed:
            try:
                text = line.decode()
            except UnicodeError:
                # ISO-8859-1, in a file's name, by way of UTF-8.
                text = b"".join([_utf8(octet) for octet in line]).decode()
            self._type = (self._type + " " + text.strip()).strip().lower()


def _boundary(content_type):
    kind, _, rest = content_type.partition(";")
    if kind.strip().lower() != "multipart/mixed":
        text = "content type %s where multipart/mixed is expected" % content_type[:60]
        if "html" in kind.lower():
            text += ": a web page came, check the URL, and whether a login page is in front"
        raise PeerError(text)
    for parameter in rest.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "boundary":
            value = value.strip()
            if value[:1] == '"':
                value = value[1:].partition('"')[0]
            if 0 < len(value) <= _MAX_BOUNDARY:
                return value.encode()
    raise PeerError("multipart: no boundary is announced")


def _utf8(octet):
    # Of one character of ISO-8859-1.
    return bytes((octet,)) if octet < 0x80 else bytes((0xC0 | octet >> 6, 0x80 | octet & 0x3F))

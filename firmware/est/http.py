"""HTTP/1.x for one exchange at a time, without sockets (RFC 9112): bytes in, a Response out."""

from micropython import const

from est.errors import PeerError

# Real EST servers send under 1 KB of headers; a proxy may add a few more.
_MAX_LINE = const(1024)
_MAX_HEADERS = const(64)
# Base64 of the largest CA bundle in use is about 30 KB.
_MAX_BODY = const(65536)
# What is read of a body at once. Decoding takes several times as much heap meanwhile.
_PIECE = const(256)

_STATUS = const(0)
_HEADERS = const(1)
_BODY = const(2)
_SIZE = const(3)
_CHUNK = const(4)
_CRLF = const(5)
_TRAILER = const(6)
_DONE = const(7)


def request(method, path, host, headers=(), body=None):
    """Bytes of a request; `headers` are (name, value) pairs."""
    text = "%s %s HTTP/1.1\r\nHost: %s\r\n" % (method, path, host)
    for header in headers:
        text += "%s: %s\r\n" % header
    if body is not None:
        text += "Content-Length: %d\r\n" % len(body)
    return text.encode() + b"\r\n" + (body or b"")


class Response:
    """Parses what is fed into `status`, `reason` and `headers`, and hands the body on.

    headers: (lower-case name, value) pairs in their order.
    on_head(response): called once with status and headers read; returns the object whose
        `feed(data)` takes the body and whose `end()` is called after it.
    done: the whole response was read. keep: the connection can carry another request.
    Raises PeerError for anything malformed or too large.
    """

    def __init__(self, on_head):
        self.status = 0
        self.reason = ""
        self.headers = []
        self.done = False
        self.keep = False
        self.started = False
        self._on_head = on_head
        self._sink = None
        self._state = _STATUS
        self._line = b""
        self._left = 0
        self._taken = 0

    def header(self, name):
        """Value of the first header `name` (lower case), or None."""
        for known, value in self.headers:
            if known == name:
                return value
        return None

    def wanted(self):
        """How many bytes to read next, not beyond the end; negative: at most, of a line."""
        if self._state in (_BODY, _CHUNK):
            return min(self._left, _PIECE) if self._left >= 0 else 1
        return -_MAX_LINE

    def feed(self, data):
        """Take bytes as they come from the peer."""
        self.started = True
        at = 0
        while at < len(data):
            if self._state == _DONE:
                raise PeerError("HTTP: data after response")
            if self._state in (_BODY, _CHUNK):
                piece = data[at : at + self._left] if self._left >= 0 else data[at:]
                at += len(piece)
                self._body(piece)
                if self._left >= 0:
                    self._left -= len(piece)
                    if not self._left:
                        if self._state == _BODY:
                            self._finish()
                        else:
                            self._state = _CRLF
                continue
            end = data.find(b"\n", at)
            self._line += data[at : end + 1] if end >= 0 else data[at:]
            if len(self._line) > _MAX_LINE:
                raise PeerError("HTTP: line over %d bytes" % _MAX_LINE)
            if end < 0:
                return
            at = end + 1
            line = self._line.rstrip(b"\r\n")
            self._line = b""
            try:
                self._take(line.decode())
            except UnicodeError:
                raise PeerError("HTTP: header is not text")

    def eof(self):
        """The peer closed: the end of a body without length, an error anywhere else."""
        if self._state == _BODY and self._left < 0:
            self._finish()
        if not self.done:
            raise PeerError("the server closed the connection amid its answer")

    def _body(self, piece):
        self._taken += len(piece)
        _check_size(self._taken)
        self._sink.feed(piece)

    def _finish(self):
        self._state = _DONE
        self._sink.end()
        self.done = True

    def _take(self, line):
        if self._state == _STATUS:
            version, _, rest = line.partition(" ")
            code, _, self.reason = rest.partition(" ")
            # As bytes, of which only ASCII's are digits.
            if version[:-1] != "HTTP/1." or len(code) != 3 or not code.encode().isdigit():
                _malformed("status line")
            self.status = int(code)
            self.keep = version == "HTTP/1.1"
            self.headers = []
            self._state = _HEADERS
        elif self._state in (_HEADERS, _TRAILER):
            if line:
                name, colon, value = line.partition(":")
                if not colon or not name or name[0] in " \t":
                    _malformed("header")
                if len(self.headers) == _MAX_HEADERS:
                    raise PeerError("HTTP: over %d headers" % _MAX_HEADERS)
                self.headers.append((name.strip().lower(), value.strip()))
            elif self._state == _TRAILER:
                self._finish()
            else:
                self._head()
        elif self._state == _CRLF:
            if line:
                _malformed("chunk")
            self._state = _SIZE
        else:
            self._left = _length(line.partition(";")[0].strip(), 16)
            self._state = _CHUNK if self._left else _TRAILER

    def _head(self):
        if self.status // 100 == 1:  # 100 Continue and the like: the real answer follows
            self._state = _STATUS
            return
        connection = (self.header("connection") or "").lower()
        self.keep = "close" not in connection and (self.keep or "keep-alive" in connection)
        self._sink = self._on_head(self)
        encoding = self.header("transfer-encoding")
        lengths = [value for name, value in self.headers if name == "content-length"]
        if self.status in (204, 304):
            self._finish()
        elif encoding:
            if encoding.lower() != "chunked":
                raise PeerError("HTTP: unknown encoding")
            self._state = _SIZE
        elif lengths:
            if min(lengths) != max(lengths):
                _malformed("length")
            self._left = _length(lengths[0], 10)
            self._state = _BODY
            if not self._left:
                self._finish()
        else:
            # Ends when the peer closes, so nothing can follow. A bare 202 may come this way too.
            self.keep = False
            self._left = -1
            self._state = _BODY


def _length(text, base):
    try:
        value = int(text, base)
    except ValueError:
        value = -1
    if value < 0 or text[:1] in "+-":
        _malformed("length")
    _check_size(value)
    return value


def _malformed(what):
    raise PeerError("HTTP: malformed " + what)


def _check_size(size):
    if size > _MAX_BODY:
        raise PeerError("HTTP: body over %d bytes" % _MAX_BODY)

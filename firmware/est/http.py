"""HTTP/1.x for one exchange at a time, without sockets (RFC 9112): bytes in, a Response out."""

from micropython import const

from est.errors import Closed, PeerError

# What is kept of a line; cookies and policies of proxies are longer, and nothing reads them.
_MAX_LINE = const(1024)
# Of those in _READ. Real EST servers send five of them.
_MAX_HEADERS = const(64)
# Of a whole answer: base64 of 48 certificates with RSA-4096 keys (est.cms), and its headers.
_MAX_SIZE = const(131072)
# What is read at once, of a line or a body. Decoding takes several times as much heap meanwhile.
_PIECE = const(128)

_STATUS = const(0)
_HEADERS = const(1)
_BODY = const(2)
_SIZE = const(3)
_CHUNK = const(4)
_CRLF = const(5)
_TRAILER = const(6)
_DONE = const(7)

# What est reads. Every other header may hold anything.
_READ = const(
    b" connection content-length content-type date location retry-after transfer-encoding"
    b" www-authenticate "
)


def request(method, path, host, headers=(), body=None):
    """Bytes of a request before its `body`; `headers` are (name, value) pairs."""
    text = "%s %s HTTP/1.1\r\nHost: %s\r\n" % (method, path, host)
    for header in headers:
        text += "%s: %s\r\n" % header
    if body is not None:
        text += "Content-Length: %d\r\n" % len(body)
    return (text + "\r\n").encode()


def printable(data):
    """Text of what a peer says: ASCII, white space as single spaces."""
    # By way of octets: MicroPython keeps each character of a text for good.
    text = bytes([octet if 0x20 <= octet < 0x7F else 0x20 for octet in data])
    return " ".join(text.decode().split())


class Response:
    """Parses what is fed into `status`, `reason` (bytes) and `headers`, and hands the body on.

    headers: (lower-case name, value) pairs in their order, of those that est reads.
    on_head(response): called once with status and headers read; returns the object whose
        `feed(data)` takes the body and whose `end()` is called after it.
    taken: octets that came. left: octets of the body to come, negative if unknown; of a chunk
        once the body has begun.
    done: the whole response was read. keep: the connection can carry another request.
    decided: the headers were read, and the status tells all: it does without the rest.
    Raises PeerError for a malformed frame and for what is too large.
    """

    status = left = taken = 0
    reason = _line = _header = b""
    headers = ()
    done = keep = decided = False
    _state = _STATUS

    def __init__(self, on_head):
        self.on_head = on_head

    def header(self, name):
        """Value of the first header `name` (lower case), or ""."""
        for field_name, value in self.headers:
            if field_name == name:
                return value
        return ""

    def wanted(self):
        """How many bytes to read next, not beyond the end; negative: at most, of a line."""
        if self._state in (_BODY, _CHUNK):
            return min(self.left, _PIECE) if self.left >= 0 else 1
        return -_PIECE

    def feed(self, data):
        """Take bytes as they come from the peer."""
        self.taken += len(data)
        _check_size(self.taken)
        at = 0
        while at < len(data):
            if self._state == _DONE:
                self.keep = False  # nobody asked for more
                return
            if self._state in (_BODY, _CHUNK):
                piece = data[at : at + self.left] if self.left >= 0 else data[at:]
                at += len(piece)
                self._sink.feed(piece)
                if self.left >= 0:
                    self.left -= len(piece)
                    if not self.left:
                        if self._state == _BODY:
                            self._finish()
                        else:
                            self._state = _CRLF
                continue
            end = data.find(b"\n", at) + 1
            self._line = (self._line + data[at : end or len(data)])[:_MAX_LINE]
            if not end:
                return
            at = end
            line = self._line.rstrip(b"\r\n")
            self._line = b""
            self._take(line)

    def eof(self):
        """The peer closed: the end of a body without length, an error anywhere else.

        Closed before the answer began; the same Response may then be fed from another connection.
        """
        if self._state == _BODY and self.left < 0:
            self._finish()
        self._line = b""
        if not self.done:
            raise (PeerError if self.taken else Closed)(
                "the server closed the connection %d octets into its answer" % self.taken
            )

    def _finish(self):
        self._state = _DONE
        self._sink.end()
        self.done = True

    def _take(self, line):
        if self._state == _STATUS:
            version, _, rest = line.partition(b" ")
            code, _, self.reason = rest.partition(b" ")
            if version[:-1] != b"HTTP/1." or len(code) != 3 or not code.isdigit():
                _malformed("status line")
            self.status = int(code)
            self.keep = version == b"HTTP/1.1"
            self.headers = []
            self._state = _HEADERS
        elif self._state in (_HEADERS, _TRAILER):
            if line[:1] in (b" ", b"\t"):  # the header before goes on (RFC 9112 5.2)
                self._header = (self._header + line)[:_MAX_LINE]
                return
            name, _, value = self._header.partition(b":")
            name = name.strip().lower()
            if b" %s " % name in _READ:
                if len(self.headers) == _MAX_HEADERS:
                    _malformed("header")
                try:
                    text = value.decode()
                except UnicodeError:
                    text = bytes([min(octet, 0x7F) for octet in value]).decode()
                self.headers.append((name.decode(), text.strip()))
            self._header = line
            if not line:
                if self._state == _TRAILER:
                    self._finish()
                else:
                    self._head()
        elif self._state == _CRLF:
            if line:
                _malformed("chunk")
            self._state = _SIZE
        else:
            self.left = _length(line.partition(b";")[0].strip(), 16)
            self._state = _CHUNK if self.left else _TRAILER

    def _head(self):
        if self.status // 100 == 1:  # 100 Continue and the like: the real answer follows
            self._state = _STATUS
            return
        self.decided = self.status > 201
        connection = self.header("connection").lower()
        self.keep = "close" not in connection and (self.keep or "keep-alive" in connection)
        encoding = self.header("transfer-encoding").lower()
        length = -1
        for name, value in self.headers:
            if name == "content-length":
                for text in value.split(","):
                    size = _length(text.strip().encode(), 10)
                    if length not in (-1, size):
                        _malformed("length")
                    length = size
        self.left = length
        self._sink = self.on_head(self)
        if self.status in (204, 304):
            # There is no body, whatever they say (RFC 9112 6.3); what follows may be one.
            self.keep = self.keep and not encoding and length < 1
            length = 0
        elif encoding == "chunked":
            self._state = _SIZE
            return
        elif encoding not in ("", "identity"):
            _malformed("header")
        # Without length it ends when the peer closes. A bare 202 may come this way too.
        # Nor does a server want more after a 408.
        self.keep = self.keep and length >= 0 and self.status != 408
        self.left = length
        self._state = _BODY
        if not length:
            self._finish()


def _length(text, base):
    try:
        value = int(text, base)
    except ValueError:
        value = -1
    if value < 0 or text[:1] in b"+-":
        _malformed("length")
    _check_size(value)
    return value


def _malformed(reason):
    raise PeerError("HTTP: malformed " + reason)


def _check_size(size):
    if size > _MAX_SIZE:
        raise PeerError("HTTP: over %d bytes" % _MAX_SIZE)

"""micropython-lib's `requests` over TLS that is verified and shows the board's certificate.

    from est import requests  # was: import requests

    requests.use(agent.known)  # once
    requests.get("https://api.example.com/").json()

Other than there: http: is refused, errors are those of est.errors, a redirection to another server
takes no Authorization along, and `timeout` is for all until the head of the answer is there, name
resolution included; from then on for each read. A chunk has at most 128 KiB.
"""

import socket
import time

from micropython import const

from est import http, run
from est.errors import EstError, NotTrusted, PeerError, UsageError

# As many as a login takes; more go in a circle.
_MAX_REDIRECTS = const(5)
_REDIRECTS = const((301, 302, 303, 307, 308))
# Milliseconds by which a socket's timeout may come before its time.
_EARLY = const(20)
_EINVAL = const(22)
# As in est.tls.Context.error.
_NOT_TRUSTED = const((-0x2700, -0x3000, -0x7A00))
# What est.http takes whole. A larger download comes in pieces that are handed on.
_WHOLE = const(131072)

_identity = None
_context = None


def use(identity):
    """Connect as `identity` (est.parts.Known), or by what its `context()` returned."""
    global _identity, _context
    _identity = _context = None
    if hasattr(identity, "wrap_socket"):
        _context = identity
    else:
        _identity = identity


def _shown():
    global _context
    if _context is None:
        if _identity is None:
            raise UsageError("requests: call use(identity) first")
        _context = _identity.context()
    return _context


class Response:
    """status_code, reason (bytes), headers (a dict, names as sent), raw (`read`, `readinto`)."""

    def __init__(self, raw):
        self.raw = raw
        self.status_code = raw.head.status
        self.reason = raw.head.reason
        self.headers = raw.head.parsed
        self.encoding = "utf-8"
        self._cached = None

    def close(self):
        if self.raw:
            self.raw.close()
            self.raw = None
        self._cached = None

    @property
    def content(self):
        if self._cached is None:
            try:
                self._cached = self.raw.read()
            finally:
                self.raw.close()
                self.raw = None
        return self._cached

    @property
    def text(self):
        return str(self.content, self.encoding)

    def json(self):
        import json

        return json.loads(self.content)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class _Head(http.Response):
    # Of the answer; hands its body to `sink`.

    def __init__(self, sink, parse):
        self.parsed = {}
        self.ready = False
        self._sink_then = sink
        self._parse = parse
        super().__init__(self._begun)

    def _begun(self, _):
        self.ready = True
        return self._sink_then

    def _head(self):
        large = set()
        for header in list(self.headers):
            name, value = header
            # Octets: for CPython a superscript is a digit, too.
            if name == "content-length" and value.encode().isdigit() and int(value) > _WHOLE:
                large.add(int(value))
                self.headers.remove(header)
        super()._head()
        if large and self.header("content-length") or len(large) > 1:
            raise PeerError("HTTP: malformed length")
        if large:
            self.left = large.pop()

    def _take(self, line):
        # A line that does not go on with the header before ends it.
        if self._header and line[:1] not in (b" ", b"\t") and self._parse:
            if self._parse is True:
                name, _, value = self._header.partition(b":")
                self.parsed[_text(name)] = _text(value)
            else:
                self._parse(self._header + b"\r\n", self.parsed)
        super()._take(line)


def _text(octets):
    try:
        return octets.decode().strip()
    except UnicodeError:
        return http.printable(octets)


class _Link:
    # A connection, and the body that comes over it.

    def __init__(self, host, port, timeout, parse):
        self._context = _shown()
        self._timeout = timeout
        self._deadline = None
        if timeout is not None:
            self._deadline = time.ticks_add(time.ticks_ms(), int(timeout * 1000))
        self._body = bytearray()
        self._sock = self._stream = None
        self.head = _Head(self, parse)
        try:
            self._connect(host, port)
        except (EstError, OSError, ValueError) as error:
            self.close()
            raise self._typed(error)

    def _typed(self, error):
        if isinstance(error, EstError):
            return error
        until = self._deadline
        if until is not None and time.ticks_diff(until, time.ticks_ms()) < _EARLY:
            return self._late()
        # What est.context and est.sslcontext raise: mbedTLS's number, OpenSSL's class, EINVAL.
        number = getattr(error, "errno", None)
        text = str(error.args[-1] if error.args else error)
        if (
            isinstance(error, ValueError)
            or number in _NOT_TRUSTED
            or hasattr(error, "verify_message")
        ):
            return NotTrusted(text)
        return (UsageError if number == _EINVAL else PeerError)(text)

    def _late(self):
        return PeerError("the server took longer than %s s" % self._timeout)

    def _left(self):
        # Milliseconds, or None.
        if self._deadline is None:
            return None
        left = time.ticks_diff(self._deadline, time.ticks_ms())
        if left <= 0:
            raise self._late()
        return left

    def _limit(self, thing):
        left = self._left()
        if left is not None:
            thing.settimeout(left / 1000)

    def _addresses(self, host, port):
        try:
            if self._deadline is None:
                return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
            from est import lookup

            return run(lookup.find(host, port, self._left))
        except (OSError, ValueError) as error:  # the latter: a label that is empty or too long
            raise PeerError("no address known for %s (%s)" % (host, error))

    def _connect(self, host, port):
        failure = None
        for address in self._addresses(host, port):
            self._sock = sock = socket.socket(address[0], address[1], address[2])
            try:
                self._limit(sock)
                sock.connect(address[-1])
                break
            except OSError as error:
                failure = error
                sock.close()
        else:
            raise PeerError("cannot reach %s port %d (%s)" % (host, port, failure))
        self._limit(sock)
        stream = self._context.wrap_socket(sock, server_hostname=host)
        if hasattr(stream, "makefile"):  # CPython
            self._sock = stream
            self._stream = stream.makefile("rb")
            self._write = stream.sendall
        else:
            self._stream = stream
            self._write = stream.write

    def write(self, data):
        try:
            self._limit(self._sock)
            self._write(data)
        except (OSError, ValueError) as error:
            raise self._typed(error)

    def begin(self):
        """Read until the head is whole."""
        while not self.head.ready:
            self._pull()

    def _pull(self):
        head = self.head
        size = head.wanted()
        try:
            self._limit(self._sock)
            if size > 0:
                data = self._stream.read(size)
            elif self._timeout is None:
                data = self._stream.readline(-size)
            else:
                data = self._stream.read(1)  # or a line that drips would outlive the time
        except (OSError, ValueError) as error:
            raise self._typed(error)
        if data is None:
            raise self._late()
        if data:
            if head.left:
                head.taken = 0  # each piece of the body is handed on
            head.feed(data)
        else:
            head.eof()

    # Of the body.

    def feed(self, data):
        self._body.extend(data)

    def end(self):
        pass

    def _fill(self, count):
        # As many octets as there are; none beyond the end of a chunk, for which a server may rest.
        head = self.head
        while not head.done and (
            count < 0 or (len(self._body) < count and (not self._body or head.wanted() > 0))
        ):
            if self._timeout is not None:
                self._deadline = time.ticks_add(time.ticks_ms(), int(self._timeout * 1000))
            self._pull()

    def read(self, count=-1):
        """So many octets, fewer at the end of a chunk or of all, then b""."""
        self._fill(count)
        body = self._body
        if count < 0 or count >= len(body):
            self._body = bytearray()
            return bytes(body)
        self._body = body[count:]
        return bytes(body[:count])

    def readinto(self, buffer):
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self):
        for stream in (self._stream, self._sock):
            if stream:
                try:
                    stream.close()
                except OSError:
                    pass
        self._stream = self._sock = None


def request(
    method,
    url,
    data=None,
    json=None,
    headers=None,
    stream=None,
    auth=None,
    timeout=None,
    parse_headers=True,
):
    """As micropython-lib's. Raises NotTrusted for a wrong server, PeerError, UsageError."""
    headers = dict(headers or {})
    pieces = None
    if json is not None:
        if data is not None:
            raise UsageError("requests: give data or json")
        from json import dumps

        data = dumps(json)
        headers.setdefault("Content-Type", "application/json")
    if isinstance(data, str):
        data = data.encode()
    if hasattr(data, "__next__"):
        pieces, data = data, None
        if "Content-Length" not in headers:
            headers.setdefault("Transfer-Encoding", "chunked")
    elif data:
        headers.setdefault("Content-Length", str(len(data)))
    if auth is not None:
        from binascii import b2a_base64

        headers["Authorization"] = (
            "Basic " + b2a_base64(("%s:%s" % auth).encode()).decode().strip()
        )
    headers.setdefault("Connection", "close")
    for _ in range(_MAX_REDIRECTS + 1):
        host, port, authority, path = _split(url)
        link = _Link(host, port, timeout, parse_headers)
        try:
            _send(link, method, authority, path, headers, data, pieces)
            link.begin()
            head = link.head
            location = head.header("location")
            if pieces or not location or head.status not in _REDIRECTS:
                if method == "HEAD":
                    head.done = True
                response = Response(link)
                link = None
                return response
        finally:
            if link:
                link.close()
        if head.status < 304 and method != "HEAD":
            method = "GET"
            data = None
            _drop(headers, "content-length", "content-type")
        url = _joined(authority, path, location)
        if _split(url)[:2] != (host, port):
            _drop(headers, "host", "authorization", "cookie")
    raise PeerError("the server redirects without end")


def _drop(headers, *names):
    # In whatever case they are written.
    for name in list(headers):
        if name.lower() in names:
            del headers[name]


def _send(link, method, authority, path, headers, data, pieces):
    text = "%s %s HTTP/1.1\r\n" % (method, path)
    if "Host" not in headers:
        text += "Host: %s\r\n" % authority
    for name in headers:
        line = "%s: %s" % (name, headers[name])
        if "\r" in line or "\n" in line:
            raise UsageError("requests: a header with a line break")
        text += line + "\r\n"
    text = text.encode() + b"\r\n"
    # In one record with the head where it is short.
    if data and len(data) < 512:
        text += data
        data = None
    link.write(text)
    if data:
        link.write(data)
    if pieces:
        chunked = headers.get("Transfer-Encoding") == "chunked"
        for piece in pieces:
            if isinstance(piece, str):
                piece = piece.encode()
            if not chunked:
                link.write(piece)
            elif piece:  # an empty one would be the end
                link.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if chunked:
            link.write(b"0\r\n\r\n")


def _split(url):
    # (host in lower case, port, authority, path) of https:.
    rest = url.partition("#")[0]
    octets = rest.encode() or b"\0"
    authority = rest[8:].partition("/")[0].partition("?")[0]
    path = rest[8 + len(authority) :]
    host, _, port = authority.partition(":")
    if authority[:1] == "[":
        host, closed, port = authority[1:].partition("]")
        host = closed and host
        port = port[1:]
    if (
        rest[:8].lower() != "https://"
        or not host
        or "@" in authority
        or not 0x21 <= min(octets) <= max(octets) <= 0x7E
        or (port and not (port.isdigit() and 0 < int(port) < 65536))
    ):
        raise UsageError("requests: the URL must be https://HOST[:PORT][/PATH], without a user")
    return host.lower(), int(port or 443), authority, path if path[:1] == "/" else "/" + path


def _joined(authority, path, location):
    # The URL that a Location means.
    location = location.partition("#")[0]
    if location[:2] == "//":
        location = "https:" + location
    elif ":" not in location.partition("?")[0].partition("/")[0]:
        from est.redirect import resolved

        location = "https://%s%s" % (authority, resolved(path, location or path))
    try:
        _split(location)
    except UsageError:
        raise PeerError("the server redirects to what is no https: URL")
    return location


def head(url, **settings):
    return request("HEAD", url, **settings)


def get(url, **settings):
    return request("GET", url, **settings)


def post(url, **settings):
    return request("POST", url, **settings)


def put(url, **settings):
    return request("PUT", url, **settings)


def patch(url, **settings):
    return request("PATCH", url, **settings)


def delete(url, **settings):
    return request("DELETE", url, **settings)

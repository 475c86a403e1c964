"""The EST operations (RFC 7030, RFC 8951) without sockets.

Every operation is a generator: it yields Requests, is sent the Response to each, and returns its
result. est.client drives it over blocking sockets.
"""

from micropython import const

from est import errors

# For one operation: three redirects, a challenge, and a nonce that grew stale.
_MAX_REQUESTS = const(6)
# What of an error's text is kept and shown.
_MAX_TEXT = const(200)
# Octets of a body that find room in the heap before they come: base64 of some certificates.
_RESERVED = const(4096)
# Where a server says "later" but not when; and the longest wait believed.
_WAIT = const(60)
_MAX_WAIT = const(2678400)


class Body:
    """Sink of a body: base64, or DER as it is (OpenXPKI), goes to bytearray `out` as DER.

    base64 of a SEQUENCE begins with "M", DER with "0". With a `limit` it is text to cut there.
    """

    _decoder = None

    def __init__(self, out, limit):
        self.out = out
        self.limit = limit

    def feed(self, data):
        if self.limit:
            data = data[: self.limit - len(self.out)]
        elif not self.out and self._decoder is None and data[0] != 0x30:
            from est.base64 import Decoder

            self._decoder = Decoder(self.out)
        (self._decoder.feed if self._decoder else self.out.extend)(data)

    def end(self):
        if self._decoder:
            self._decoder.end()


class Request:
    """method, path, headers [(name, value)], body (bytes or None); `response` parses the answer
    to it and leaves the decoded body in `content`.

    stream: the TLS stream that it is about to go over when `encode` is called.
    """

    response = None

    def __init__(self, method, path, headers, body):
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.content = bytearray()

    def on_head(self, response):
        limit = _MAX_TEXT
        if response.status in (200, 201):
            limit = 0
            # Grown piece by piece it would be there twice.
            self.content = bytearray(min(max(response.left, 0), _RESERVED) * 3 // 4)
            self.content[:] = b""
        return Body(self.content, limit)

    def encode(self, host):
        """What goes before the body. From then on there is a `response`."""
        # Loaded only now: the handshake takes more of the heap.
        from est import http

        self.response = self.response or http.Response(self.on_head)
        return http.request(self.method, self.path, host, self.headers, self.body)


class Est:
    """Operations at one server. `authority` is "host" or "host:port" as in the URL.

    credentials: see est.auth. With `bootstrap` only cacerts is allowed, since the server is not
    verified yet (RFC 7030 4.1.1).
    """

    def __init__(self, authority, label=None, credentials=None, bootstrap=False):
        self.authority = authority
        self._base = "/.well-known/est/" + (label + "/" if label else "")
        self.credentials = None if bootstrap else credentials
        self.bootstrap = bootstrap

    def answer(self, operation, csr=None):
        """What `operation` answers, certs-only CMS (DER) that nobody has judged yet.

        Of whatever content type: it vouches for itself, and may be the only answer there will be.
        csr: the CertificationRequest DER to post, if it takes one.
        """
        if csr is None:
            request = yield from self.exchange("GET", operation)
        else:
            request = yield from self.post(operation, csr)
        return request.content

    def post(self, operation, csr):
        """The answered Request of an operation that takes CertificationRequest DER `csr`."""
        headers = (
            ("Content-Type", "application/pkcs10"),
            ("Content-Transfer-Encoding", "base64"),
        )
        from est.base64 import encode

        return self.exchange("POST", operation, (201,), headers, encode(csr))

    def exchange(self, method, operation, accepted=(), headers=(), body=None):
        """The Request of one operation, through challenges and redirects, once it is answered with
        200 or one of the `accepted` statuses."""
        if self.bootstrap and operation != "cacerts":
            raise errors.UsageError("only cacerts before the server is verified")
        path = self._base + operation
        credentials = self.credentials
        for attempt in range(_MAX_REQUESTS):
            value = credentials and credentials.header(method, path)
            extra = (("Authorization", value),) if value else ()
            request = Request(method, path, headers + extra, body)
            yield request
            response = request.response
            status = response.status
            if status == 200 or status in accepted:
                return request
            if status // 100 == 3:
                try:
                    from est import redirect
                except ImportError as error:
                    raise errors.missing(error)
                path = redirect.path(self, request)
                if path:
                    continue
            if credentials and credentials.retry(request):
                continue
            # It may tell of the connection that it closes, not of this request (RFC 9110 15.5.9).
            if status != 408 or attempt:
                raise self.refusal(request)
        raise errors.PeerError("the server redirects or asks without end")

    def shown(self, request, data, size=_MAX_TEXT):
        """Printable text of `data` that the server says, without secrets that it repeats; then
        what to do about a refusal."""
        try:
            from est.advice import shown
        except ImportError:
            # An optional part, without which the server may repeat a login.
            from est.http import printable

            return "" if self.credentials else printable(data)[:size]
        return shown(self.credentials, request, data, size)

    def refusal(self, request):
        """The error for the answered `request`, whose status is not the operation's success."""
        response = request.response
        status = response.status
        text = "HTTP %d: %s" % (status, self.shown(request, request.content or response.reason))
        # The request waits for approval (202), or what a client may repeat as it is.
        if status in (202, 408, 429, 502, 503, 504):
            return errors.RetryLater("not now, %s" % text, _retry_after(response))
        if status < 400:
            return errors.PeerError("unexpected " + text)
        return errors.Refused("refused with " + text, status)


def _retry_after(response):
    # Seconds of a Retry-After header: a number, or a date (RFC 9110 10.2.3).
    text = response.header("retry-after")
    seconds = _WAIT
    try:
        if text.isdigit():
            seconds = int(text[:9])
        elif text:
            from est.httpdate import left

            seconds = left(text)
    except (ImportError, ValueError):
        pass  # an optional part, or neither
    return min(max(seconds, 1), _MAX_WAIT)

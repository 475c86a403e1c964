"""The EST client: est.protocol over TLS sockets. est.aclient has the one for asyncio."""

import gc
import select
import socket
import time

from est import run
from est.errors import EstError, PeerError
from est.tls import Context


class Client:
    """EST at `url`: has the operations of est.protocol.Est, and does them.

    One TLS connection is kept for as long as the server allows.

    anchors: DER trust anchors. identity: (chain of DER certificates, DER key) or None.
    credentials: see est.auth. timeout: seconds for one exchange, connecting included.
    bootstrap: do not verify the server; only `cacerts` works then.
    identity: as given. context: the est.tls.Context. est: the est.protocol.Est; deleted, it leaves
        the heap until it is used again.
    authority: host and port as in `url`. stream: that of TLS while it is connected, or None.
    poll: of that connection. room: anything; it is let go of right before TLS takes the heap.
    date: the Date that came with the last answer, whole or not; "" without one, None before any.
    Errors are those of est.errors.
    """

    room = date = stream = _sock = None

    def __init__(
        self, url, anchors=(), identity=None, credentials=None, timeout=30, bootstrap=False
    ):
        from est.url import parse

        self._host, self._port, label = parse(url)
        self.authority = url[8:].partition("/")[0]
        self._est = label, credentials, bootstrap
        self.identity = identity
        chain, key = identity or ((), None)
        self.context = Context(anchors, chain, key, bootstrap)
        self.timeout = timeout

    def __getattr__(self, name):
        if name == "est":
            from est.protocol import Est

            self.est = Est(self.authority, *self._est)
            return self.est
        from est import operations

        operation = getattr(operations, name)
        return lambda *arguments: self.run(operation(self.est, *arguments))

    def close(self):
        """Close the connection; the next operation opens another."""
        for stream in (self.stream, self._sock):
            if stream:
                try:
                    stream.close()
                except OSError:
                    pass
        self.stream = self._sock = None

    def run(self, operation):
        """The result of `operation`, a generator of Requests such as those of `est`."""
        return run(self.steps(operation))

    def steps(self, operation):
        """As `run`, in steps (est.run)."""
        name = ""
        try:
            while True:
                request = next(operation)
                # Of the first: a redirect leads elsewhere.
                name = name or request.path.rpartition("/")[2]
                yield from self._exchange(request)
        except StopIteration as stop:
            return stop.value
        except EstError as error:
            # This very error, for what it holds besides the text.
            super(EstError, error).__init__("%s: %s" % (name or "est", error))
            raise

    def _exchange(self, request):
        if self.stream:
            # An answer's end may be followed by the connection's, or by octets nobody asked for.
            try:
                idle = self.stream.read(1) is None
            except OSError:
                idle = False
            if not idle:
                self.close()
        kept = self.stream is not None
        try:
            try:
                yield from self._send(request)
            except PeerError:
                response = request.response
                if not (response and response.decided):
                    # A kept connection may have been closed meanwhile: nothing was read, so ask
                    # anew.
                    if not kept or response.status:
                        raise
                    self._left()
                    self.close()
                    yield from self._send(request)
        finally:
            response = request.response
            if response and response.taken:
                self.date = response.header("date")
            if not (response and response.done and response.keep):
                self.close()

    def _send(self, request):
        self._deadline = time.ticks_add(time.ticks_ms(), self.timeout * 1000)
        try:
            if self.stream is None:
                yield from self._connect()
                # TLS shakes hands. What the request takes of the heap finds room only then.
                while self.stream.write(b"") is None:
                    yield self.poll
                    self._left()
            request.stream = self.stream
            yield from self._write(request.encode(self.authority))
            if request.body:
                yield from self._write(request.body)
            response = request.response
            while not response.done:
                self._left()
                # MicroPython forgets TLS's end of data when one read meets both it and data, so
                # no read may reach for more than is sure to come.
                size = response.wanted()
                stream = self.stream
                data = stream.read(size) if size > 0 else stream.readline(-size)
                if data is None:
                    yield self.poll
                elif data:
                    response.feed(data)
                else:
                    response.eof()
        except (OSError, ValueError) as error:
            raise self.context.error(error, self._host)

    def _write(self, data):
        while data:
            try:
                count = self.stream.write(data)
            except OSError:
                self.stream.read(1)  # raises what the server said before it ended
                raise
            if count is None:
                # Nearly always it is input that lacks, while TLS shakes hands. Where it is room
                # for output, the short wait does.
                yield self.poll
                self._left()
            else:
                data = data[count:]

    def _connect(self):
        try:
            address = socket.getaddrinfo(self._host, self._port, 0, socket.SOCK_STREAM)[0]
        except OSError as error:
            raise PeerError("no address known for %s (%s)" % (self._host, error))
        try:
            self._sock = socket.socket(address[0], address[1], address[2])
            self._sock.settimeout(self.timeout)
            self._sock.connect(address[-1])
        except OSError as error:
            raise self.error(error)
        self.wrap()
        return ()

    def error(self, error):
        return PeerError(
            "cannot reach %s port %d: is the network up? (%s)" % (self._host, self._port, error)
        )

    def wrap(self):
        sock = self._sock
        sock.setblocking(False)
        try:
            # TCP_NODELAY: TLS shakes hands in small writes, each held back for 40 ms without.
            sock.setsockopt(6, 1, 1)
        except OSError:
            pass  # not every network stack knows it
        self.poll = select.poll()
        self.poll.register(sock, select.POLLIN)
        self.room = None
        gc.collect()  # TLS takes 17 KB in one piece
        self.stream = self.context.wrap(sock, self._host)

    def _left(self):
        # Milliseconds until the deadline, of which there must be some.
        left = time.ticks_diff(self._deadline, time.ticks_ms())
        if left <= 0:
            raise PeerError("the server took longer than %d s" % self.timeout)
        return left

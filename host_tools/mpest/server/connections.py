"""Accepts connections, and ends those that would keep others out.

Each part of a connection has its time, and where a new client finds no room, the one goes that has
kept the server waiting for the longest. So a client that does not go on costs others nothing.
"""

import asyncio
import contextlib
import errno
import ipaddress
import resource
import socket
import ssl
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from mpest.exits import CliError, Exit
from mpest.server.config import Limits

Report = Callable[[str, str], None]
"""Told an address and why its connection was ended or refused."""

_BACKLOG = 4096  # the kernel keeps these, without descriptors of ours; Linux allows no more
_AT_ONCE = 64  # accepted before connections that are open have their turn
_PAUSE = 0.1  # seconds without accepting, when a descriptor or memory is missing
_SWEEP = 1.0  # seconds between two looks at who is late
_MOST = 4096  # connections where descriptors have no limit
_SHARE = 0.75  # of the descriptors; files need some, and connections that are just closing
_FAIR_SECONDS = 2.0  # so long others of its address do not push out a client
_MAX_HEADER = 65536  # octets of a request's header; browsers and proxies send a tenth
_MAX_FIELD = 8190  # octets of one line of it; a certificate that a proxy hands on takes half
_MAX_FIELDS = 64
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # IPv6 may be switched off
_FETCHING = "the answer's way to the client"
_END_OF_HEADER = b"\r\n\r\n"


class _Connection(web.RequestHandler):
    """HTTP with one client, and since when the server waits for what."""

    def __init__(self, listener: "Listener", sock: socket.socket, address: str) -> None:
        super().__init__(
            listener.server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=listener.limits.idle,
            access_log=None,  # type: ignore[arg-type]  # as AppRunner has it
            max_line_size=_MAX_FIELD,
            max_field_size=_MAX_FIELD,
            max_headers=_MAX_FIELDS,
        )
        self.address = address
        self._listener = listener
        self._socket = sock
        self._lower: asyncio.Transport | None = None  # aiohttp forgets its own too early
        self.in_handshake = True
        self._await_request()
        self._await("the TLS handshake", listener.limits.handshake)

    def _await_request(self) -> None:
        self.waits_since = self._loop.time()
        self._listener.put_last(self)
        self._request: web.Request | None = None
        self._header = 0
        self._header_end = b""
        self._await(None, 0)  # keepalive_timeout sees to it

    def _await(self, what: str | None, limit: float) -> None:
        self._what = what
        self._until = self._loop.time() + limit

    @property
    def _answering(self) -> bool:
        return self._request is not None and self._request.content.is_eof()

    @property
    def waits(self) -> bool:
        """Whether the server waits for the client."""
        stuck = self._lower is not None and self._lower.get_write_buffer_size() > 0
        return stuck or not self._answering

    def begin(self, request: web.Request) -> None:
        """Its header is complete."""
        self._request = request
        self._await("the request's body", self._listener.limits.body)

    def late(self) -> str | None:
        """What the client has not done in time, if anything."""
        if self._answering and (self._what != _FETCHING or not self.waits):
            self._await(_FETCHING, self._listener.limits.body)
        overdue = self._what and self._loop.time() > self._until
        return self._what if overdue else None

    def drop(self) -> None:
        """End it at once."""
        if self._lower:
            self._lower.abort()
        with contextlib.suppress(OSError):  # abort has no effect once TLS is being closed
            self._socket.shutdown(socket.SHUT_RDWR)
        self._listener.forget(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._lower = transport
        self.in_handshake = False
        self._await_request()
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._listener.forget(self)
        self._lower = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._request is None and self._header_end != _END_OF_HEADER:
            self._receive_header(data)
            if self._header > _MAX_HEADER:
                self._listener.report(self.address, "the request's header is too long")
                self.drop()
                return
        super().data_received(data)

    def _receive_header(self, data: bytes) -> None:
        if not self._header:
            self._await("the request's header", self._listener.limits.header)
        joined = self._header_end + data
        end = joined.find(_END_OF_HEADER)
        self._header += len(data) if end < 0 else max(0, end - len(self._header_end))
        self._header_end = joined[-3:] if end < 0 else _END_OF_HEADER

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._await_request()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        # aiohttp's own text quotes the request, which may hold a password.
        too_long = isinstance(exc, LineTooLong)
        reason = "the request's header is too long" if too_long else "the request is not HTTP"
        self._listener.report(self.address, reason)
        response = web.Response(status=status, text=f"{reason}\n")
        response.force_close()
        return response


@web.middleware
async def _follow(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    assert isinstance(request.protocol, _Connection)
    request.protocol.begin(request)
    return await handler(request)


class Listener:
    """An application at one port."""

    def __init__(
        self,
        application: web.Application,
        context: ssl.SSLContext,
        limits: Limits,
        report: Report,
        stop_seconds: float,
    ) -> None:
        """`stop_seconds`: for answers under way when it stops."""
        application.middlewares.append(_follow)
        self._runner = web.AppRunner(application, shutdown_timeout=stop_seconds)
        self._context = context
        self._sockets: list[socket.socket] = []
        # By address; the server has waited for the first one the longest.
        self._connections: dict[str, dict[_Connection, None]] = {}
        self._count = 0
        self._handshakes: set[asyncio.Task[None]] = set()
        self.limits = limits
        self.report = report

    @property
    def server(self) -> web.Server:
        """aiohttp's, once this one has started."""
        assert self._runner.server
        return self._runner.server

    async def start(self, host: str, port: int) -> int:
        """Listen at every address of `host`; returns the port. Raises CliError."""
        await self._runner.setup()
        self._sockets = _listening_sockets(host, port)
        self._most, self._most_of_one = _room(self.limits)
        self._loop = asyncio.get_running_loop()
        self._sweeper = self._loop.create_task(self._sweep())
        for listening in self._sockets:
            listening.setblocking(False)
            self._loop.add_reader(listening, self._accept, listening)
        bound: int = self._sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        if self._sockets:
            self._sweeper.cancel()
        while self._sockets:
            listening = self._sockets.pop()
            self._loop.remove_reader(listening)
            listening.close()
        for connection in self._all():
            if connection.in_handshake:
                connection.drop()
        await asyncio.gather(*self._handshakes)
        await self._runner.cleanup()

    def forget(self, connection: _Connection) -> None:
        """It takes no room any more."""
        same = self._connections.get(connection.address, {})
        if connection in same:
            del same[connection]
            self._count -= 1
        if not same:
            self._connections.pop(connection.address, None)

    def put_last(self, connection: _Connection) -> None:
        """The server has begun to wait for it anew."""
        same = self._connections.get(connection.address, {})
        if connection in same:
            same[connection] = same.pop(connection)

    def _all(self) -> list[_Connection]:
        return [connection for same in self._connections.values() for connection in same]

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, peer = listening.accept()
            except OSError as error:  # nobody is there, or the client has left already
                if error.errno in _NO_ROOM:
                    self._pause(listening, error)
                return
            sock.setblocking(False)
            address = _network(peer[0])
            if not self._make_room(address):
                self.report(address, "refused, for too many connections of it are open")
                sock.close()
                continue
            connection = _Connection(self, sock, address)
            self._connections.setdefault(address, {})[connection] = None
            self._count += 1
            handshake = self._loop.create_task(self._shake_hands(connection, sock))
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)

    def _make_room(self, address: str) -> bool:
        """Whether there is room for one more connection of `address`, if need be by dropping the
        oldest that waits, of those who have the most."""
        own = self._connections.get(address, {})
        if len(own) >= self._most_of_one:
            crowds = [own]
        elif self._count >= self._most:
            crowds = sorted(self._connections.values(), key=len, reverse=True)
        else:
            return True
        for crowd in crowds:
            oldest = next((connection for connection in crowd if connection.waits), None)
            if oldest is None:
                continue
            if len(crowd) <= len(own) and self._loop.time() < oldest.waits_since + _FAIR_SECONDS:
                return False
            oldest.drop()
            return True
        return False

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """Go on a little later: until then `listening` would be ready all the time."""
        waiting = [connection for connection in self._all() if connection.waits]
        for connection in sorted(waiting, key=lambda one: one.waits_since)[:_AT_ONCE]:
            connection.drop()
        self.report("", f"cannot accept connections, with {self._count} open: {error.strerror}")
        self._loop.remove_reader(listening)
        self._loop.call_later(_PAUSE, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    async def _shake_hands(self, connection: _Connection, sock: socket.socket) -> None:
        try:
            await self._first_octet(sock)
            await self._loop.connect_accepted_socket(
                lambda: connection,
                sock,
                ssl=self._context,
                # _sweep comes first, and says why.
                ssl_handshake_timeout=self.limits.handshake + 5 * _SWEEP,
            )
        except OSError as error:  # `tls.report_failures` tells
            sock.close()
            self.forget(connection)
            # asyncio has it in a circle with the buffers of this connection, 256 KiB.
            error.__traceback__ = None

    async def _first_octet(self, sock: socket.socket) -> None:
        """Until then a connection is a descriptor, and takes no buffers. Raises OSError."""
        arrived = asyncio.Event()
        self._loop.add_reader(sock, arrived.set)
        try:
            await arrived.wait()
        finally:
            self._loop.remove_reader(sock)
        if not sock.recv(1, socket.MSG_PEEK):
            raise ConnectionResetError

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            for connection in self._all():
                if what := connection.late():
                    self.report(connection.address, f"{what} took too long")
                    connection.drop()


def _room(limits: Limits) -> tuple[int, int]:
    """How many connections there may be, and how many of them from one address."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        descriptors = 2 * _MOST
    most = min(limits.connections, max(1, int(descriptors * _SHARE)))
    return most, min(limits.connections_of_one_address or most, max(1, most // 2))


def _network(address: str) -> str:
    """What counts as one address: of IPv6 a network of /64, which is what one client may have."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))


def _listening_sockets(host: str, port: int) -> list[socket.socket]:
    """Sockets on one port for every address of `host`; 0 picks a free port. Raises CliError."""
    sockets: list[socket.socket] = []
    try:
        try:
            found = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except UnicodeError:
            raise CliError(f"{host} is no host name") from None
        for family, *_, address in dict.fromkeys(found):
            if sockets:
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            try:
                sockets.append(socket.create_server(address, family=family, backlog=_BACKLOG))
            except OSError as error:
                if not sockets or error.errno not in _NO_SUCH_ADDRESS:
                    raise
    except OSError as error:
        for one in sockets:
            one.close()
        reason = str(error.strerror).partition(" (")[0]
        raise CliError(f"can't listen on {host} port {port}: {reason}", Exit.NETWORK) from error
    return sockets

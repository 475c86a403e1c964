"""One client's connection: HTTP by aiohttp, and a time for each part of it."""

import asyncio
import contextlib
import re
import socket
from collections.abc import Awaitable, Callable

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, LineTooLong

from mpest.server.config import Limits
from mpest.server.room import Room

Report = Callable[[str, str], None]
"""Told an address and why its connection was ended or refused."""

_MAX_HEADER = 65536  # octets of a request's header; browsers and proxies send a tenth
_MAX_FIELD = 8190  # octets of one line of it; a certificate that a proxy hands on takes half
_MAX_FIELDS = 64
HANDSHAKE = "the TLS handshake"
_NEXT = "the next request"
_FETCHING = "the answer's way to the client"
_END_OF_HEADER = b"\r\n\r\n"
# A method as RFC 9110 9.1 has it, at the start of a request, of whatever protocol.
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40} ")


class Connection(web.RequestHandler):
    """HTTP with one client, and since when the server waits for what."""

    def __init__(
        self,
        server: web.Server,
        sock: socket.socket,
        address: str,
        room: Room,
        limits: Limits,
        report: Report,
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=limits.idle,
            access_log=None,  # type: ignore[arg-type]  # as AppRunner has it
            max_line_size=_MAX_FIELD,
            max_field_size=_MAX_FIELD,
            max_headers=_MAX_FIELDS,
        )
        self.address = address
        self._room = room
        self._limits = limits
        self._report = report
        self._socket = sock
        self._lower: asyncio.Transport | None = None  # aiohttp forgets its own too early
        self._body: StreamReader | None = None
        self._answered = 0
        self._ends_soon = False
        self._await_request()
        self._await(HANDSHAKE, limits.handshake)

    def _await_request(self) -> None:
        self.waits_since = self._loop.time()
        self._room.put_last(self)
        self._request: web.Request | None = None
        self._header = 0
        self._header_end = b""
        self._names_a_method = False
        self._await(_NEXT, self._limits.idle)

    def _await(self, what: str, limit: float) -> None:
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
        self._body = request.content
        self._await("the request's body", self._limits.body)

    def end_if_late(self) -> None:
        """End it if the client has not done something in time."""
        if self._answering and (self._what != _FETCHING or not self.waits):
            self._await(_FETCHING, self._limits.body)
        if self._loop.time() <= self._until:
            return
        if self._what == _NEXT:
            self.force_close()  # as clients expect it one day
        else:
            self._report(self.address, f"{self._what} took too long")
            self.drop()

    def end_soon(self) -> bool:
        """Answer the request that has begun, and no further one; whether there is one."""
        self._ends_soon = True
        return self._request is not None

    def drop(self) -> None:
        """End it at once."""
        if self._lower:
            self._lower.abort()
        with contextlib.suppress(OSError):  # abort has no effect once TLS is being closed
            self._socket.shutdown(socket.SHUT_RDWR)
        self._room.leave(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._lower = transport
        self._await_request()
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._room.leave(self)
        self._lower = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # After an answer that came early, what is left of the body is still to be passed over.
        passes_over = self._body is not None and not self._body.is_eof()
        in_body = self._request_count > self._answered or passes_over
        if not in_body and self._header_end != _END_OF_HEADER:
            self._receive_header(data)
            if self._header > _MAX_HEADER:
                self._report(self.address, "the request's header is too long")
                self.drop()
                return
        super().data_received(data)

    def _receive_header(self, data: bytes) -> None:
        if not self._header:
            self._await("the request's header", self._limits.header)
            self._names_a_method = _METHOD.match(data) is not None
        joined = self._header_end + data
        end = joined.find(_END_OF_HEADER)
        self._header += len(data) if end < 0 else max(0, end - len(self._header_end))
        self._header_end = joined[-3:] if end < 0 else _END_OF_HEADER

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if self._ends_soon:
            resp.force_close()
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._answered += 1
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
        reason = "the request is not HTTP"
        if isinstance(exc, LineTooLong):
            reason = "the request's header is too long"
        elif isinstance(exc, BadHttpMethod) and self._names_a_method:
            status, reason = (
                501,
                "the request's method is none that is known: EST has GET and POST",
            )
        self._report(self.address, reason)
        response = web.Response(status=status, text=f"{reason}\n")
        response.force_close()
        return response


@web.middleware
async def follow(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    assert isinstance(request.protocol, Connection)
    request.protocol.begin(request)
    return await handler(request)

"""Listens at a port, and serves an application there to those who keep to its limits."""

import asyncio
import errno
import socket
import ssl

from aiohttp import web

from mpest.exits import CliError, Exit
from mpest.server.config import Limits
from mpest.server.connection import Connection, Report, follow
from mpest.server.room import Room, network

_BACKLOG = 4096  # the kernel keeps these, without descriptors of ours; Linux allows no more
_AT_ONCE = 64  # accepted before connections that are open have their turn
_PAUSE = 0.1  # seconds without accepting, when a descriptor or memory is missing
_LOOK = 0.02  # seconds between two looks at whether all are answered
_LEFT = 0.5  # seconds for what is cancelled then
_SWEEP = 1.0  # seconds between two looks at who is late
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # IPv6 may be switched off


class Listener:
    """An application at one port."""

    def __init__(
        self,
        application: web.Application,
        context: ssl.SSLContext,
        room: Room,
        limits: Limits,
        report: Report,
        stop_seconds: float,
    ) -> None:
        """`stop_seconds`: for answers under way when it stops."""
        application.middlewares.append(follow)
        self._runner = web.AppRunner(application, shutdown_timeout=_LEFT)
        self._stop_seconds = stop_seconds
        self._context = context
        self._sockets: list[socket.socket] = []
        self._handshakes: dict[asyncio.Task[None], Connection] = {}
        self._room = room
        self._limits = limits
        self._report = report

    async def start(self, host: str, port: int) -> int:
        """Listen at every address of `host`; returns the port. Raises CliError."""
        await self._runner.setup()
        self._sockets = _listening_sockets(host, port)
        self._loop = asyncio.get_running_loop()
        self._sweeper = self._loop.create_task(self._sweep())
        for listening in self._sockets:
            listening.setblocking(False)
            self._loop.add_reader(listening, self._accept, listening)
        bound: int = self._sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Take no more connections, and answer the requests that have begun, for some time."""
        if self._sockets:
            self._sweeper.cancel()
        while self._sockets:
            listening = self._sockets.pop()
            self._loop.remove_reader(listening)
            listening.close()
        for connection in list(self._handshakes.values()):
            connection.drop()
        await asyncio.gather(*self._handshakes, return_exceptions=True)
        # Before aiohttp stops, for it reads nothing any more from then on.
        until = asyncio.get_running_loop().time() + self._stop_seconds
        while asyncio.get_running_loop().time() < until:
            busy = [guest for guest in self._room if guest.end_soon()]
            if not busy:
                break
            await asyncio.sleep(_LOOK)
        await self._runner.cleanup()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, peer = listening.accept()
            except OSError as error:  # nobody is there, or the client has left already
                if error.errno in _NO_ROOM:
                    self._pause(listening, error)
                return
            sock.setblocking(False)
            address = network(peer[0])
            if not self._room.make(address):
                self._report(address, "refused, for too many connections of it are open")
                sock.close()
                continue
            assert self._runner.server
            connection = Connection(
                self._runner.server, sock, address, self._room, self._limits, self._report
            )
            self._room.enter(connection)
            handshake = self._loop.create_task(self._shake_hands(connection, sock))
            self._handshakes[handshake] = connection
            handshake.add_done_callback(self._handshakes.pop)

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """Go on a little later: until then `listening` would be ready all the time."""
        self._room.drop_oldest(_AT_ONCE)
        count = self._room.count
        self._report("", f"cannot accept connections, with {count} open: {error.strerror}")
        self._loop.remove_reader(listening)
        self._loop.call_later(_PAUSE, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    async def _shake_hands(self, connection: Connection, sock: socket.socket) -> None:
        try:
            await self._first_octet(sock)
            await self._loop.connect_accepted_socket(
                lambda: connection,
                sock,
                ssl=self._context,
                # _sweep comes first, and says why.
                ssl_handshake_timeout=self._limits.handshake + 5 * _SWEEP,
            )
        except OSError as error:  # `tls.report_failures` tells
            sock.close()
            self._room.leave(connection)
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
            for guest in self._room:
                guest.end_if_late()


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

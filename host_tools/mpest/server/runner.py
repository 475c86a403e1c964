"""Starts and stops a server: in the caller's event loop, or in a thread of its own."""

import asyncio
import fcntl
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy.exc import SQLAlchemyError

from mpest.exits import CliError, Exit
from mpest.server import crl, faults
from mpest.server.app import WELL_KNOWN, EstApp
from mpest.server.authority import Authority
from mpest.server.ca import Order, common_name, new_key, now
from mpest.server.config import ServerConfig
from mpest.server.connection import HANDSHAKE
from mpest.server.database import Database, Issued, Stored
from mpest.server.exchange import describe
from mpest.server.listener import Listener
from mpest.server.probe import probe_application
from mpest.server.room import Room
from mpest.server.throttle import Throttle
from mpest.server.tls import (
    TlsIdentity,
    addresses,
    client_certificate,
    due,
    order_for_server,
    own_identity,
    report_failures,
    server_context,
    trust_clients,
)
from mpest.server.wire import Reply

Event = dict[str, Any]
_MAX_EVENTS = 10_000  # the oldest go first, so that a long run does not fill the memory
# Lines about what failed: so many at once, and a second. An attack would fill the disk.
_LOG_BURST = 500
_LOG_RATE = 20
_FAILED = 400  # the first status of a failure
_MAINTENANCE_SECONDS = 10.0  # an address may be new at any time


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


class EstServer:
    """A running server: `async with EstServer(config) as server`.

    Starting raises CliError when the directory, its CA or the port can't be used, or another
    server uses the directory: both would write its files.
    """

    _authority: Authority
    _contexts: list[ssl.SSLContext]
    _database: Database
    _est: EstApp
    _own: x509.Certificate | None
    """The server's own certificate, unless it shows another."""

    port: int
    probe_port: int
    """0 unless `config.mtls_probe`."""

    def __init__(self, config: ServerConfig, on_event: Callable[[Event], None] | None = None):
        self.config = config
        self.events: list[Event] = []
        """One for each request, oldest first; see `exchange.describe`."""
        self.credentials_seen = 0
        """Requests that came with an Authorization header or a client certificate."""
        self.handshakes = 0
        """TLS handshakes that clients began."""
        self.failed_handshakes: list[str] = []
        """Why the failed ones of these did, oldest first."""
        self.probe_port = 0
        self._on_event = on_event
        self._failures = Throttle(_LOG_BURST, _LOG_RATE)
        self._stack = AsyncExitStack()

    @property
    def origin(self) -> str:
        """`https://host:port`."""
        host = "localhost" if self.config.host in ("0.0.0.0", "::") else self.config.host  # noqa: S104
        return self._origin(host)

    def _origin(self, host: str) -> str:
        return f"https://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def url(self) -> str:
        """Where the operations are: `https://host:port/.well-known/est[/label]`."""
        return self.origin + self._path

    @property
    def urls(self) -> list[str]:
        """The same as other machines reach it, by each address of this one where `host` stands
        for all of them. The server's certificate is for these."""
        return [self._origin(address) + self._path for address in addresses(self.config.host)]

    @property
    def _path(self) -> str:
        label = self.config.label
        return WELL_KNOWN + (f"/{label}" if label else "")

    @property
    def ca_pem(self) -> Path:
        """The root certificate."""
        return self.config.directory / "ca.pem"

    @property
    def ca_certificates(self) -> list[x509.Certificate]:
        """The chain: the issuing CA, if there is one, and the root."""
        return self._authority.certificates

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the root certificate, lower-case hex."""
        return _fingerprint(self._authority.root.certificate)

    @property
    def old_fingerprint(self) -> str | None:
        """The same of the root before, as long as a rollover links it with this one."""
        rollover = self._authority.rollover
        return _fingerprint(rollover.old.certificate) if rollover else None

    def issued(self) -> list[Issued]:
        """Every certificate on record, oldest first."""
        return self._database.issued()

    def revoke(self, serial: int) -> None:
        """Refuse this certificate from now on, and publish that. Raises KeyError."""
        self._database.revoke(serial)
        self._est.publish_crl()

    def rollover(self) -> None:
        """Go on with a new root; /cacerts then links it with the old one (RFC 7030 4.1.3)."""
        config = self.config
        self._authority = self._authority.roll(config.directory, config.root_key)
        self._est.authority = self._authority
        self._be(own_identity(self._authority, config.host, cmc_ra=config.cmc_ra))
        for context in self._contexts:
            trust_clients(context, self._authority)
        self._est.publish_crl()

    def add_user(self, name: str, password: str) -> None:
        """A user for Basic and Digest, until the server stops."""
        self.config.users[name] = password

    def new_identity(self, name: str) -> tuple[bytes, bytes]:
        """A certificate that user `name` has for this common name, and its key, both PEM."""
        key = new_key()
        order = Order(common_name(name), key.public_key())
        certificate = self._authority.issuer.sign(order, now() + self.config.lifetime)
        self._database.record(certificate, Stored(owner=f"user:{name}"))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return certificate.public_bytes(Encoding.PEM), pem

    def show(self, identity: TlsIdentity) -> None:
        """Be somebody else in TLS from now on, and until the server stops."""
        identity.load_into(self._contexts[0])
        self._own = None

    def _be(self, identity: TlsIdentity) -> None:
        for context in self._contexts:
            identity.load_into(context)
        self._own = self._est.server_certificate = identity.chain[0]

    def maintain(self) -> None:
        """Do what is due: new lists of revoked certificates, a new certificate of the server.

        Raises OSError.
        """
        self._renew_lists()
        self._renew_own()

    def _renew_lists(self) -> None:
        if crl.due(self._authority, self.config.directory / "crl.pem"):
            self._est.publish_crl()

    def _renew_own(self) -> None:
        config = self.config
        why = due(self._own, config.host) if self._own else None
        if why:
            identity = own_identity(self._authority, config.host, cmc_ra=config.cmc_ra)
            self._be(identity)
            end = identity.chain[0].not_valid_after_utc.isoformat()
            self._tell({"event": "certificate", "not_after": end, "reason": why})

    async def _maintain(self) -> None:
        while True:
            await asyncio.sleep(_MAINTENANCE_SECONDS)
            try:
                self._renew_own()
                # The database may be waited for.
                await asyncio.to_thread(self._renew_lists)
                await asyncio.to_thread(self._database.checkpoint)
            except (OSError, SQLAlchemyError) as error:  # tried again the next time
                self._tell({"event": "storage", "reason": str(error).partition("\n")[0]})

    async def __aenter__(self) -> "EstServer":
        try:
            try:
                self._open(self.config)
                await self._listen()
            except OSError as error:
                why = error.strerror or error
                raise CliError(
                    f"can't use {self.config.directory}: {why}", Exit.STORAGE
                ) from error
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def _open(self, config: ServerConfig) -> None:
        directory = config.directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock(directory)
        password = config.key_password.encode() if config.key_password else None
        self._authority = Authority.open(directory, config.chain_length, config.root_key, password)
        if config.rollover:
            self._authority = self._authority.roll(directory, config.root_key)
        self._database = Database(directory / "est.db")
        self._stack.callback(self._database.close)

    def _lock(self, directory: Path) -> None:
        """Keep other servers out of `directory` until this one stops. Raises OSError."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        self._stack.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another server uses {directory}; stop it or use another --dir"
            raise CliError(message, Exit.STORAGE) from None

    async def _listen(self) -> None:
        config = self.config
        identity = own_identity(self._authority, config.host, cmc_ra=config.cmc_ra)
        self._own = identity.chain[0]
        self._room = Room(config.limits)
        context = server_context(identity, self._authority, config.highest_tls)
        self._contexts = [context]
        if config.factory_ca:
            context.load_verify_locations(cadata=config.factory_ca)
        context.sni_callback = self._on_handshake
        report_failures(context, self._on_failed_handshake)
        self._est = EstApp(config, self._authority, self._database, self._record)
        self._est.server_certificate = identity.chain[0]
        self._stack.callback(self._est.close)
        self.port = await self._serve(self._est.application(), context, config.port)
        self._stack.callback(self._est.hurry)
        if config.mtls_probe:
            context = server_context(
                identity, self._authority, config.highest_tls, demand_client=True
            )
            self._contexts.append(context)
            probe = probe_application(self._database, self._est.shown)
            self.probe_port = await self._serve(probe, context, 0)
        maintenance = asyncio.create_task(self._maintain())
        self._stack.callback(maintenance.cancel)

    async def _serve(
        self, application: web.Application, context: ssl.SSLContext, port: int
    ) -> int:
        listener = Listener(
            application,
            context,
            self._room,
            self.config.limits,
            report=self._on_lost_connection,
            stop_seconds=self.config.stop_within,
        )
        self._stack.push_async_callback(listener.stop)
        return await listener.start(self.config.host, port)

    def _on_handshake(
        self, tls: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        """Called at each ClientHello; a TLS fault swaps the certificate."""
        self.handshakes += 1
        for fault in faults.pick(faults.TLS, self.config.faults):
            key = new_key()
            order = order_for_server(self.config.host, cmc_ra=self.config.cmc_ra, key=key)
            leaf = fault(self._authority, order, key)
            identity = TlsIdentity([leaf, *self._authority.sent], key)
            tls.context = server_context(identity, self._authority, self.config.highest_tls)

    def _on_failed_handshake(self, reason: str) -> None:
        self.failed_handshakes.append(reason)
        del self.failed_handshakes[:-_MAX_EVENTS]
        self._est.metrics.count_handshake(reason)
        self._tell({"event": "handshake", "reason": reason})

    def _on_lost_connection(self, address: str, reason: str) -> None:
        if reason.startswith(HANDSHAKE):
            self._est.metrics.count_handshake(reason)
        self._tell({"event": "connection", "address": address, "reason": reason})

    def _tell(self, event: Event) -> None:
        """Call on_event, of failures only so often."""
        if self._on_event is None:
            return
        if event.get("status", _FAILED) < _FAILED:
            self._on_event(event)
        elif self._failures.passes():
            left_out, self._failures.left_out = self._failures.left_out, 0
            if left_out:
                self._on_event({"event": "left out", "count": left_out})
            self._on_event(event)

    def _record(self, request: web.Request, reply: Reply, bytes_in: int) -> None:
        event = describe(request, reply, bytes_in)
        if event["authorization"] or client_certificate(request):
            self.credentials_seen += 1
        self.events.append(event)
        del self.events[:-_MAX_EVENTS]
        self._tell(event)


@contextmanager
def running_server(config: ServerConfig) -> Iterator[EstServer]:
    """A server in a thread, for callers without an event loop. Raises CliError."""
    started: Future[tuple[EstServer, Callable[[], object]]] = Future()

    async def serve() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with EstServer(config) as server:
            started.set_result((server, lambda: loop.call_soon_threadsafe(stopped.set)))
            await stopped.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=run, name="est-server", daemon=True)
    thread.start()
    server, stop = started.result()
    try:
        yield server
    finally:
        stop()
        thread.join()

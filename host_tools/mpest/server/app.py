"""The EST operations over HTTP (RFC 7030 4, RFC 8951)."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import monotonic
from typing import TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mpest.server import crl, faults
from mpest.server.auth import Authenticator
from mpest.server.authority import Authority
from mpest.server.config import ServerConfig
from mpest.server.csrattrs import CsrAttrsPolicy
from mpest.server.database import Database, StoreError, trouble
from mpest.server.enrolling import Enrolling
from mpest.server.exchange import ID, ISSUED, LOGIN, OPERATION, STARTED, Exchange
from mpest.server.forms import in_base64
from mpest.server.fullcmc import FullCmc
from mpest.server.health import Health
from mpest.server.issuing import Issuing
from mpest.server.log import place
from mpest.server.metrics import Metrics
from mpest.server.proxy import forwarded, is_proxy
from mpest.server.tls import FORWARDED, client_certificate, client_path, tls_unique
from mpest.server.wire import (
    CERTIFICATES,
    CRL,
    CSRATTRS,
    Refused,
    Reply,
    base64_reply,
)

WELL_KNOWN = "/.well-known/est"
_CRL = "/crl"
_FOLLOW_SECONDS = 1.0
_BY_LOGIN = ("simpleenroll", "serverkeygen")
_DETOUR = "/detour"
_METHODS = {
    "cacerts": "GET",
    "csrattrs": "GET",
    "simpleenroll": "POST",
    "simplereenroll": "POST",
    "serverkeygen": "POST",
    "fullcmc": "POST",
}

_STORE_RETRY_SECONDS = 5  # whoever holds the database is done by then, mostly
_STOP_RETRY_SECONDS = 15  # a server that is started anew is there by then

_Result = TypeVar("_Result")

Record = Callable[[web.Request, Reply, int], None]
"""Called with the request, its answer and the bytes of the request's body, before sending."""


class EstApp:
    """Answers every request; `record` hears of each.

    What may wait for the database is done in a thread of its own, one request after the other:
    what one of them finds there stays so until it is answered.
    """

    def __init__(
        self, config: ServerConfig, authority: Authority, database: Database, record: Record
    ) -> None:
        self._config = config
        self.authority = authority
        self._database = database
        self._record = record
        self._auth = Authenticator(config, database)
        self.metrics = Metrics(database.waiting.count)
        health = Health(database)
        self._pages = {
            "/crl": self._crl,
            "/health": lambda: health.reply(self.authority),
            "/metrics": self.metrics.reply,
        }
        self.server_certificate: x509.Certificate | None = None
        """What is shown in TLS."""
        self._worker = ThreadPoolExecutor(1, "est-database")
        self._bodies: set[asyncio.Timeout] = set()
        self._bodies_until: float | None = None
        self.publish_crl()

    def close(self) -> None:
        """Finish what is under way."""
        self._worker.shutdown()

    def application(self) -> web.Application:
        application = web.Application(client_max_size=self._config.max_body)
        application.router.add_route("*", r"/{path:[\s\S]*}", self._handle)
        application.cleanup_ctx.append(self._follow)
        return application

    def hurry(self) -> None:
        """It stops: who is sending a request has half the time that is left to end it, so that
        there is some for the answer."""
        loop = asyncio.get_running_loop()
        self._bodies_until = loop.time() + self._config.stop_within / 2
        for limit in self._bodies:
            limit.reschedule(self._bodies_until)

    def publish_crl(self) -> None:
        """Write `crl.pem` anew into the server's directory. Raises OSError."""
        revocations = self._database.revocations()
        self._issuing(set()).publish_crl()
        self._published = revocations

    async def _follow(self, _application: web.Application) -> AsyncIterator[None]:
        """While it serves, publish what `mpest serve --revoke` revoked."""

        def publish() -> None:
            self._database.put_shown_on_record()
            if self._database.revocations() != self._published:
                self.publish_crl()

        async def follow() -> None:
            while True:
                await asyncio.sleep(_FOLLOW_SECONDS)
                with contextlib.suppress(OSError, StoreError):  # the next time may do
                    await self._work(publish)

        task = asyncio.create_task(follow())
        yield
        task.cancel()

    async def shown(self, client: x509.Certificate) -> None:
        """A request came with this certificate, so its holder has it. Raises StoreError if that
        can't be put on record: nothing must be answered that a crash would have it forget."""
        await self._work(self._database.shown, client)

    def _issuing(self, active: set[str]) -> Issuing:
        server = self.server_certificate
        return Issuing(self._config, self.authority, self._database, active, server)

    async def _work(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._worker, function, *arguments)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        request[STARTED] = monotonic()
        request[ID] = secrets.token_hex(8)
        body = b""
        note = None
        try:
            self._ask_proxy(request)
            client = client_certificate(request)
            if client and self._config.factory_ca:
                self._auth.learn(client_path(request))
            if client:
                await self.shown(client)
            if request.path in self._pages and request.method == "GET":
                reply = await self._work(self._pages[request.path])
                if request.path != _CRL:  # which asks often, and is no client of EST
                    return reply.response(0)
            else:
                operation = request[OPERATION] = self._operation(request)
                body = await self._body(request)
                text, note = in_base64(body)
                if operation in _BY_LOGIN:
                    authorization = request.headers.get("Authorization")
                    request[LOGIN] = await self._auth.login(authorization)
                exchange = Exchange(request, operation, text, client, tls_unique(request))
                issuing = self._issuing(self._take_faults(operation))
                request[ISSUED] = issuing.issued
                if exchange.client is None and _METHODS[operation] == "GET":
                    reply = self._faulty(exchange, issuing)  # the database is not asked
                else:
                    reply = await self._work(self._faulty, exchange, issuing)
        except Refused as refused:
            reply = refused.reply
        except (StoreError, OSError) as error:
            reply = _unavailable(error)
        except web.HTTPRequestEntityTooLarge:
            why = f"the body is longer than {self._config.max_body} bytes"
            reply = replace(Refused(413, why).reply, close=True)
        except Exception as error:  # of our own: the client is told, and the log where it was
            reply = Refused(500, "the server failed").reply
            reply = replace(reply, reason=f"the server failed: {place(error)}")
        if note and reply.reason is None:
            reply = replace(reply, reason=note)
        self._record(request, reply, len(body))
        self.metrics.count(
            request.get(OPERATION),
            reply,
            monotonic() - request[STARTED],
            issued=bool(request.get(ISSUED)),
            login="Authorization" in request.headers,
        )
        response = reply.response(self._config.drip_interval)
        response.headers["X-Request-ID"] = request[ID]
        return response

    async def _body(self, request: web.Request) -> bytes:
        """The request's body. Raises Refused once the client has left, and while it is not all
        there if the server stops."""
        try:
            async with asyncio.timeout_at(self._bodies_until) as limit:
                self._bodies.add(limit)
                try:
                    return await request.read()
                finally:
                    self._bodies.remove(limit)
        except TimeoutError:
            text = "the server stops: send the same again later"
            raise Refused(503, text, (("Retry-After", str(_STOP_RETRY_SECONDS)),)) from None
        except OSError as error:
            raise Refused(400, "the client left before the end of its request") from error
        except (web.RequestPayloadError, HttpProcessingError) as error:
            raise Refused(400, "the body does not come as its header says") from error

    def _ask_proxy(self, request: web.Request) -> None:
        """Behind a proxy its word on the client's certificate counts, none is one too. Raises
        Refused."""
        header = self._config.behind_proxy
        if header and is_proxy(request, self._config.proxies):
            request[FORWARDED] = []  # not the proxy's own, should it be refused
            anchors = [*self.authority.anchors, *self._auth.factories]
            request[FORWARDED] = forwarded(request, header, anchors)

    def _operation(self, request: web.Request) -> str:
        """The operation that the path names. Raises Refused."""
        label = self._config.label
        base = f"{WELL_KNOWN}/{label}/" if label else f"{WELL_KNOWN}/"
        path = request.path.removeprefix(_DETOUR)
        if not path.startswith(base):
            raise Refused(404, f"EST is at {base}")
        operation = path.removeprefix(base)
        if operation not in _METHODS:
            raise Refused(404, f"unknown operation or label: {operation[:100]!r}")
        method = _METHODS[operation]
        if request.method != method:
            raise Refused(405, f"{operation} is a {method}", (("Allow", method),))
        return operation

    def _faulty(self, exchange: Exchange, issuing: Issuing) -> Reply:
        reply = self._instead(exchange.request, issuing.active) or self._spoilt(exchange, issuing)
        return faults.deliver(reply, issuing.active)

    def _instead(self, request: web.Request, active: set[str]) -> Reply | None:
        on_detour = request.path.startswith(_DETOUR)
        for instead in faults.pick(
            faults.INSTEAD, active - (faults.DETOURS if on_detour else set())
        ):
            return instead(self._context(request, active))
        return None

    def _spoilt(self, exchange: Exchange, issuing: Issuing) -> Reply:
        try:
            reply = self._answer(exchange, issuing)
        except Refused as refused:
            return refused.reply
        return faults.spoil(reply, issuing.active) if reply.status == 200 else reply

    def _take_faults(self, operation: str) -> set[str]:
        """The faults for this request, which counts against `fault_times`."""
        active = faults.names_for(self._config.faults, operation)
        left = self._config.fault_times
        if not active or left is None:
            return active
        if left <= 0:
            return set()
        self._config.fault_times = left - 1
        return active

    def _context(self, request: web.Request, active: set[str]) -> faults.Context:
        path = request.path
        return faults.Context(
            authority=request.host,
            detour=path.removeprefix(_DETOUR) if path.startswith(_DETOUR) else _DETOUR + path,
            retry_after=self._config.retry_after,
            challenge=lambda text: self._auth.challenge(text, active),
        )

    def _answer(self, exchange: Exchange, issuing: Issuing) -> Reply:
        client, operation = exchange.client, exchange.operation
        # /fullcmc judges the certificate that signed the message.
        if client and operation != "fullcmc" and self._database.is_revoked(client):
            raise Refused(403, "the TLS client certificate is revoked")
        match operation:
            case "cacerts":
                return issuing.reply(self.authority.published, CERTIFICATES)
            case "csrattrs":
                return self._csrattrs(issuing)
            case "fullcmc":
                return FullCmc(issuing, self._auth).reply(exchange)
            case _:
                return Enrolling(issuing, self._auth).reply(exchange)

    def _crl(self) -> Reply:
        """The list of the CA that issues; `crl.pem` holds those of the others too."""
        path = self._config.directory / "crl.pem"
        if crl.due(self.authority, path):
            self.publish_crl()
        current = crl.issuing(path)
        return Reply(200, current.public_bytes(Encoding.DER), CRL)

    def _policy(self) -> CsrAttrsPolicy | None:
        """What /csrattrs asks for, in which linking shows as challengePassword (RFC 7030 3.5)."""
        policy = self._config.csrattrs
        if not self._config.require_pop:
            return policy
        policy = policy or CsrAttrsPolicy(key=None, digest=None)
        return policy.model_copy(update={"challenge_password": True})

    def _csrattrs(self, issuing: Issuing) -> Reply:
        policy = self._policy()
        spoilers = issuing.faults(faults.ATTRIBUTES)
        if policy is None and not spoilers:
            return Reply(204)
        der = (policy or CsrAttrsPolicy(key=None, digest=None)).to_der()
        for spoil in spoilers:
            der = spoil(der)
        return base64_reply(der, CSRATTRS, self._config.wrap)


def _unavailable(error: StoreError | OSError) -> Reply:
    """The 503 while the server's folder cannot be used: nothing was done."""
    why = error.strerror if isinstance(error, OSError) else trouble(error)
    text = f"the server cannot use its folder: {why}; send the same again later"
    headers = (("Retry-After", str(_STORE_RETRY_SECONDS)),)
    return Reply(503, f"{text}\n".encode(), headers=headers, reason=text)

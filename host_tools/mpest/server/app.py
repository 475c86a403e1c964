"""The EST operations over HTTP (RFC 7030 4, RFC 8951)."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mpest.server import crl, faults
from mpest.server.auth import Authenticator
from mpest.server.ca import Authority, Order, now
from mpest.server.config import ServerConfig
from mpest.server.csr_demands import check_demands
from mpest.server.csr_policy import (
    challenge_password,
    check_challenge,
    check_csr,
    check_same_names,
    read_csr,
)
from mpest.server.csrattrs import CsrAttrsPolicy
from mpest.server.database import Database
from mpest.server.fullcmc import FullCmc
from mpest.server.issuing import Issuing
from mpest.server.serverkeygen import key_type_of, new_key, pack, wanted
from mpest.server.tls import client_certificate, tls_unique
from mpest.server.wire import (
    CERTIFICATES,
    CERTS_ONLY,
    CRL,
    CSRATTRS,
    Part,
    Refused,
    Reply,
    base64_reply,
    multipart_reply,
)

WELL_KNOWN = "/.well-known/est"
_CRL = "/crl"
_DETOUR = "/detour"
_METHODS = {
    "cacerts": "GET",
    "csrattrs": "GET",
    "simpleenroll": "POST",
    "simplereenroll": "POST",
    "serverkeygen": "POST",
    "fullcmc": "POST",
}

Record = Callable[[web.Request, Reply, int], None]
"""Called with the request, its answer and the bytes of the request's body, before sending."""


class EstApp:
    """Answers every request; `record` hears of each."""

    def __init__(
        self, config: ServerConfig, authority: Authority, database: Database, record: Record
    ) -> None:
        self._config = config
        self.authority = authority
        self._database = database
        self._record = record
        self._auth = Authenticator(config, database)
        self.publish_crl()

    def application(self) -> web.Application:
        application = web.Application(client_max_size=self._config.max_body)
        application.router.add_route("*", "/{path:.*}", self._handle)
        return application

    def publish_crl(self) -> None:
        """Write `crl.pem` anew into the server's directory. Raises OSError."""
        self._issuing(set()).publish_crl()

    def _issuing(self, active: set[str]) -> Issuing:
        return Issuing(self._config, self.authority, self._database, active)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = b""
        try:
            if request.path == _CRL and request.method == "GET":
                reply = self._crl()
            else:
                operation = self._operation(request)
                body = await _body(request)
                reply = self._faulty(request, operation, body)
        except Refused as refused:
            reply = refused.reply
        except web.HTTPRequestEntityTooLarge:
            reply = Reply(
                413, f"the limit is {self._config.max_body} bytes\n".encode(), close=True
            )
        self._record(request, reply, len(body))
        return reply.response(self._config.drip_interval)

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

    def _faulty(self, request: web.Request, operation: str, body: bytes) -> Reply:
        issuing = self._issuing(self._take_faults(operation))
        reply = self._instead(request, issuing.active) or self._spoilt(
            request, operation, body, issuing
        )
        return faults.deliver(reply, issuing.active)

    def _instead(self, request: web.Request, active: set[str]) -> Reply | None:
        on_detour = request.path.startswith(_DETOUR)
        for instead in faults.pick(
            faults.INSTEAD, active - (faults.DETOURS if on_detour else set())
        ):
            return instead(self._context(request, active))
        return None

    def _spoilt(
        self, request: web.Request, operation: str, body: bytes, issuing: Issuing
    ) -> Reply:
        try:
            reply = self._answer(request, operation, body, issuing)
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

    def _answer(
        self, request: web.Request, operation: str, body: bytes, issuing: Issuing
    ) -> Reply:
        client = client_certificate(request)
        # /fullcmc judges the certificate that signed the message.
        if client and operation != "fullcmc" and self._database.is_revoked(client):
            raise Refused(403, "the TLS client certificate is revoked")
        match operation:
            case "cacerts":
                return issuing.reply(self.authority.published, CERTIFICATES)
            case "csrattrs":
                return self._csrattrs(issuing)
            case "fullcmc":
                return FullCmc(issuing).reply(client, request.content_type, body)
            case _:
                return self._enroll(request, operation, body, issuing)

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

    def _enroll(
        self, request: web.Request, operation: str, body: bytes, issuing: Issuing
    ) -> Reply:
        client = client_certificate(request)
        renewed = self._renewed(operation, client)
        if renewed is not None:
            principal = renewed.subject.rfc4514_string()
        else:
            principal = self._auth.principal(
                request.headers.get("Authorization"),
                method=request.method,
                target=request.raw_path,
                client=client,
                faults=issuing.active,
            )
        if request.content_type != "application/pkcs10":
            raise Refused(415, "send Content-Type: application/pkcs10")
        csr = read_csr(body)
        generated = operation == "serverkeygen"
        order = check_csr(csr, own_key=not generated)
        if self._config.enforce_csrattrs and self._config.csrattrs:
            check_demands(csr, self._config.csrattrs)
        secret = challenge_password(csr)
        check_challenge(secret, self._config.challenge_password)
        if self._config.require_pop and secret != tls_unique(request):
            raise Refused(400, "the challengePassword is not tls-unique of this TLS session")
        if renewed is not None:
            check_same_names(order, renewed)
        approved = issuing.approved(csr, principal)
        if approved is not None:
            return self._waiting(approved)
        if generated:
            return self._generate(csr, order, secret, issuing)
        return issuing.reply([issuing.issue(order, secret)], CERTS_ONLY)

    def _renewed(self, operation: str, client: x509.Certificate | None) -> x509.Certificate | None:
        """The client certificate where it is the credential, and its names must stay."""
        if operation == "simplereenroll":
            return self._auth.by_certificate(client)
        if operation == "serverkeygen" and client and self._config.auth != "mtls":
            return None if self._database.objection(client) else client
        return None

    def _generate(
        self,
        csr: x509.CertificateSigningRequest,
        order: Order,
        secret: str | None,
        issuing: Issuing,
    ) -> Reply:
        policy = self._config.serverkeygen
        key = new_key(policy.key_type or key_type_of(csr))
        known = (x509.load_der_x509_certificate(row.der) for row in self._database.issued())
        chain = self.authority.certificates
        # Before anything is issued: the request may be refused here.
        packed = pack(key, policy, wanted(csr), self.authority.issuer, chain, known)
        order = replace(order, public_key=key.public_key())
        certificates = issuing.package([issuing.issue(order, secret)])
        parts = [packed, Part(CERTS_ONLY, certificates)]
        for spoil in issuing.faults(faults.PARTS):
            parts = spoil(parts)
        return multipart_reply(parts, self._config.wrap, binary="raw-der" in issuing.active)

    def _waiting(self, approved: datetime) -> Reply:
        """The 202 for a CSR that is `approved` later (RFC 7030 4.2.3)."""
        value = str(math.ceil((approved - now()).total_seconds()))
        if self._config.retry_after_date:
            at = datetime.fromtimestamp(math.ceil(approved.timestamp()), UTC)
            value = format_datetime(at, usegmt=True)
        text = b"waiting for approval: send the same request again later\n"
        return Reply(202, text, headers=(("Retry-After", value),))


async def _body(request: web.Request) -> bytes:
    """The request's body. Raises Refused once the client has left."""
    try:
        return await request.read()
    except OSError as error:
        raise Refused(400, "the client left before the end of its request") from error


def describe(request: web.Request, reply: Reply, bytes_in: int) -> dict[str, Any]:
    """The event of one request; holds no secret. `bytes_in` and `bytes_out` count the bodies,
    as they would be without a fault on the way. `client` is the certificate's subject.
    """
    tls = request.get_extra_info("ssl_object")  # None once the client has gone
    client = client_certificate(request)
    return {
        "event": "request",
        "method": request.method,
        "path": request.path,
        "status": reply.status,
        "reason": reply.reason,
        "tls": tls.version() if tls else None,
        "resumed": bool(tls and tls.session_reused),
        "client": client.subject.rfc4514_string() if client else None,
        "authorization": "Authorization" in request.headers,
        "bytes_in": bytes_in,
        "bytes_out": len(reply.body),
    }

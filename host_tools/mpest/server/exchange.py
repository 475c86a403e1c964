"""One request as it came, and what the log tells of it."""

from dataclasses import dataclass
from time import monotonic
from typing import Any

from aiohttp import web
from cryptography import x509

from mpest.server.tls import client_certificate
from mpest.server.wire import Reply

LOGIN: web.RequestKey[str | None] = web.RequestKey("login")
ID = web.RequestKey("id", str)
STARTED = web.RequestKey("started", float)
OPERATION = web.RequestKey("operation", str)
PRINCIPAL = web.RequestKey("principal", str)
ISSUED = web.RequestKey("issued", list[x509.Certificate])
REVOKED = web.RequestKey("revoked", list[x509.Certificate])


@dataclass(frozen=True)
class Exchange:
    """One request as it came, and what TLS says of its sender."""

    request: web.Request
    operation: str
    body: bytes
    client: x509.Certificate | None
    unique: str | None
    """As `tls.tls_unique` has it."""


def describe(request: web.Request, reply: Reply, bytes_in: int) -> dict[str, Any]:
    """The event of one request; holds no secret. `bytes_in` and `bytes_out` count the bodies,
    as they would be without a fault on the way. `client` is the certificate's subject, `user` who
    has a certificate made or revoked, `issued` and `revoked` what came of it, `seconds` are those
    until the answer was ready.

    The path is as it was sent, without what the query may hold.
    """
    tls = request.get_extra_info("ssl_object")  # None once the client has gone
    client = client_certificate(request)
    return {
        "event": "request",
        "id": request.get(ID),
        "method": request.method,
        "path": request.rel_url.raw_path,
        "operation": request.get(OPERATION),
        "status": reply.status,
        "reason": reply.reason,
        "tls": tls.version() if tls else None,
        "resumed": bool(tls and tls.session_reused),
        "client": client.subject.rfc4514_string() if client else None,
        "user": request.get(PRINCIPAL),
        "issued": _named(request.get(ISSUED, [])),
        "revoked": _named(request.get(REVOKED, [])),
        "authorization": "Authorization" in request.headers,
        "bytes_in": bytes_in,
        "bytes_out": len(reply.body),
        "seconds": round(monotonic() - request[STARTED], 3),
    }


def _named(certificates: list[x509.Certificate]) -> list[dict[str, str]]:
    return [
        {
            "serial": f"{certificate.serial_number:x}",
            "subject": certificate.subject.rfc4514_string(),
        }
        for certificate in certificates
    ]

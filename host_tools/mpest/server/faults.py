"""Everything the server can do wrong on request, one small function each.

Tables by the moment they strike: INSTEAD answers before any work is done, ATTRIBUTES spoils what
/csrattrs says, CERTIFICATE what is issued, PACKAGE the PKCS#7 around it, PARTS the parts of
/serverkeygen, CMC the answer of /fullcmc, BODY what a 200 says, DELIVERY how any answer travels,
and TLS the server's own certificate. The two Digest faults are carried out by `auth.py`.
"""

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from mpest.server import cmc, der
from mpest.server.ca import (
    Authority,
    Order,
    Signer,
    common_name,
    link,
    new_ca,
    new_key,
    now,
    self_signed,
)
from mpest.server.wire import MULTIPART, Part, Refused, Reply, Script

OPERATIONS = (
    "cacerts",
    "csrattrs",
    "simpleenroll",
    "simplereenroll",
    "serverkeygen",
    "fullcmc",
)
_HUGE_BODY = 4 * 1024 * 1024  # far above what a board can hold
_GIANT_HEADER = 64 * 1024
_MANY_HEADERS = 500
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Context:
    """What the server knows when a fault strikes instead of an answer."""

    authority: str
    """`host:port` as the client addressed it."""
    detour: str
    """Another path for the same operation, where the faults in DETOURS don't strike."""
    retry_after: int
    challenge: Callable[[str], Refused]


_Instead = Callable[[Context], Reply]
_Attributes = Callable[[bytes], bytes]
_Certificate = Callable[[Authority, Order, datetime], x509.Certificate]
_Package = Callable[[Authority, list[x509.Certificate]], bytes]
_Parts = Callable[[list[Part]], list[Part]]
_Cmc = Callable[[Authority, cmc.Answer], cmc.Answer]
_Change = Callable[[Reply], Reply]
_Tls = Callable[[Authority, Order, ec.EllipticCurvePrivateKey], x509.Certificate]
_Function = TypeVar("_Function")

DESCRIPTIONS: dict[str, str] = {
    "digest-no-qop": "offers Digest without qop, as RFC 2069 did, and accepts such an answer",
    "digest-unknown-algorithm": "offers only a Digest algorithm that does not exist",
}
"""Every fault's name and, for people, what it does."""

INSTEAD: dict[str, _Instead] = {}
ATTRIBUTES: dict[str, _Attributes] = {}
CERTIFICATE: dict[str, _Certificate] = {}
PACKAGE: dict[str, _Package] = {}
PARTS: dict[str, _Parts] = {}
CMC: dict[str, _Cmc] = {}
BODY: dict[str, _Change] = {}
DELIVERY: dict[str, _Change] = {}
TLS: dict[str, _Tls] = {}

DETOURS = {"redirect-same-origin", "redirect-elsewhere", "redirect-http"}
"""These send the client to a path where its request works."""


def check_spec(spec: str) -> str:
    """Return `spec`, a fault `NAME` or `NAME@OPERATION`. Raises ValueError."""
    name, at, operation = spec.partition("@")
    if name not in DESCRIPTIONS:
        raise ValueError(f"unknown fault {name!r}")
    if at and operation not in OPERATIONS:
        raise ValueError(f"unknown operation {operation!r} in fault {spec!r}")
    if at and name in TLS:
        raise ValueError(f"{name} strikes before any operation: leave out @{operation}")
    return spec


def names_for(specs: Iterable[str], operation: str) -> set[str]:
    """The fault names among `specs` that apply to `operation`."""
    parts = [spec.partition("@") for spec in specs]
    return {name for name, _, where in parts if where in ("", operation)}


def pick(table: dict[str, _Function], active: set[str]) -> list[_Function]:
    """The functions of the active faults in `table`, in the order of their names."""
    return [table[name] for name in sorted(active & table.keys())]


def _in(
    table: dict[str, _Function], name: str, description: str
) -> Callable[[_Function], _Function]:
    def register(function: _Function) -> _Function:
        table[name] = function
        DESCRIPTIONS[name] = description
        return function

    return register


@_in(INSTEAD, "http-204", "answers 204, as if there were nothing to say")
def _http_204(_context: Context) -> Reply:
    return Reply(204)


@_in(INSTEAD, "http-404", "answers 404")
def _http_404(_context: Context) -> Reply:
    return Reply(404, b"not here\n")


@_in(INSTEAD, "http-500", "answers 500 with a page of HTML")
def _http_500(_context: Context) -> Reply:
    return Reply(500, b"<html><h1>Internal Server Error</h1></html>", "text/html")


@_in(INSTEAD, "http-503", "answers 503 with Retry-After")
def _http_503(context: Context) -> Reply:
    return Reply(503, b"busy\n", headers=(("Retry-After", str(context.retry_after)),))


@_in(INSTEAD, "401-forever", "answers 401 whatever credentials come")
def _401_forever(context: Context) -> Reply:
    return context.challenge("no credentials are good enough").reply


@_in(INSTEAD, "401-wrong-scheme", "answers 401 with a scheme nobody speaks")
def _401_wrong_scheme(_context: Context) -> Reply:
    return Reply(401, b"use Negotiate\n", headers=(("WWW-Authenticate", "Negotiate"),))


def _redirect(location: str) -> Reply:
    return Reply(302, b"", headers=(("Location", location),))


@_in(INSTEAD, "redirect-same-origin", "answers 302 to another path of this server, which works")
def _redirect_same_origin(context: Context) -> Reply:
    return _redirect(context.detour)


@_in(INSTEAD, "redirect-loop", "answers 302 in a circle")
def _redirect_loop(context: Context) -> Reply:
    return _redirect(context.detour)


@_in(INSTEAD, "redirect-elsewhere", "answers 302 to another host name, where the request works")
def _redirect_elsewhere(context: Context) -> Reply:
    host, _, port = context.authority.rpartition(":")
    other = "127.0.0.1" if host == "localhost" else "localhost"
    return _redirect(f"https://{other}:{port}{context.detour}")


@_in(INSTEAD, "redirect-http", "answers 302 to plain http")
def _redirect_http(context: Context) -> Reply:
    return _redirect(f"http://{context.authority}{context.detour}")


@_in(INSTEAD, "garbage-status-line", "answers with something that is not HTTP")
def _garbage_status_line(_context: Context) -> Reply:
    return Reply(script=Script([b"220 mail.example ESMTP ready\r\n\r\n"]))


@_in(INSTEAD, "cut-connection", "closes the connection in the middle of the headers")
def _cut_connection(_context: Context) -> Reply:
    return Reply(script=Script([b"HTTP/1.1 200 OK\r\nContent-Ty"], cut=True))


@_in(ATTRIBUTES, "csrattrs-empty", "asks for nothing")
def _csrattrs_empty(_der: bytes) -> bytes:
    return der.sequence()


@_in(ATTRIBUTES, "csrattrs-malformed", "ends the attributes in the middle of one")
def _csrattrs_malformed(attributes: bytes) -> bytes:
    return attributes[: len(attributes) // 2 + 1]


@_in(ATTRIBUTES, "csrattrs-wrong-type", "sends numbers in place of attributes")
def _csrattrs_wrong_type(_der: bytes) -> bytes:
    return der.sequence(der.integer(2), der.integer(5))


@_in(ATTRIBUTES, "csrattrs-unknown", "asks also for attributes that nobody has heard of")
def _csrattrs_unknown(attributes: bytes) -> bytes:
    value = der.tlv(0x0C, b"whatever that may mean")
    strange = der.sequence(der.oid("2.999.7"), der.set_of(value, der.integer(7)))
    return _with_elements(attributes, der.oid("2.999.6"), strange)


@_in(ATTRIBUTES, "csrattrs-junk-template", "adds a template (RFC 9908) that is none")
def _csrattrs_junk_template(attributes: bytes) -> bytes:
    junk = der.sequence(der.integer(0), der.oid("2.999.8"), der.tlv(0xA1, b"junk"))
    template = der.oid("1.2.840.113549.1.9.16.2.61")
    return _with_elements(attributes, der.sequence(template, der.set_of(junk)))


def _with_elements(attributes: bytes, *more: bytes) -> bytes:
    # The header's size follows from the length: two bytes, and those that a long length takes.
    header = 2 + (attributes[1] & 0x7F if attributes[1] & 0x80 else 0)
    return der.sequence(attributes[header:], *more)


@_in(CERTIFICATE, "wrong-key", "issues the certificate over another key")
def _wrong_key(authority: Authority, order: Order, end: datetime) -> x509.Certificate:
    return authority.issuer.sign(replace(order, public_key=new_key().public_key()), end)


@_in(CERTIFICATE, "wrong-ca", "issues from a CA that the client does not know")
def _wrong_ca(_authority: Authority, order: Order, end: datetime) -> x509.Certificate:
    return new_ca("unknown CA").sign(order, end)


@_in(CERTIFICATE, "expired-cert", "issues a certificate that expired yesterday")
def _expired_cert(authority: Authority, order: Order, _end: datetime) -> x509.Certificate:
    return authority.issuer.sign(order, now() - _DAY, now() - 2 * _DAY)


@_in(CERTIFICATE, "ca-cert-instead", "answers with the CA's own certificate")
def _ca_cert_instead(authority: Authority, _order: Order, _end: datetime) -> x509.Certificate:
    return authority.root.certificate


@_in(PACKAGE, "extra-certs", "puts two unrelated certificates first into the PKCS#7")
def _extra_certs(_authority: Authority, certificates: list[x509.Certificate]) -> bytes:
    strangers = [new_ca(f"stranger {number}").certificate for number in (1, 2)]
    return der.certs_only([*strangers, *certificates])


@_in(PACKAGE, "reverse-order", "adds the CA chain, root first, with the certificate last")
def _reverse_order(authority: Authority, certificates: list[x509.Certificate]) -> bytes:
    chain = [one for one in authority.certificates if one not in certificates]
    return der.certs_only([*reversed(chain), *reversed(certificates)])


@_in(PACKAGE, "no-certs", "sends a PKCS#7 that holds no certificate")
def _no_certs(_authority: Authority, _certificates: list[x509.Certificate]) -> bytes:
    return der.certs_only([])


def _rolled(
    authority: Authority, *, signer: Signer | None = None, end: datetime | None = None
) -> list[x509.Certificate]:
    """What a rollover adds to /cacerts: NewWithNew, OldWithNew, NewWithOld.

    `signer` signs NewWithOld in place of the old root; it ends at `end`.
    """
    old, new = authority.root, new_ca("mpest test root")
    return [new.certificate, link(old, new), link(new, signer or old, end)]


@_in(PACKAGE, "rollover-forged", "adds a new root that the old one did not sign")
def _rollover_forged(authority: Authority, certificates: list[x509.Certificate]) -> bytes:
    forger = new_ca("mpest test root")
    return der.certs_only([*_rolled(authority, signer=forger), *certificates])


@_in(PACKAGE, "rollover-one-way", "adds a new root that the old one signed, without OldWithNew")
def _rollover_one_way(authority: Authority, certificates: list[x509.Certificate]) -> bytes:
    new, _, new_with_old = _rolled(authority)
    return der.certs_only([new, new_with_old, *certificates])


@_in(PACKAGE, "rollover-link-expired", "adds a new root whose link with the old one has expired")
def _rollover_link_expired(authority: Authority, certificates: list[x509.Certificate]) -> bytes:
    return der.certs_only([*_rolled(authority, end=now() - _DAY), *certificates])


@_in(PACKAGE, "rollover-unrelated", "adds a root that nothing links with the one there is")
def _rollover_unrelated(_authority: Authority, certificates: list[x509.Certificate]) -> bytes:
    return der.certs_only([new_ca("stranger").certificate, *certificates])


@_in(PACKAGE, "rollover-old-expired", "adds a new root and shows the old one as expired")
def _rollover_old_expired(authority: Authority, certificates: list[x509.Certificate]) -> bytes:
    others = [one for one in certificates if one != authority.root.certificate]
    expired = link(authority.root, authority.root, now() - _DAY)
    return der.certs_only([*_rolled(authority), expired, *others])


@_in(PARTS, "no-key", "serverkeygen: leaves the key out")
def _no_key(parts: list[Part]) -> list[Part]:
    return parts[1:]


@_in(PARTS, "no-certificate", "serverkeygen: leaves the certificate out")
def _no_certificate(parts: list[Part]) -> list[Part]:
    return parts[:1]


@_in(PARTS, "two-keys", "serverkeygen: sends the key twice")
def _two_keys(parts: list[Part]) -> list[Part]:
    return [parts[0], *parts]


@_in(PARTS, "certificate-first", "serverkeygen: sends the certificate before the key")
def _certificate_first(parts: list[Part]) -> list[Part]:
    return parts[::-1]


@_in(PARTS, "broken-key", "serverkeygen: changes the last byte of the key, or of what encrypts it")
def _broken_key(parts: list[Part]) -> list[Part]:
    last = bytes((parts[0].der[-1] ^ 1,))
    return [replace(parts[0], der=parts[0].der[:-1] + last), *parts[1:]]


@_in(PARTS, "key-as-text", "serverkeygen: calls the key text/plain")
def _key_as_text(parts: list[Part]) -> list[Part]:
    return [replace(parts[0], content_type="text/plain"), *parts[1:]]


@_in(BODY, "wrong-boundary", "serverkeygen: announces a boundary that is not the parts'")
def _wrong_boundary(reply: Reply) -> Reply:
    if not reply.content_type.startswith(MULTIPART):
        return reply
    return replace(reply, content_type=f"{MULTIPART}; boundary=another")


@_in(BODY, "truncated-parts", "serverkeygen: ends within the last part, as if that were all")
def _truncated_parts(reply: Reply) -> Reply:
    if not reply.content_type.startswith(MULTIPART):
        return reply
    return replace(reply, body=reply.body[: -len(reply.body) // 4])


@_in(BODY, "preamble", "serverkeygen: puts text before and after the parts, and a part of its own")
def _preamble(reply: Reply) -> Reply:
    if not reply.content_type.startswith(MULTIPART):
        return reply
    boundary = reply.body.partition(b"\r\n")[0]
    extra = boundary + b"\r\nContent-Type: text/plain\r\n\r\nfor nobody\r\n"
    return replace(reply, body=b"A preamble.\r\n" + extra + reply.body + b"An epilogue.\r\n")


def _signed_by(answer: cmc.Answer, signer: Signer) -> cmc.Answer:
    return replace(answer, signer=signer, certificates=(signer.certificate, *answer.certificates))


@_in(CMC, "cmc-wrong-signature", "signs the answer of /fullcmc with another key")
def _cmc_wrong_signature(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    return replace(answer, signer=answer.signer and replace(answer.signer, key=new_key()))


@_in(CMC, "cmc-unauthorised-signer", "signs with a certificate of the CA that may not answer")
def _cmc_unauthorised_signer(authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    key = new_key()
    order = Order(common_name("another board"), key.public_key())
    return _signed_by(answer, Signer(authority.issuer.sign(order, now() + _DAY), key))


@_in(CMC, "cmc-unknown-signer", "signs with a CA that the client does not know")
def _cmc_unknown_signer(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    return _signed_by(answer, new_ca("unknown CA"))


@_in(CMC, "cmc-unsigned", "leaves the answer of /fullcmc unsigned")
def _cmc_unsigned(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    return replace(answer, signer=None)


@_in(CMC, "cmc-simple", "answers /fullcmc with certificates alone, which nobody signs")
def _cmc_simple(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    return replace(answer, simple=True)


@_in(CMC, "cmc-wrong-nonce", "returns another nonce than was sent")
def _cmc_wrong_nonce(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    return replace(answer, nonce=der.octet_string(bytes(16)))


@_in(CMC, "cmc-no-nonce", "returns no nonce")
def _cmc_no_nonce(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    return replace(answer, nonce=None)


@_in(CMC, "cmc-wrong-transaction", "answers under another transactionId")
def _cmc_wrong_transaction(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    return replace(answer, transaction=der.integer(1))


@_in(CMC, "cmc-malformed", "signs a PKIResponse that ends too early")
def _cmc_malformed(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    return replace(answer, content=answer.response()[:-3])


@_in(CMC, "cmc-no-status", "says nothing of how the request fared")
def _cmc_no_status(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    return replace(answer, states=())


@_in(CMC, "cmc-failed", "answers that the request failed")
def _cmc_failed(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    text = "this CA\tdoes not\x1b[1m like it"
    failed = cmc.State(cmc.Status.FAILED, [0], text, cmc.Failure.BAD_REQUEST)
    return replace(answer, states=(failed,))


@_in(CMC, "cmc-pending", "answers that the request waits for a minute and a half")
def _cmc_pending(_authority: Authority, answer: cmc.Answer) -> cmc.Answer:
    until = now() + timedelta(seconds=90)
    return replace(answer, states=(cmc.State(cmc.Status.PENDING, [0], "later", until=until),))


@_in(BODY, "bad-base64", "puts characters into the body that base64 does not have")
def _bad_base64(reply: Reply) -> Reply:
    middle = len(reply.body) // 2
    return replace(reply, body=reply.body[:middle] + b"*%!" + reply.body[middle + 3 :])


@_in(BODY, "raw-der", "sends the body as binary DER")
def _raw_der(reply: Reply) -> Reply:
    if reply.content_type.startswith(MULTIPART):
        return reply  # its parts are binary already
    headers = (("Content-Transfer-Encoding", "binary"),)
    return replace(reply, body=base64.b64decode(reply.body), headers=headers)


@_in(BODY, "pem-body", "sends the body between PEM lines")
def _pem_body(reply: Reply) -> Reply:
    text = base64.encodebytes(base64.b64decode(reply.body))
    body = b"-----BEGIN PKCS7-----\n" + text + b"-----END PKCS7-----\n"
    return replace(reply, body=body)


@_in(BODY, "empty-body", "sends no body")
def _empty_body(reply: Reply) -> Reply:
    return replace(reply, body=b"")


@_in(BODY, "huge-body", "sends a body of 4 MiB")
def _huge_body(reply: Reply) -> Reply:
    return replace(reply, body=b"MIIB" * (_HUGE_BODY // 4))


@_in(BODY, "wrong-content-type", "calls the body text/html")
def _wrong_content_type(reply: Reply) -> Reply:
    return replace(reply, content_type="text/html")


@_in(BODY, "http-201", "answers 201 where 200 is usual")
def _http_201(reply: Reply) -> Reply:
    return replace(reply, status=201)


@_in(DELIVERY, "no-retry-after", "leaves Retry-After out of every answer")
def _no_retry_after(reply: Reply) -> Reply:
    headers = tuple(header for header in reply.headers if header[0] != "Retry-After")
    return replace(reply, headers=headers)


@_in(DELIVERY, "giant-header", "adds one header of 64 KiB")
def _giant_header(reply: Reply) -> Reply:
    return replace(reply, headers=(*reply.headers, ("X-Giant", "x" * _GIANT_HEADER)))


@_in(DELIVERY, "many-headers", "adds 500 headers")
def _many_headers(reply: Reply) -> Reply:
    more = tuple((f"X-Header-{number}", "x") for number in range(_MANY_HEADERS))
    return replace(reply, headers=(*reply.headers, *more))


@_in(DELIVERY, "chunked", "sends the body chunked")
def _chunked(reply: Reply) -> Reply:
    return replace(reply, chunked=True)


@_in(DELIVERY, "close", "closes the connection after each answer, and says so")
def _close(reply: Reply) -> Reply:
    return replace(reply, close=True)


@_in(DELIVERY, "http10", "answers as HTTP/1.0 and closes")
def _http10(reply: Reply) -> Reply:
    return replace(reply, script=Script([reply.head("HTTP/1.0"), reply.body]))


@_in(DELIVERY, "no-content-length", "marks the end of the body only by closing the connection")
def _no_content_length(reply: Reply) -> Reply:
    return replace(reply, script=Script([reply.head(length=False), reply.body]))


@_in(DELIVERY, "short-length", "serverkeygen: counts only what the parts hold, as libest does")
def _short_length(reply: Reply) -> Reply:
    if not reply.content_type.startswith(MULTIPART):
        return reply
    boundary = reply.body.partition(b"\r\n")[0]
    pieces = reply.body.split(b"\r\n" + boundary)
    contents = [piece.partition(b"\r\n\r\n")[2] for piece in pieces]
    length = sum(map(len, contents))
    head = replace(reply, body=reply.body[:length]).head("HTTP/1.0")
    return replace(reply, script=Script([head, reply.body]))


@_in(DELIVERY, "truncated-body", "closes the connection in the middle of the body")
def _truncated_body(reply: Reply) -> Reply:
    half = reply.body[: len(reply.body) // 2]
    return replace(reply, script=Script([reply.head(), half], cut=True))


@_in(DELIVERY, "cut-after-headers", "closes the connection between headers and body")
def _cut_after_headers(reply: Reply) -> Reply:
    return replace(reply, script=Script([reply.head()], cut=True))


@_in(DELIVERY, "slow-drip", "sends the body byte by byte, with a pause before each")
def _slow_drip(reply: Reply) -> Reply:
    drops = [bytes((byte,)) for byte in reply.body]
    return replace(reply, script=Script([reply.head(), *drops], drip=True))


@_in(DELIVERY, "late", "answers after a pause")
def _late(reply: Reply) -> Reply:
    return replace(reply, script=Script([b"", reply.head(), reply.body], drip=True))


@_in(TLS, "tls-wrong-ca", "the server's certificate is from a CA that the client does not know")
def _tls_wrong_ca(
    _authority: Authority, order: Order, _key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    return new_ca("unknown CA").sign(order, now() + _DAY)


@_in(TLS, "tls-wrong-name", "the server's certificate names another host")
def _tls_wrong_name(
    authority: Authority, order: Order, _key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    name = "elsewhere.example"
    san = x509.SubjectAlternativeName([x509.DNSName(name)])
    return authority.issuer.sign(replace(order, subject=common_name(name), san=san), now() + _DAY)


@_in(TLS, "tls-expired", "the server's certificate expired yesterday")
def _tls_expired(
    authority: Authority, order: Order, _key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    return authority.issuer.sign(order, now() - _DAY, now() - 2 * _DAY)


@_in(TLS, "tls-not-yet-valid", "the server's certificate is valid from tomorrow")
def _tls_not_yet_valid(
    authority: Authority, order: Order, _key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    return authority.issuer.sign(order, now() + 2 * _DAY, now() + _DAY)


@_in(TLS, "tls-self-signed", "the server's certificate is signed by nobody else")
def _tls_self_signed(
    _authority: Authority, order: Order, key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    return self_signed(order, key, now() + _DAY)


@_in(TLS, "tls-client-only", "the server's certificate is for clients only")
def _tls_client_only(
    authority: Authority, order: Order, _key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    client_only = replace(order, purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,))
    return authority.issuer.sign(client_only, now() + _DAY)

"""Faults of HTTP: answers in place of the right one, spoilt bodies, and how they travel."""

import base64
from dataclasses import replace

from mpest.server import ber
from mpest.server.faults.registry import BODY, DELIVERY, INSTEAD, NAME, SCRIPT, Context, fault
from mpest.server.wire import CERTIFICATES, MULTIPART, Reply, Script, wrap

_HUGE_BODY = 4 * 1024 * 1024  # far above what a board can hold
_GIANT_HEADER = 64 * 1024
_MANY_HEADERS = 500


@fault(INSTEAD, "http-204", "answers 204, as if there were nothing to say")
def _http_204(_context: Context) -> Reply:
    return Reply(204)


@fault(INSTEAD, "http-403", "answers 403, and names no scheme to log in by")
def _http_403(_context: Context) -> Reply:
    return Reply(403, b"not allowed\n")


@fault(INSTEAD, "http-405", "answers 405")
def _http_405(_context: Context) -> Reply:
    return Reply(405, b"not this way\n")


@fault(INSTEAD, "web-page", "answers 200 with a page of HTML")
def _web_page(_context: Context) -> Reply:
    return Reply(200, b"<!doctype html><title>Welcome</title>", "text/html")


@fault(INSTEAD, "http-404", "answers 404")
def _http_404(_context: Context) -> Reply:
    return Reply(404, b"not here\n")


@fault(INSTEAD, "http-500", "answers 500 with a page of HTML")
def _http_500(_context: Context) -> Reply:
    return Reply(500, b"<html><h1>Internal Server Error</h1></html>", "text/html")


@fault(INSTEAD, "http-503", "answers 503 with Retry-After")
def _http_503(context: Context) -> Reply:
    return Reply(503, b"busy\n", headers=(("Retry-After", str(context.retry_after)),))


@fault(INSTEAD, "401-forever", "answers 401 whatever credentials come")
def _401_forever(context: Context) -> Reply:
    return context.challenge("no credentials are good enough").reply


@fault(INSTEAD, "401-wrong-scheme", "answers 401 with a scheme nobody speaks")
def _401_wrong_scheme(_context: Context) -> Reply:
    return Reply(401, b"use Negotiate\n", headers=(("WWW-Authenticate", "Negotiate"),))


def _redirect(location: str) -> Reply:
    return Reply(302, b"", headers=(("Location", location),))


@fault(INSTEAD, "redirect-same-origin", "answers 302 to another path of this server, which works")
def _redirect_same_origin(context: Context) -> Reply:
    return _redirect(context.detour)


@fault(INSTEAD, "redirect-relative", "answers 302 to such a path, told from the one asked for")
def _redirect_relative(context: Context) -> Reply:
    return _redirect(f"../..{context.detour}")


@fault(INSTEAD, "redirect-loop", "answers 302 in a circle")
def _redirect_loop(context: Context) -> Reply:
    return _redirect(context.detour)


@fault(INSTEAD, "redirect-elsewhere", "answers 302 to another host name, where the request works")
def _redirect_elsewhere(context: Context) -> Reply:
    host, _, port = context.authority.rpartition(":")
    other = "127.0.0.1" if host == "localhost" else "localhost"
    return _redirect(f"https://{other}:{port}{context.detour}")


@fault(INSTEAD, "redirect-http", "answers 302 to plain http")
def _redirect_http(context: Context) -> Reply:
    return _redirect(f"http://{context.authority}{context.detour}")


@fault(INSTEAD, "garbage-status-line", "answers with something that is not HTTP")
def _garbage_status_line(_context: Context) -> Reply:
    return Reply(script=Script([b"220 mail.example ESMTP ready\r\n\r\n"]))


@fault(INSTEAD, "cut-connection", "closes the connection in the middle of the headers")
def _cut_connection(_context: Context) -> Reply:
    return Reply(script=Script([b"HTTP/1.1 200 OK\r\nContent-Ty"], cut=True))


@fault(BODY, "bad-base64", "puts characters into the body that base64 does not have")
def _bad_base64(reply: Reply) -> Reply:
    at = len(reply.body) // 4  # also in a body of which half is sent
    return replace(reply, body=reply.body[:at] + b"*%!" + reply.body[at + 3 :])


@fault(BODY, "raw-der", "sends the body as binary DER")
def _raw_der(reply: Reply) -> Reply:
    if reply.content_type.lower().startswith(MULTIPART):
        return reply  # its parts are binary already
    name = "Content-Transfer-Encoding"
    others = tuple(header for header in reply.headers if header[0] != name)
    headers = (*others, (name, "binary"))
    return replace(reply, body=base64.b64decode(reply.body), headers=headers)


@fault(BODY, "ber-body", "writes CMS as Bouncy Castle does: BER with indefinite lengths")
def _ber_body(reply: Reply) -> Reply:
    if not reply.content_type.startswith(CERTIFICATES):
        return reply
    # What lies deeper (certificates, signers) is DER there too.
    return replace(reply, body=wrap(ber.indefinite(base64.b64decode(reply.body), 4), 64))


@fault(BODY, "pem-body", "sends the body between PEM lines")
def _pem_body(reply: Reply) -> Reply:
    if reply.content_type.lower().startswith(MULTIPART):
        return reply
    text = base64.encodebytes(base64.b64decode(reply.body))
    body = b"-----BEGIN PKCS7-----\n" + text + b"-----END PKCS7-----\n"
    return replace(reply, body=body)


@fault(BODY, "empty-body", "sends no body")
def _empty_body(reply: Reply) -> Reply:
    return replace(reply, body=b"")


@fault(BODY, "huge-body", "sends a body of 4 MiB")
def _huge_body(reply: Reply) -> Reply:
    return replace(reply, body=b"MIIB" * (_HUGE_BODY // 4))


@fault(NAME, "wrong-content-type", "calls the body text/html")
def _wrong_content_type(reply: Reply) -> Reply:
    return replace(reply, content_type="text/html")


@fault(NAME, "old-content-type", "calls the body application/x-pkcs7-mime, as before RFC 5751")
def _old_content_type(reply: Reply) -> Reply:
    return replace(reply, content_type=reply.content_type.replace("/pkcs7", "/x-pkcs7"))


@fault(NAME, "http-201", "answers 201 where 200 is usual")
def _http_201(reply: Reply) -> Reply:
    return replace(reply, status=201)


@fault(DELIVERY, "no-retry-after", "leaves Retry-After out of every answer")
def _no_retry_after(reply: Reply) -> Reply:
    headers = tuple(header for header in reply.headers if header[0] != "Retry-After")
    return replace(reply, headers=headers)


@fault(DELIVERY, "no-challenge", "leaves WWW-Authenticate out of every answer")
def _no_challenge(reply: Reply) -> Reply:
    headers = tuple(header for header in reply.headers if header[0] != "WWW-Authenticate")
    return replace(reply, headers=headers)


@fault(DELIVERY, "giant-header", "adds one header of 64 KiB")
def _giant_header(reply: Reply) -> Reply:
    return replace(reply, headers=(*reply.headers, ("X-Giant", "x" * _GIANT_HEADER)))


@fault(DELIVERY, "many-headers", "adds 500 headers")
def _many_headers(reply: Reply) -> Reply:
    more = tuple((f"X-Header-{number}", "x") for number in range(_MANY_HEADERS))
    return replace(reply, headers=(*reply.headers, *more))


@fault(DELIVERY, "chunked", "sends the body chunked")
def _chunked(reply: Reply) -> Reply:
    return replace(reply, chunked=True)


@fault(DELIVERY, "close", "closes the connection after each answer, and says so")
def _close(reply: Reply) -> Reply:
    return replace(reply, close=True)


@fault(SCRIPT, "http10", "answers as HTTP/1.0 and closes")
def _http10(reply: Reply) -> Reply:
    return replace(reply, script=Script([reply.head("HTTP/1.0"), reply.body]))


@fault(SCRIPT, "no-content-length", "marks the end of the body only by closing the connection")
def _no_content_length(reply: Reply) -> Reply:
    return replace(reply, script=Script([reply.head(length=False), reply.body]))


@fault(SCRIPT, "no-content-type", "does not say what the body is")
def _no_content_type(reply: Reply) -> Reply:
    return _rewritten(reply, "Content-Type", None)


@fault(SCRIPT, "odd-headers", "writes the headers as old servers may, some in ISO-8859-1")
def _odd_headers(reply: Reply) -> Reply:
    odd = (
        f"CONTENT-length :\r\n\t{len(reply.body)}, {len(reply.body)}\r\n"
        "X-Server: M\xfcller\r\n : nameless\r\nno colon"
    )
    return _rewritten(reply, "Content-Length", odd, "tr\xe8s bien")


@fault(SCRIPT, "octets-after", "sends text after the end of the answer")
def _octets_after(reply: Reply) -> Reply:
    return _rewritten(reply, "Connection", None, after=b"Authentication required")


@fault(SCRIPT, "unasked-408", "sends a 408 after the answer, as to a client that was idle")
def _unasked_408(reply: Reply) -> Reply:
    idle = Reply(408, b"idle\n").head() + b"idle\n"
    return _rewritten(reply, "Connection", None, after=idle)


def _rewritten(
    reply: Reply, name: str, line: str | None, reason: str = "", after: bytes = b""
) -> Reply:
    """`reply` with `line` for the header `name`, another reason, and what comes after it."""
    first, *headers = reply.head().decode("latin-1").split("\r\n")
    if reason:
        first = first[:13] + reason
    lines = [line if one.startswith(f"{name}:") else one for one in headers]
    head = "\r\n".join([first, *(one for one in lines if one is not None)])
    return replace(reply, script=Script([head.encode("latin-1") + reply.body + after]))


@fault(SCRIPT, "short-length", "serverkeygen: counts only what the parts hold, as libest does")
def _short_length(reply: Reply) -> Reply:
    if not reply.content_type.lower().startswith(MULTIPART):
        return reply
    boundary = reply.body.partition(b"\r\n")[0]
    pieces = reply.body.split(b"\r\n" + boundary)
    contents = [piece.partition(b"\r\n\r\n")[2] for piece in pieces]
    length = sum(map(len, contents))
    head = replace(reply, body=reply.body[:length]).head("HTTP/1.0")
    return replace(reply, script=Script([head, reply.body]))


@fault(SCRIPT, "truncated-body", "closes the connection in the middle of the body")
def _truncated_body(reply: Reply) -> Reply:
    half = reply.body[: len(reply.body) // 2]
    return replace(reply, script=Script([reply.head(), half], cut=True))


@fault(SCRIPT, "cut-after-headers", "closes the connection between headers and body")
def _cut_after_headers(reply: Reply) -> Reply:
    return replace(reply, script=Script([reply.head()], cut=True))


@fault(SCRIPT, "slow-drip", "sends the body byte by byte, with a pause before each")
def _slow_drip(reply: Reply) -> Reply:
    drops = [bytes((byte,)) for byte in reply.body]
    return replace(reply, script=Script([reply.head(), *drops], drip=True))


@fault(SCRIPT, "late", "answers after a pause")
def _late(reply: Reply) -> Reply:
    return replace(reply, script=Script([b"", reply.head(), reply.body], drip=True))

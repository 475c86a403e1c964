"""Answers, and how they reach the client: as good HTTP, or written byte by byte."""

import asyncio
import base64
import contextlib
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

CERTIFICATES = "application/pkcs7-mime"
CERTS_ONLY = "application/pkcs7-mime; smime-type=certs-only"
CMC_REQUEST = "application/pkcs7-mime; smime-type=CMC-request"
CMC_RESPONSE = "application/pkcs7-mime; smime-type=CMC-response"
CRL = "application/pkix-crl"
CSRATTRS = "application/csrattrs"
MULTIPART = "multipart/mixed"
_LINGER_SECONDS = 0.5


@dataclass(frozen=True)
class Script:
    """Raw bytes that replace a proper response, after which the connection is closed."""

    pieces: Iterable[bytes]
    drip: bool = False
    """Pause between two pieces."""
    cut: bool = False
    """End without the TLS close_notify, as a lost connection does."""


@dataclass(frozen=True)
class Reply:
    """An answer before it is sent. `script` overrides the rest."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    chunked: bool = False
    close: bool = False
    script: Script | None = None
    reason: str | None = None
    """Why a request was refused, or what was unusual in it; free of secrets, for the log."""

    def head(self, version: str = "HTTP/1.1", *, length: bool = True) -> bytes:
        """The status line and headers as bytes, for scripts."""
        lines = [f"{version} {self.status} {HTTPStatus(self.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines += [f"Content-Type: {self.content_type}", "Connection: close"]
        if length:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode()

    def response(self, drip_interval: float) -> web.StreamResponse:
        """What aiohttp sends; a dripping script pauses `drip_interval` seconds."""
        if self.script is not None:
            return _ScriptedResponse(self.script, drip_interval if self.script.drip else 0)
        response = web.Response(status=self.status, body=self.body or None)
        if self.body or self.status == 200:
            response.headers["Content-Type"] = self.content_type
        for name, value in self.headers:
            response.headers.add(name, value)
        if self.chunked:
            response.enable_chunked_encoding()
        if self.close:
            response.force_close()
        return response


class Refused(Exception):
    """The request is not granted; carries the whole answer, with a text that says why.

    A 401 has no body: Bouncy Castle's client does not read past one. The log has the text.
    """

    def __init__(self, status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(text)
        body = b"" if status == 401 else f"{text}\n".encode()
        self.reply = Reply(status, body, headers=headers, reason=text)


def base64_reply(der: bytes, content_type: str, columns: int) -> Reply:
    """A base64 body in lines of `columns` characters, or in one if 0 (RFC 8951 3.1)."""
    headers = (("Content-Transfer-Encoding", "base64"),)
    return Reply(200, wrap(der, columns), content_type, headers)


@dataclass(frozen=True)
class Part:
    """One of a multipart body."""

    content_type: str
    der: bytes


def multipart_reply(parts: Iterable[Part], columns: int, *, binary: bool = False) -> Reply:
    """multipart/mixed of `parts` (RFC 2046 5.1), each in base64 as in `base64_reply` or bare."""
    boundary = secrets.token_hex(12)
    encoding = "binary" if binary else "base64"
    body = b""
    for part in parts:
        body += (
            f"--{boundary}\r\nContent-Type: {part.content_type}\r\n"
            f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
        ).encode()
        body += (part.der if binary else wrap(part.der, columns)) + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return Reply(200, body, f"{MULTIPART}; boundary={boundary}")


def wrap(der: bytes, columns: int) -> bytes:
    text = base64.b64encode(der)
    if columns == 0:
        return text
    starts = range(0, len(text), columns)
    return b"".join(text[start : start + columns] + b"\r\n" for start in starts)


class _ScriptedResponse(web.StreamResponse):
    """Writes a script to the transport instead of what aiohttp would write."""

    def __init__(self, script: Script, pause: float) -> None:
        super().__init__()
        self._script = script
        self._pause = pause
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        for piece in self._script.pieces:
            transport = _open(request)
            if transport is None:
                return None
            transport.write(piece)
            if self._pause:
                await asyncio.sleep(self._pause)
            # A script may have no end, and the client be slow.
            with contextlib.suppress(ConnectionError):  # it has left
                await request.writer.drain()
        transport = _open(request)
        if transport is None:
            return None
        if self._script.cut:
            transport.abort()
        else:
            connection = transport.get_extra_info("socket")
            transport.close()
            # asyncio waits for the client to end TLS too; other servers don't.
            asyncio.get_running_loop().call_later(_LINGER_SECONDS, _end, connection)
        return None

    async def write_eof(self, _data: bytes = b"") -> None:
        self._eof_sent = True


def _open(request: web.BaseRequest) -> asyncio.Transport | None:
    """The way to the client; None once it has left."""
    transport = request.transport
    return None if transport is None or transport.is_closing() else transport


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the client was faster
        connection.shutdown(socket.SHUT_WR)

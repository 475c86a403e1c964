"""The page's server, in a thread of the line's process.

Nothing here holds the line up: an event changes what is shown, and each browser is sent the whole
of it, when it can take it. There is no queue that could fill.
"""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web

from mpest.exits import CliError, Exit
from mpest.station import labelling
from mpest.station.events import Event
from mpest.station.job import Job
from mpest.station.ledger.units import LedgerError
from mpest.station.page.access import COOKIE, MIN_PIN, Access, host_is_ours, is_own_origin
from mpest.station.page.actions import Actions
from mpest.station.page.state import State
from mpest.station.page.texts import Texts
from mpest.station.scanning import operator_of

_FILES = Path(__file__).parent / "files"
_KINDS = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}

_PACE = 0.1  # seconds between two looks for something new; a person sees no faster
_ALIVE = 15.0  # seconds after which a browser hears that the line is there
_PATIENCE = 10.0  # seconds for a browser to take what it is sent
_MAX_BROWSERS = 32  # a station has one screen; the others look on
_MAX_BODY = 16 << 10  # bytes of a request; a reason has 500 characters
_START = 10.0  # seconds until the page listens, on a busy machine
_STOP = 5.0

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
# A label opened by itself is a document.
_OF_LABELS = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Page:
    """An `Emit`. Use it as a context: then it serves. tell: takes what was decided here, as
    events, to the line."""

    def __init__(
        self,
        job: Job,
        ledger_url: str,
        texts: Texts,
        host: str,
        port: int,
        tell: Callable[[Event], None],
    ) -> None:
        """Raises CliError where the PIN is not to be had."""
        self._job = job
        self._texts = json.dumps(texts)
        self._host, self._port = host, port
        self._tell = tell
        self._state = State(labelling.state(job))
        idle = job.page.idle if job.page else 0
        self._access = Access(_pin(job), idle, lambda: self._state.moved)
        self._actions = Actions(job, ledger_url)
        self._browsers = 0
        self._ready = threading.Event()
        self._failure = ""
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/"

    def __enter__(self) -> "Page":
        self._thread.start()
        if not self._ready.wait(_START):
            self._failure = "it does not begin to listen"
        if self._failure:
            raise CliError(f"the page at {self.url}: {self._failure}", Exit.NETWORK)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(_STOP)
        self._actions.close()

    def __call__(self, event: str, /, **fields: Any) -> None:
        self._state.heed(event, fields)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._failure = error.strerror or str(error)
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(middlewares=[self._guarded], client_max_size=_MAX_BODY)
        app.on_response_prepare.append(_with_headers)
        app.add_routes(
            [
                web.get("/", self._file),
                web.get("/{name:page.css|page.js}", self._file),
                web.get("/texts.json", self._words),
                web.get("/events", self._events),
                web.get("/board", self._board),
                web.get("/label", self._label),
                web.post("/open", self._open),
                web.post("/close", self._close),
                *(web.post(f"/{name}", self._act) for name in _ACTIONS),
            ]
        )
        # No log: it would have what was asked for.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._port)
            await site.start()
            self._port = runner.addresses[0][1]
            self._ready.set()
            await self._ended.wait()
            await asyncio.sleep(2 * _PACE)  # browsers get the end
        finally:
            await runner.cleanup()

    # What everybody may see.

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("name", "page.html")
        return web.Response(text=(_FILES / name).read_text("utf-8"), content_type=_KINDS[name])

    async def _words(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text=self._texts, content_type="application/json")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: `state` and `session`, each whole, when it is another one."""
        if self._browsers >= _MAX_BROWSERS:
            return _error(503, "too many browsers look at this page")
        self._browsers += 1
        try:
            return await self._stream(request)
        except (TimeoutError, ConnectionError):
            if request.transport:
                request.transport.abort()
            raise
        finally:
            self._browsers -= 1

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_type = "text/event-stream"
        await response.prepare(request)
        version, session, idle = -1, "", 0.0
        last = False
        while not last:
            last = self._ended.is_set()
            frame = ""
            now = self._session_of(request)
            if now != session:
                session = now
                frame += f"event: session\ndata: {now}\n\n"
            if self._state.version != version:
                version = self._state.version
                frame += f"event: state\ndata: {self._state.text()}\n\n"
            idle += _PACE
            if frame or idle > _ALIVE:
                idle = 0.0
                async with asyncio.timeout(_PATIENCE):
                    await response.write((frame or ": here\n\n").encode())
            await asyncio.sleep(_PACE)
        return response

    def _session_of(self, request: web.Request) -> str:
        """What a browser may do, as JSON."""
        session = self._access.session(request)
        label = self._job.label
        return json.dumps(
            {
                "writable": self._access.writable,
                "open": session is not None,
                "operator": session.operator if session else "",
                "scan": bool(label and label.scan) or self._job.devices.scan,
                "scan_back": bool(label and label.scan),
                "drawn": bool(label and label.svg),
                "labels": label is not None,
            }
        )

    async def _board(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        serial = query.get("serial", "")
        if "scanned" in query:
            serial = self._actions.serial_of(query["scanned"])
        return web.json_response(await asyncio.to_thread(self._actions.board, serial))

    async def _label(self, request: web.Request) -> web.StreamResponse:
        serial = request.query.get("serial", "")
        drawing = await asyncio.to_thread(self._actions.label, serial)
        if drawing is None:
            return _error(404, "there is no drawing of this label")
        return web.Response(text=drawing, content_type="image/svg+xml")

    # What takes the PIN.

    async def _open(self, request: web.Request) -> web.StreamResponse:
        pin, operator = await _fields(request, "pin", "operator")
        if not self._access.writable:
            return _error(403, "this page only shows")
        operator = operator_of(operator)
        cookie = self._access.open(pin, operator)
        if cookie is None:
            seconds = self._access.wait()
            text = "the PIN is wrong" if not seconds else "too many wrong PINs"
            return _error(429 if seconds else 403, text, wait=round(seconds))
        self._tell({"event": "operator", "operator": operator})
        response = web.json_response({"operator": operator})
        response.set_cookie(COOKIE, cookie, httponly=True, samesite="Strict", path="/")
        return response

    async def _close(self, request: web.Request) -> web.StreamResponse:
        self._access.close(request)
        response = web.json_response({})
        response.del_cookie(COOKIE, httponly=True, samesite="Strict", path="/")
        return response

    async def _act(self, request: web.Request) -> web.StreamResponse:
        session = self._access.session(request, use=True)
        if session is None:
            return _error(401, "enter the PIN first")
        name = request.path.removeprefix("/")
        fields = await _fields(request, *_ACTIONS[name])
        if name == "operator":
            session.operator = operator_of(fields[0])
            event: Event = {"event": "operator", "operator": session.operator}
        else:
            serial, *more = fields
            action = getattr(self._actions, name)
            event = await asyncio.to_thread(action, serial, session.operator, *more)
        self._tell(event)
        return web.json_response(event)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if not host_is_ours(request.headers.get("Host", ""), self._host):
            return _error(421, "this page has another address")
        if request.method not in ("GET", "HEAD") and not is_own_origin(request):
            return _error(403, "only the page itself may ask for this")
        try:
            return await handler(request)
        except LedgerError as error:
            return _error(503, error.message)
        except CliError as error:
            return _error(409, error.message)


_ACTIONS = {
    "operator": ("operator",),
    "rework": ("serial", "reason"),
    "scrap": ("serial", "reason"),
    "reprint": ("serial",),
    "scanned": ("text",),
}
"""By the path: the fields that the request has. All but the first are methods of Actions."""


def _pin(job: Job) -> str | None:
    if job.page is None or job.page.pin is None:
        return None
    pin = job.credentials.read("The operators' PIN", job.page.pin) or ""
    if len(pin) < MIN_PIN:
        raise CliError(f"page.pin: a PIN has {MIN_PIN} characters or more")
    return pin


async def _with_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
    response.headers["Server"] = "mpest"
    if response.content_type == "image/svg+xml":
        response.headers["Content-Security-Policy"] = _OF_LABELS


async def _fields(request: web.Request, *names: str) -> list[str]:
    """Of a JSON object. Raises CliError."""
    try:
        content = json.loads(await request.read()) if _is_json(request) else None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise CliError("a JSON object is expected")
    fields = [content.get(name) for name in names]
    if not all(isinstance(value, str) for value in fields):
        raise CliError(f"text is expected for {', '.join(names)}")
    return [str(value) for value in fields]


def _is_json(request: web.Request) -> bool:
    # Forms of other origins cannot send this type unasked.
    return request.content_type == "application/json"


def _error(status: int, text: str, **more: Any) -> web.Response:
    return web.json_response({"error": text, **more}, status=status)

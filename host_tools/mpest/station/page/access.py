"""Who may do something by the page: the station's PIN, sessions, and from where requests come."""

import hmac
import ipaddress
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

COOKIE = "mpest_page"
MIN_PIN = 4
"""Characters; with the waits below all 10,000 PINs of four digits take two months."""

_FREE_TRIES = 5  # wrong PINs until the next one has to wait
_FIRST_WAIT = 5.0  # seconds; doubled by each wrong one
_LONGEST_WAIT = 600.0
_MAX_SESSIONS = 64  # the oldest goes; a station has few browsers


@dataclass
class Session:
    operator: str
    used: float


class Access:
    """Sessions by their cookie. pin: None where the page is read-only. idle: seconds without a
    board or a request, after which a session ends; 0 for never. moved: when a board last was put
    in or taken out, on time.monotonic's clock."""

    def __init__(self, pin: str | None, idle: float, moved: Callable[[], float]) -> None:
        self._pin = pin
        self._idle = idle
        self._moved = moved
        self._sessions: dict[str, Session] = {}
        self._wrong = 0
        self._closed_until = 0.0

    @property
    def writable(self) -> bool:
        return self._pin is not None

    def wait(self) -> float:
        """Seconds until a PIN is looked at again."""
        return max(0.0, self._closed_until - time.monotonic())

    def open(self, pin: str, operator: str) -> str | None:
        """The cookie of a new session; None for a wrong PIN."""
        if self._pin is None or self.wait():
            return None
        if not hmac.compare_digest(pin.encode(), self._pin.encode()):
            self._wrong += 1
            over = self._wrong - _FREE_TRIES
            if over >= 0:
                seconds = min(_FIRST_WAIT * 2 ** min(over, 16), _LONGEST_WAIT)
                self._closed_until = time.monotonic() + seconds
            return None
        self._wrong = 0
        while len(self._sessions) >= _MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        cookie = secrets.token_urlsafe(32)
        self._sessions[cookie] = Session(operator, time.monotonic())
        return cookie

    def session(self, request: web.Request, *, use: bool = False) -> Session | None:
        """The request's, unless it was idle. use: it is not idle now."""
        cookie = request.cookies.get(COOKIE, "")
        session = self._sessions.get(cookie)
        if session is None:
            return None
        now = time.monotonic()
        if self._idle and now - max(session.used, self._moved()) > self._idle:
            del self._sessions[cookie]
            return None
        if use:
            session.used = now
        return session

    def close(self, request: web.Request) -> None:
        self._sessions.pop(request.cookies.get(COOKIE, ""), None)


def host_is_ours(host: str, own: str) -> bool:
    """Whether a Host header names this computer. own: where the page listens.

    A page of another origin can have its own name lead here, but cannot make it a number.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in ("localhost", own.lower(), socket.gethostname().lower()):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_own_origin(request: web.Request) -> bool:
    """Whether the request was made by this page, as the browser says."""
    origin = request.headers.get("Origin", "")
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and parts.netloc.lower() == request.headers.get("Host", "").lower()
        and request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
    )

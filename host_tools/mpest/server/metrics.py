"""What the server counts, as Prometheus reads it."""

from collections.abc import Callable
from http import HTTPStatus

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from mpest.server.wire import Reply

# By status and no finer: texts hold what clients sent, and each label takes memory for ever.
_REASONS = {
    HTTPStatus.BAD_REQUEST: "malformed",
    HTTPStatus.UNAUTHORIZED: "wrong login",
    HTTPStatus.FORBIDDEN: "not allowed",
    HTTPStatus.NOT_FOUND: "no such operation",
    HTTPStatus.METHOD_NOT_ALLOWED: "wrong method",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "wrong content type",
    HTTPStatus.TOO_MANY_REQUESTS: "too many waiting",
    HTTPStatus.SERVICE_UNAVAILABLE: "not available",
}
# Why TLS was not set up, by what OpenSSL's words have in them; the first that fits.
_HANDSHAKES = {
    "certificate verify failed": "client certificate",
    "did not return a certificate": "client certificate",
    "unknown ca": "server not trusted",
    "alert bad certificate": "server not trusted",
    "alert certificate": "server not trusted",
    "alert": "other alert",
    "http": "not TLS",
    "wrong version number": "not TLS",
    "unsupported protocol": "version or cipher",
    "no shared cipher": "version or cipher",
    "version too low": "version or cipher",
    "unexpected eof": "left",
    "took too long": "late",
}
_OTHER = "other"
_FIRST_ERROR = 400


class Metrics:
    """The counts of one server since its start."""

    def __init__(self, waiting: Callable[[], float]) -> None:
        """`waiting` tells how many requests wait for approval now."""
        self._registry = CollectorRegistry()

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"mpest_{name}", what, ("operation", *labels), registry=self._registry)

        self._requests = counter("requests", "Requests that were answered.", "status")
        self._issued = counter("issued", "Answers that brought a certificate.")
        self._refused = counter("refused", "Requests that were refused.", "reason")
        self._later = counter("later", "Answers to come again later: 202.")
        self._seconds = Histogram(
            "mpest_request_seconds",
            "Seconds from the header of a request until its answer was ready.",
            ("operation",),
            registry=self._registry,
        )
        self._handshakes = Counter(
            "mpest_handshakes_failed",
            "TLS connections that were not set up.",
            ("reason",),
            registry=self._registry,
        )
        for reason in (*_HANDSHAKES.values(), _OTHER):
            self._handshakes.labels(reason)  # at 0 from the start
        Gauge(
            "mpest_waiting", "Requests that wait for approval.", registry=self._registry
        ).set_function(waiting)

    def count(
        self, operation: str | None, reply: Reply, seconds: float, *, issued: bool, login: bool
    ) -> None:
        """An answer; `operation` None for a path that names none, `issued` whether it brought a
        certificate, `login` whether the request came with an Authorization header."""
        name = operation or "none"
        self._requests.labels(name, str(reply.status)).inc()
        self._seconds.labels(name).observe(seconds)
        if reply.status == HTTPStatus.ACCEPTED:
            self._later.labels(name).inc()
        elif reply.status < _FIRST_ERROR:
            if issued:
                self._issued.labels(name).inc()
        else:
            reason = _REASONS.get(HTTPStatus(reply.status), "server")
            if reply.status == HTTPStatus.UNAUTHORIZED and not login:
                reason = "no login"
            self._refused.labels(name, reason).inc()

    def count_handshake(self, why: str) -> None:
        """A TLS handshake that failed, in whatever words."""
        reasons = (reason for part, reason in _HANDSHAKES.items() if part in why)
        self._handshakes.labels(next(reasons, _OTHER)).inc()

    def reply(self) -> Reply:
        """The page that Prometheus asks for."""
        return Reply(200, generate_latest(self._registry), CONTENT_TYPE_LATEST)

"""The EST server that issues: the station is its client, as a registration authority.

It is spoken to by `est` over CPython, the same client that boards have.
"""

import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mpest.exits import CliError, Exit
from mpest.sim import inputs
from mpest.station import own_certificate
from mpest.station.request import Request

SECONDS = 30  # for one exchange with the server, connecting included


class Later(CliError):
    """The server says not now: the same request again in `seconds`."""

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message, Exit.LATER)
        self.seconds = seconds


class Refused(CliError):
    """The server understood and said no; `status` is its HTTP status, 0 where TLS said it."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message, Exit.REFUSED)
        self.status = status


class Untrusted(CliError):
    """The server is not the one that the station trusts."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.NOT_TRUSTED)


class Unreachable(CliError):
    """The network failed, or what answers is no EST server."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.NETWORK)


class Authority:
    """An EST server at `url`, and what the station shows it. One connection is kept.

    trust: a file of CA certificates (PEM or DER), or "sha256:HEX" of one in the server's /cacerts,
    or of the server's own. certificate, key: files of the station's (PEM or DER), key_password of
    the key. user, password or token instead. Raises CliError for files that cannot be read;
    methods raise Later, Refused, Untrusted and Unreachable.
    """

    def __init__(
        self,
        url: str,
        trust: str,
        *,
        certificate: Path | str | None = None,
        key: Path | str | None = None,
        key_password: str | None = None,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        seconds: int = SECONDS,
    ) -> None:
        self.url = url
        self._trust = inputs.read_trust((trust,))
        self._shown: tuple[list[bytes], bytes] | None = None
        if certificate and key:
            self._shown = _identity(Path(certificate), Path(key), key_password)
        self._credentials: Any = None
        with self._operation("the station's settings"):
            auth = import_module("est.auth")
            import_module("est.url").parse(url)
            if user is not None:
                self._credentials = auth.Password(user, password or "")
            elif token is not None:
                self._credentials = auth.Token(token)
        self._seconds = seconds
        self._client: Any = None

    def cacerts(self) -> bytes:
        """The server's CA certificates, certs-only CMS (DER) as they came."""
        return self._answer("cacerts")

    def csrattrs(self) -> bytes:
        """What the server wants in requests (DER), b"" where it says nothing."""
        with self._operation("csrattrs"):
            client = self._connected()
            exchange = client.est.exchange("GET", "csrattrs", (204, 404))
            answer = client.run(exchange)
            return bytes(answer.content) if answer.response.status == 200 else b""

    def ask(
        self,
        subject: str,
        san: Iterable[str] = (),
        key_type: str = "",
        hardware: tuple[str, bytes] | None = None,
    ) -> Request:
        """A Request for these names, with what a board needs to know of this server now."""
        return Request(
            subject,
            tuple(san),
            key_type,
            hardware,
            cacerts=self.cacerts(),
            csrattrs=self.csrattrs(),
            date=self.date,
            now=int(time.time()),
        )

    def enroll(self, csr: bytes) -> bytes:
        """The answer to a CertificationRequest (DER) by simpleenroll: certs-only CMS (DER), which
        nobody has judged yet. The same request may be sent again whatever was cut."""
        return self._answer("simpleenroll", csr)

    def revoke(self, certificate: bytes) -> None:
        """Have the server revoke a certificate (DER), which another took the place of.

        By full CMC (RFC 5272 6.11), signed with the station's own certificate. Raises Refused
        where it shows none, or the server says no.
        """
        if not self._shown:
            raise Refused(
                "revocations are signed, and the station has no certificate: name one in the job, "
                "beside the password"
            )
        chain, key = self._shown
        cmc, parsed = import_module("est.cmc"), import_module("est.x509").Certificate
        with self._operation("fullcmc"):
            leaf = parsed(certificate)
            control = cmc.revoke_request(leaf.issuer, leaf.serial, "superseded")
            signer = import_module("est.keys").load(key)
            request = cmc.Request(signer, chain, (control,))
            client = self._connected()
            anchors = import_module("est.cms").issued(client.run(client.est.answer("cacerts")))
            sending = import_module("est.fullcmc").fullcmc(client.est, request.der)
            status, answer = client.run(sending)
            request.accept(answer, [parsed(one) for one in anchors], int(time.time()), status)

    @property
    def date(self) -> str:
        """The Date header that came with the last answer, "" without one."""
        return str(self._client.date or "") if self._client else ""

    def now(self) -> datetime:
        """The server's time, asked for with /cacerts. Raises Unreachable where it has none."""
        self.cacerts()
        try:
            return parsedate_to_datetime(self.date)
        except ValueError:
            raise Unreachable(f"{self.url} sends no Date") from None

    def close(self) -> None:
        """Close the connection; what is asked next opens another."""
        if self._client:
            self._client.close()

    def _answer(self, operation: str, csr: bytes | None = None) -> bytes:
        with self._operation(operation):
            client = self._connected()
            return bytes(client.run(client.est.answer(operation, csr)))

    def _connected(self) -> Any:
        if self._client is None:
            self._client = import_module("est.client").Client(
                self.url, self._anchors(), self._shown, self._credentials, self._seconds
            )
        return self._client

    def _anchors(self) -> list[bytes]:
        if anchors := self._trust.get("anchors"):
            return [bytes.fromhex(text) for text in anchors]
        with tempfile.TemporaryDirectory(prefix="mpest-station-") as folder:
            agent = import_module("est.agent").Agent(
                import_module("est.store").Store(folder),
                self.url,
                trust=bytes.fromhex(self._trust["fingerprint"]),
                timeout=self._seconds,
            )
            found: list[bytes] = agent.anchors()
            return found

    @contextmanager
    def _operation(self, operation: str) -> Iterator[None]:
        errors = import_module("est.errors")
        try:
            yield
        except errors.RetryLater as error:
            raise Later(f"{self.url}: {error}", error.seconds) from None
        except errors.Refused as error:
            raise Refused(f"{self.url}: {error}", error.status) from None
        except errors.NotTrusted as error:
            raise Untrusted(f"{self.url}: {error}") from None
        except errors.UsageError as error:
            raise CliError(f"{operation}: {error}") from None
        except errors.EstError as error:
            raise Unreachable(f"{self.url}: {error}") from None


def _identity(certificate: Path, key: Path, password: str | None) -> tuple[list[bytes], bytes]:
    """(chain of DER certificates, key in DER as est has it) from files. Raises CliError."""
    chain, private = own_certificate.load(certificate, key, password)
    plain = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    try:
        own: bytes = import_module("est.keys").load(plain).der()
    except import_module("est.errors").EstError as error:
        raise CliError(f"{key}: {error}") from None
    return [entry.public_bytes(Encoding.DER) for entry in chain], own

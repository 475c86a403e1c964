"""Who asks: HTTP credentials and TLS client certificates (RFC 7030 3.2.3, 3.3.2)."""

import contextlib
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import replace

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from mpest.server import principals
from mpest.server.config import ServerConfig
from mpest.server.database import Database
from mpest.server.digest import DigestError, DigestGate, quoted
from mpest.server.passwords import LoginCheck, ha1
from mpest.server.principals import Principal
from mpest.server.wire import Refused

_MAX_INTERMEDIATES = 256  # of factories, as clients show them; the oldest go first
_WITH_INTERMEDIATE = 3  # certificates of a path that has one


class Authenticator:
    """Checks one request at a time against the configured way to authenticate."""

    def __init__(self, config: ServerConfig, database: Database) -> None:
        self._config = config
        self._database = database
        self._digest = DigestGate()
        self._check = LoginCheck()
        self._below: dict[x509.Certificate, x509.Certificate] = {}

    async def login(self, authorization: str | None) -> str | None:
        """The user whose Basic password is right, or the name of the right token; None for all
        else, of which `principal` tells what is wrong. Raises Refused if too many log in.
        """
        try:
            scheme, credentials = _split(authorization or "")
        except UnicodeDecodeError:
            return None
        match self._config.auth, scheme:
            case "basic", "basic":
                user, password = _user_and_password(credentials) or ("", "")
                right = await self._check.password(self._config.users, user, password)
                return user if right else None
            case "token", "bearer":
                return await self._check.token(self._config.tokens, credentials)
        return None

    def by_certificate(self, client: x509.Certificate | None) -> x509.Certificate:
        """The client certificate, which must be ours and in force. Raises Refused."""
        if client is None:
            raise Refused(403, "a TLS client certificate of this CA is required")
        objection = self._database.objection(client)
        if objection:
            raise Refused(403, f"the TLS client certificate {objection}")
        return client

    def holder(self, client: x509.Certificate) -> Principal:
        """Whose this certificate of ours is."""
        issued = self._database.find(client.serial_number)
        whose = issued.whose if issued else principals.ANONYMOUS
        return replace(principals.of_owner(whose, self.factories), certificate=client)

    def learn(self, path: Sequence[x509.Certificate]) -> None:
        """Keep which intermediates are a factory's. `path` is what `tls.client_path` gives: for a
        session that is resumed it has none."""
        if len(path) < _WITH_INTERMEDIATE or path[1] in self._below:
            return
        ca = next((above for above in path[2:] if above in self.factories), None)
        if ca is not None:
            self._below[path[1]] = ca
            if len(self._below) > _MAX_INTERMEDIATES:
                del self._below[next(iter(self._below))]

    def _factory_of(self, client: x509.Certificate) -> x509.Certificate | None:
        # TLS has verified it up to one of the CAs it knows; this says which.
        if self._database.find(client.serial_number) is not None:
            return None
        issuers = [(ca, ca) for ca in self.factories]
        if client.version != x509.Version.v1:  # behind a proxy it is not judged by a path
            issuers += list(self._below.items())
        for issuer, ca in issuers:
            with contextlib.suppress(ValueError, TypeError, InvalidSignature):
                client.verify_directly_issued_by(issuer)
                return ca
        return None

    @property
    def factories(self) -> list[x509.Certificate]:
        """The CAs whose certificates enrol."""
        pem = (self._config.factory_ca or "").encode()
        return x509.load_pem_x509_certificates(pem) if pem else []

    def principal(
        self,
        authorization: str | None,
        *,
        method: str,
        target: str,
        client: x509.Certificate | None,
        login: str | None,
        faults: set[str],
    ) -> Principal:
        """Who enrols, for simpleenroll. Raises Refused.

        `authorization` is the header's value, `target` the request target as sent, `login` what
        `login` found.
        """
        match self._config.auth:
            case "none":
                return Principal(principals.ANONYMOUS, principals.ANONYMOUS)
            case "mtls":
                ca = self._factory_of(client) if client else None
                if client and ca:
                    return principals.from_factory(client.subject, ca, client)
                return self.holder(self.by_certificate(client))
            case "basic":
                return self._user(*self._basic(authorization, login))
            case "token":
                return self._token(authorization, login)
            case "digest":
                name = self._by_digest(authorization, method, target, faults)
                return self._user(name, self._config.users.get(name, ""))

    def _user(self, name: str, password: str) -> Principal:
        """Who has proven to be this user, by a password or for Digest what is kept of it."""
        if name not in self._config.once:
            return principals.user(name)
        # The same however the file keeps it.
        alike = ha1(password, "SHA-256", name, self._config.realm)
        return principals.user(name, alike or password)

    def challenge(self, text: str, faults: set[str], *, stale: bool = False) -> Refused:
        """A 401 that offers the configured scheme (Basic if there is none)."""
        realm = quoted(self._config.realm)
        match self._config.auth:
            case "digest":
                algorithms = self._algorithms(faults)
                qop = "digest-no-qop" not in faults
                offers = self._digest.challenges(realm, algorithms, stale=stale, qop=qop)
            case "token":
                offers = [f"Bearer realm={realm}"]
            case _:
                offers = [f'Basic realm={realm}, charset="UTF-8"']
        return Refused(401, text, tuple(("WWW-Authenticate", offer) for offer in offers))

    def _basic(self, authorization: str | None, login: str | None) -> tuple[str, str]:
        """User and password."""
        given = _user_and_password(self._credentials(authorization, "Basic"))
        if given is None:
            raise self.challenge("the Basic credentials can't be read", set())
        if login is None:
            raise self.challenge("user name or password is wrong", set())
        return login, given[1]

    def _token(self, authorization: str | None, login: str | None) -> Principal:
        self._credentials(authorization, "Bearer")
        if login is None:
            raise self.challenge("the token is not valid", set())
        return principals.token(login)

    def _by_digest(
        self, authorization: str | None, method: str, target: str, faults: set[str]
    ) -> str:
        answer = self._credentials(authorization, "Digest", faults)
        try:
            return self._digest.check(
                answer,
                method=method,
                target=target,
                users=self._config.users,
                realm=self._config.realm,
                algorithms=self._algorithms(faults),
                nonce_lifetime=self._config.nonce_lifetime,
                qop="digest-no-qop" not in faults,
            )
        except DigestError as error:
            raise self.challenge(str(error), faults, stale=error.stale) from error

    def _algorithms(self, faults: set[str]) -> list[str]:
        if "digest-unknown-algorithm" in faults:
            return ["WHIRLPOOL"]
        return list(self._config.digest_algorithms)

    def _credentials(
        self, authorization: str | None, scheme: str, faults: set[str] | None = None
    ) -> str:
        """What follows the scheme in the header. Raises Refused."""
        faults = faults or set()
        if not authorization:
            raise self.challenge("authentication is required", faults)
        try:
            given, credentials = _split(authorization)
        except UnicodeDecodeError as error:
            raise self.challenge("the Authorization header is not UTF-8", faults) from error
        if given != scheme.lower():
            raise self.challenge(f"use {scheme} authentication", faults)
        return credentials


def _split(authorization: str) -> tuple[str, str]:
    """The scheme in lower case, and what follows. Raises UnicodeDecodeError."""
    scheme, _, credentials = authorization.partition(" ")
    return scheme.lower(), credentials.strip().encode("utf-8", "surrogateescape").decode()


def _user_and_password(credentials: str) -> tuple[str, str] | None:
    """Those of Basic (RFC 7617 2), in UTF-8 or in the ISO-8859-1 of Bouncy Castle."""
    try:
        decoded = b64decode(credentials, validate=True)
    except ValueError:
        return None
    try:
        text = decoded.decode()
    except UnicodeDecodeError:
        text = decoded.decode("iso-8859-1")
    user, colon, password = text.partition(":")
    return (user, password) if colon else None

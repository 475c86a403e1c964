"""HTTP Digest access authentication (RFC 7616): MD5 and SHA-256, qop=auth."""

import hmac
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from mpest.server.passwords import DIGESTS, ha1

_MAX_NONCES = 10_000  # the oldest are forgotten, and answered as stale
_PARAMETER = re.compile(r'\s*([A-Za-z0-9*_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*(?:,|$)')


@dataclass
class _Nonce:
    created: float
    count: int = 0
    """The highest nc seen."""


class DigestError(Exception):
    """The answer to the challenge is not good; `stale` if only the nonce was too old."""

    def __init__(self, text: str, stale: bool = False) -> None:
        super().__init__(text)
        self.stale = stale


class DigestGate:
    """Makes challenges and checks the answers; nonces live as long as the object."""

    def __init__(self) -> None:
        self._nonces: dict[str, _Nonce] = {}
        self._opaque = secrets.token_hex(8)

    def challenges(
        self, realm: str, algorithms: list[str], *, stale: bool = False, qop: bool = True
    ) -> list[str]:
        """One WWW-Authenticate value for each algorithm, with a new nonce. `realm` is `quoted`."""
        while len(self._nonces) >= _MAX_NONCES:
            del self._nonces[next(iter(self._nonces))]
        nonce = secrets.token_urlsafe(24)
        self._nonces[nonce] = _Nonce(time.monotonic())
        end = (', qop="auth"' if qop else "") + (", stale=true" if stale else "")
        return [
            f'Digest realm={realm}, nonce="{nonce}", opaque="{self._opaque}", '
            f'algorithm="{algorithm}"{end}'
            for algorithm in algorithms
        ]

    def check(
        self,
        answer: str,
        *,
        method: str,
        target: str,
        users: Mapping[str, str],
        realm: str,
        algorithms: list[str],
        nonce_lifetime: float,
        qop: bool = True,
    ) -> str:
        """Return the user's name. `answer` is what follows `Digest ` in the Authorization
        header, `target` the request target as it was sent, `users` say what is kept of each
        password (`passwords`). Raises DigestError.
        """
        given = _parse(answer)
        algorithm = given.get("algorithm", "MD5")
        expected = {"realm": realm, "uri": target}
        if "opaque" in given:  # libest leaves it out
            expected["opaque"] = self._opaque
        if qop:
            expected["qop"] = "auth"
        for name, value in expected.items():
            if given.get(name) != value:
                raise DigestError(f"Digest {name} is {given.get(name)!r}, expected {value!r}")
        if algorithm not in algorithms or algorithm not in DIGESTS:
            raise DigestError(f"Digest algorithm {algorithm!r} was not offered")
        user = given.get("username", "")
        secret = ha1(users.get(user, ""), algorithm, user, realm)
        wanted = _response(given, algorithm, secret or "", method)
        matches = hmac.compare_digest(wanted, given.get("response", "").encode())
        if user not in users or secret is None or not matches:
            raise DigestError("Digest user name or response is wrong")
        self._use_nonce(given, nonce_lifetime, qop)
        return user

    def _use_nonce(self, given: dict[str, str], lifetime: float, qop: bool) -> None:
        nonce = self._nonces.get(given["nonce"])
        if nonce is None or time.monotonic() - nonce.created >= lifetime:
            raise DigestError("the Digest nonce is too old", stale=True)
        if not qop:
            return
        if not re.fullmatch("[0-9A-Fa-f]{8}", given["nc"]):
            raise DigestError("Digest nc is not eight hexadecimal digits")
        count = int(given["nc"], 16)
        if count <= nonce.count:
            raise DigestError(f"Digest nc {given['nc']} was used before: a replay")
        nonce.count = count


def quoted(text: str) -> str:
    """`text` as a quoted-string (RFC 9110 5.6.4)."""
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _parse(answer: str) -> dict[str, str]:
    given: dict[str, str] = {}
    position = 0
    while position < len(answer):
        match = _PARAMETER.match(answer, position)
        if match is None:
            raise DigestError("the Digest header can't be read")
        name, quoted, token = match.groups()
        if name.lower() in given:
            raise DigestError(f"Digest {name} comes twice")
        given[name.lower()] = token if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        position = match.end()
    return given


def _response(given: dict[str, str], algorithm: str, secret: str, method: str) -> bytes:
    """`secret` is HA1."""

    def digest(*parts: str) -> str:
        text: str = DIGESTS[algorithm](":".join(parts).encode()).hexdigest()
        return text

    try:
        ha2 = digest(method, given["uri"])
        middle = [given["nonce"]]
        if "qop" in given:
            middle += [given["nc"], given["cnonce"], given["qop"]]
        return digest(secret, *middle, ha2).encode()
    except KeyError as missing:
        raise DigestError(f"Digest {missing.args[0]} is missing") from missing

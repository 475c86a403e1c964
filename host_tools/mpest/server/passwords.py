"""Passwords and tokens at rest, and their check.

What is kept of one is a text: a hash by Argon2id (RFC 9106), for Digest its HA1
(RFC 7616 3.4.2), or the secret itself.
"""

import asyncio
import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import hash_secret

from mpest.server.wire import Refused

_Result = TypeVar("_Result")

# OWASP's least for Argon2id. A check takes 19 MiB and some 20 ms.
_TIME_COST, _MEMORY_KIB, _LANES = 2, 19456, 1
# Of a hash that another program made: the default of argon2-cffi.
_MAX_MEMORY_KIB = 65536
_LEAST_BYTES = 8  # of salt and hash, where Argon2 begins
# Checks at once, so that they take 76 MiB however many clients log in.
_THREADS = 4
# Logins that wait for a thread. Further clients are told to come back.
_MAX_WAITING = 256
_RETRY_SECONDS = 5
# Each salt in a file of tokens costs a hash at each login.
_MAX_SALTS = 8

_ARGON2 = "$argon2"
_HA1 = "$ha1$"
_HASHER = PasswordHasher(_TIME_COST, _MEMORY_KIB, _LANES)
DIGESTS: dict[str, Any] = {
    "MD5": hashlib.md5,
    "SHA-256": hashlib.sha256,
}
"""The hashes of HTTP Digest by its names for them."""


def is_hash(kept: str) -> bool:
    """Whether it is a hash by Argon2."""
    return kept.startswith(_ARGON2)


def is_ha1(kept: str) -> bool:
    """Whether it is for Digest alone."""
    return kept.startswith(_HA1)


def check_kept(kept: str) -> str:
    """The same, if a login can be checked against it. Raises ValueError in plain words.

    Of a token that has a name it is what follows the colon.
    """
    if is_ha1(kept) and not _ha1s(kept):
        raise ValueError(f"what begins with {_HA1} must be HA1 of MD5 or SHA-256")
    if is_hash(kept):
        try:
            memory = extract_parameters(kept).memory_cost
            for part in kept.split("$")[-2:]:
                _unpadded(part)
        except (InvalidHashError, ValueError) as error:
            raise ValueError(f"what begins with {_ARGON2} must be a hash by Argon2") from error
        if memory > _MAX_MEMORY_KIB:
            raise ValueError(f"its hash takes more than {_MAX_MEMORY_KIB // 1024} MiB to check")
    return kept


def hashed(secret: str, alike: str | None = None) -> str:
    """What is kept of a password or a token; with the salt of the hash `alike`, if given.

    Tokens share a salt, for they come without a name: so a login takes one hash.
    """
    return _hash_alike(alike, secret) if alike else _HASHER.hash(secret)


def digest_entry(user: str, password: str, realm: str) -> str:
    """What is kept of a password for Digest: HA1 of each algorithm in one `realm`."""
    found = (f"{name}:{ha1(password, name, user, realm)}" for name in DIGESTS)
    return _HA1 + "$".join(found)


def ha1(kept: str, algorithm: str, user: str, realm: str) -> str | None:
    """HA1 in lower-case hex (RFC 7616 3.4.2); None if what is kept does not give it."""
    if is_ha1(kept):
        return _ha1s(kept).get(algorithm)
    if is_hash(kept):
        return None
    made: str = DIGESTS[algorithm](f"{user}:{realm}:{kept}".encode()).hexdigest()
    return made


def token_name(kept: str) -> str:
    """What a line of a token file calls its token, or # and a digest of the line."""
    name, colon, _ = kept.partition(":")
    return name if colon else "#" + hashlib.sha256(kept.encode()).hexdigest()[:16]


def check_tokens(tokens: set[str]) -> set[str]:
    """The same, unless the hashes have too many salts. Raises ValueError in plain words."""
    if len(_by_salt(tokens)) > _MAX_SALTS:
        raise ValueError(
            f"the hashes of tokens have more than {_MAX_SALTS} salts: hash them all at once"
        )
    return tokens


class LoginCheck:
    """Compares what clients send with what is kept; Argon2 runs in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, "login")
        self._waiting = 0

    async def password(self, users: Mapping[str, str], user: str, password: str) -> bool:
        """Whether it is the user's. Whom nobody knows costs as much as a wrong password.

        Raises Refused if too many wait.
        """
        kept = users.get(user, "")
        compared = kept if is_hash(kept) else next(filter(is_hash, users.values()), None)
        same = compared is not None and await self._run(_verify, compared, password)
        if is_hash(kept):
            return same
        return _equal(kept, password) and user in users and not is_ha1(kept)

    async def token(self, tokens: Collection[str], token: str) -> str | None:
        """The name of this token, None if it is not among `tokens`. Raises Refused."""
        kept = {entry.rpartition(":")[2]: token_name(entry) for entry in tokens}
        plain = {secret: name for secret, name in kept.items() if secret and not is_hash(secret)}
        names = [name for secret, name in plain.items() if _equal(secret, token)]
        for hashes in _by_salt(kept).values():
            made = await self._run(_hash_alike, hashes[0], token)
            names += [kept[hashed] for hashed in hashes if _equal(hashed, made)]
        return names[0] if names else None

    async def _run(self, check: Callable[[str, str], _Result], kept: str, given: str) -> _Result:
        if self._waiting >= _MAX_WAITING:
            later = (("Retry-After", str(_RETRY_SECONDS)),)
            raise Refused(503, "too many clients log in at once: come back later", later)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, check, kept, given)
        finally:
            self._waiting -= 1


def _by_salt(tokens: Iterable[str]) -> dict[str, list[str]]:
    """The hashes among `tokens`, by their parameters and salt."""
    hashes: dict[str, list[str]] = {}
    for entry in tokens:
        kept = entry.rpartition(":")[2]
        if is_hash(kept):
            hashes.setdefault(kept.rpartition("$")[0], []).append(kept)
    return hashes


def _equal(kept: str, given: str) -> bool:
    return hmac.compare_digest(kept.encode(), given.encode())


def _verify(kept: str, given: str) -> bool:
    try:
        return _HASHER.verify(kept, given)
    except VerificationError:
        return False


def _hash_alike(kept: str, given: str) -> str:
    """The hash of `given` with the salt and the parameters of another."""
    wanted = extract_parameters(kept)
    return hash_secret(
        given.encode(),
        _unpadded(kept.split("$")[-2]),
        wanted.time_cost,
        wanted.memory_cost,
        wanted.parallelism,
        wanted.hash_len,
        wanted.type,
        wanted.version,
    ).decode()


def _unpadded(text: str) -> bytes:
    """What base64 without padding says, eight bytes or more. Raises ValueError."""
    value = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    if len(value) < _LEAST_BYTES:
        raise ValueError("too short")
    return value


def _ha1s(kept: str) -> dict[str, str]:
    """HA1 by algorithm; nothing if the text is none of `digest_entry`."""
    pairs = [part.partition(":")[::2] for part in kept.removeprefix(_HA1).split("$")]
    good = all(
        name in DIGESTS and re.fullmatch(f"[0-9a-f]{{{2 * DIGESTS[name]().digest_size}}}", value)
        for name, value in pairs
    )
    return dict(pairs) if good else {}

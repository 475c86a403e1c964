"""Secrets on record: hashes that tell whether one is right, and what opens by one alone."""

import base64
import hashlib
import hmac
import os

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_SALT_BYTES = 16
# scrypt takes 16 MiB and some 50 ms so: codes that people think up are short.
_COST, _BLOCK, _LANES = 2**14, 8, 1


def hashed(secret: str) -> str:
    """A salted hash of `secret`: `scrypt:SALT:HASH` in hexadecimal."""
    return _with(os.urandom(_SALT_BYTES), secret)


def fits(secret: str, record: str | None) -> bool:
    """Whether `record` is of this secret."""
    try:
        _, salt, _ = (record or "").split(":")
        wanted = _with(bytes.fromhex(salt), secret)
    except ValueError:
        return False
    return hmac.compare_digest(wanted, record or "")


def _with(salt: bytes, secret: str) -> str:
    octets = secret.encode("utf-8", "surrogatepass")
    digest = hashlib.scrypt(octets, salt=salt, n=_COST, r=_BLOCK, p=_LANES)
    return f"scrypt:{salt.hex()}:{digest.hex()}"


def seal(content: bytes, by: bytes) -> bytes:
    """`content` encrypted and authenticated; `by`: octets that nobody guesses."""
    return _fernet(by).encrypt(content)


def unseal(sealed: bytes, by: bytes) -> bytes | None:
    """What was sealed; None if `by` other octets, or damaged."""
    try:
        return _fernet(by).decrypt(sealed)
    except InvalidToken:
        return None


def _fernet(by: bytes) -> Fernet:
    key = HKDF(hashes.SHA256(), 32, None, b"mpest sealed key").derive(by)
    return Fernet(base64.urlsafe_b64encode(key))

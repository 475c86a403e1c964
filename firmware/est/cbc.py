"""AES-CBC with PKCS #7 padding (RFC 5652 6.3), keys of 128 or 256 bits."""

import cryptolib
from micropython import const

from est.errors import PeerError, UsageError

_CBC = const(2)


def encrypt(key, iv, data):
    """`data` (bytes) padded and encrypted. iv: 16 random bytes, never used before with `key`."""
    padding = 16 - len(data) % 16
    return _aes(key, iv).encrypt(data + bytes((padding,)) * padding)


def decrypt(key, iv, data):
    """What `encrypt` was given. Raises PeerError, one and the same whatever is wrong.

    Nothing proves that the data are unchanged: who lets others try must not tell of the error.
    """
    if not data or len(data) % 16 or len(iv) != 16:
        raise PeerError("AES-CBC: length")
    out = _aes(key, iv).decrypt(data)
    padding = out[-1]
    wrong = not 0 < padding <= 16
    for at in range(1, 17):
        wrong |= at <= padding and out[-at] != padding
    if wrong:
        raise PeerError("AES-CBC: the wrong key, or changed data")
    return out[:-padding]


def _aes(key, iv):
    if len(key) not in (16, 32):
        raise UsageError("AES-CBC: only keys of 128 and 256 bits")
    return cryptolib.aes(key, _CBC, iv)

"""AES key wrap (RFC 3394) with keys of 128 or 256 bits, which are what cryptolib has."""

import cryptolib
from micropython import const

from est import hashes
from est.errors import PeerError, UsageError

_ECB = const(1)
_CHECK = const(b"\xa6\xa6\xa6\xa6\xa6\xa6\xa6\xa6")
# 512 bytes: keys, not messages.
_MAX_WORDS = const(64)


def wrap(kek, key):
    """`key`, of 16 bytes or more in multiples of 8, wrapped by `kek`: 8 bytes longer."""
    if not _fits(len(key)):
        raise UsageError("AES key wrap: length of the key")
    out = bytearray(_CHECK + key)
    aes = _aes(kek)
    words = len(key) // 8
    for step in range(6 * words):
        at = 8 * (step % words + 1)
        block = aes.encrypt(bytes(out[:8] + out[at : at + 8]))
        out[:8] = _counted(block, step)
        out[at : at + 8] = block[8:]
    return bytes(out)


def unwrap(kek, data):
    """The key in `data`. Raises PeerError where it was not wrapped by `kek` or has changed."""
    if not _fits(len(data) - 8):
        raise PeerError("AES key wrap: length of the wrapped key")
    out = bytearray(data)
    aes = _aes(kek)
    words = len(data) // 8 - 1
    for step in range(6 * words - 1, -1, -1):
        at = 8 * (step % words + 1)
        block = aes.decrypt(_counted(out, step) + bytes(out[at : at + 8]))
        out[:8] = block[:8]
        out[at : at + 8] = block[8:]
    if not hashes.equal(out[:8], _CHECK):
        raise PeerError("AES key wrap: the wrong key, or changed data")
    return bytes(out[8:])


def _fits(size):
    return size % 8 == 0 and 2 <= size // 8 <= _MAX_WORDS


def _aes(kek):
    if len(kek) not in (16, 32):
        raise UsageError("AES key wrap: only keys of 128 and 256 bits")
    return cryptolib.aes(kek, _ECB)


def _counted(block, step):
    # The first word with the number of the step, from 1, mixed in.
    return (int.from_bytes(block[:8], "big") ^ step + 1).to_bytes(8, "big")

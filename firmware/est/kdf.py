"""Keys made from secrets: the KDF of ANSI X9.63 and PBKDF2."""

from micropython import const

from est import hashes
from est.errors import UsageError

# Three times what OWASP advises; minutes on a board.
_MAX_ITERATIONS = const(2000000)
# The longest key in these protocols has 64 bytes.
_MAX_LENGTH = const(256)
# HMACs in a step: some milliseconds.
_STEP = const(16)


def x963(size, secret, length, info=b""):
    """`length` bytes from the shared `secret` by the hash of `size` (SEC 1 3.6.1)."""
    if length > _MAX_LENGTH:
        raise UsageError("key derivation: output too long")
    out = b""
    count = 0
    while len(out) < length:
        count += 1
        out += hashes.new(size, secret + count.to_bytes(4, "big") + info).digest()
    return out[:length]


def pbkdf2(size, password, salt, iterations, length):
    """`length` bytes from `password` with HMAC over the hash of `size` (RFC 8018 5.2).

    In steps, for est.steps. Raises UsageError for more work than a board should be asked for.
    """
    if length > _MAX_LENGTH or not 0 < iterations <= _MAX_ITERATIONS:
        raise UsageError("PBKDF2: too many iterations, or output too long")
    inner, outer = hashes.hmac_blocks(size, password)
    out = b""
    count = 0
    while len(out) < length:
        count += 1
        value = salt + count.to_bytes(4, "big")
        mixed = 0
        for iteration in range(iterations):
            state = hashes.new(size, inner)
            state.update(value)
            value = state.digest()
            state = hashes.new(size, outer)
            state.update(value)
            value = state.digest()
            mixed ^= int.from_bytes(value, "big")
            if iteration % _STEP == 0:
                yield
        out += mixed.to_bytes(size, "big")
    return out[:length]

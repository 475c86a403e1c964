"""The SHA family, each named by the size of its digest in bytes, and HMAC (RFC 2104) over them."""

import hashlib

from est.errors import UsageError


def new(size, data=b""):
    """A hash object with `update` and `digest`: SHA-1 (20), SHA-256 (32), SHA-384 or SHA-512."""
    if size == 20:
        return hashlib.sha1(data)
    if size == 32:
        return hashlib.sha256(data)
    if size not in (48, 64):
        raise UsageError("no hash of %d bytes" % size)
    from est import sha512

    return (sha512.sha384 if size == 48 else sha512.sha512)(data)


def hmac(size, key, *parts):
    """HMAC of the joined `parts` (bytes), `size` bytes."""
    block = 64 if size <= 32 else 128
    if len(key) > block:
        key = new(size, key).digest()
    key = key + bytes(block - len(key))
    for pad in (0x36, 0x5C):
        state = new(size, bytes([octet ^ pad for octet in key]))
        for part in parts:
            state.update(part)
        parts = (state.digest(),)
    return parts[0]


def equal(first, second):
    """Whether two byte strings are the same, in a time that depends on their lengths alone."""
    different = len(first) ^ len(second)
    for a, b in zip(first, second):
        different |= a ^ b
    return not different

"""The SHA family, each named by the size of its digest in bytes, and HMAC (RFC 2104) over them."""

import hashlib

from micropython import const

from est.errors import Unsupported, UsageError

_SHA1 = const(b"\x2b\x0e\x03\x02\x1a")
_SHA2 = const(b"\x60\x86\x48\x01\x65\x03\x04\x02")
_SIZES = const(b"\x14\x20\x30\x40")


def new(size, data=b""):
    """A hash object with `update` and `digest`: SHA-1 (20), SHA-256 (32), SHA-384 or SHA-512."""
    if size == 20:
        return hashlib.sha1(data)
    if size == 32:
        return hashlib.sha256(data)
    oid(size)
    from est import sha512

    return (sha512.sha384 if size == 48 else sha512.sha512)(data)


def oid(size):
    """Object identifier (content octets, RFC 4055 2.1) of the hash with digests of `size`."""
    if size not in _SIZES:
        raise UsageError("no hash of %d bytes" % size)
    return _SHA1 if size == 20 else _SHA2 + bytes((size // 16 - 1,))


def size_of(identifier):
    """Digest size of the hash named by content octets. Raises Unsupported for another."""
    for size in _SIZES:
        if oid(size) == identifier:
            return size
    raise Unsupported("hash not supported")


def hmac(size, key, *parts):
    """HMAC of the joined `parts` (bytes), `size` bytes."""
    for block in hmac_blocks(size, key):
        state = new(size, block)
        for part in parts:
            state.update(part)
        parts = (state.digest(),)
    return parts[0]


def hmac384(key, *parts):
    """HMAC-SHA-384 of the joined `parts`, 48 bytes."""
    return hmac(48, key, *parts)


def hmac_blocks(size, key):
    """What HMAC hashes before the message, and before the hash of that: two blocks (bytes)."""
    block = 64 if size <= 32 else 128
    if len(key) > block:
        key = new(size, key).digest()
    key = key + bytes(block - len(key))
    return [bytes([octet ^ pad for octet in key]) for pad in (0x36, 0x5C)]


def equal(first, second):
    """Whether two byte strings are the same, in a time that depends on their lengths alone."""
    different = len(first) ^ len(second)
    for a, b in zip(first, second):
        different |= a ^ b
    return not different

"""AES-GCM (SP 800-38D) over cryptolib's ECB, keys of 128 or 256 bits: decrypting only."""

import cryptolib
from micropython import const

from est import hashes
from est.errors import PeerError, UsageError

_ECB = const(1)
# RFC 5084 3.2 allows no shorter one.
_MIN_TAG = const(12)
# Blocks in a step: some milliseconds.
_STEP = const(4)
# x^128 = x^7 + x^2 + x + 1, in GCM's order of bits.
_R = const(0xE1 << 120)


def decrypt(key, nonce, data, tag, associated=b""):
    """The text of `data` (bytes), in steps, for est.steps.

    associated: what `tag` vouches for besides. Raises PeerError where it does not fit, and then
    nothing was decrypted.
    """
    if len(key) not in (16, 32):
        raise UsageError("AES-GCM: only keys of 128 and 256 bits")
    if not nonce or not _MIN_TAG <= len(tag) <= 16:
        raise PeerError("AES-GCM: length of nonce or tag")
    aes = cryptolib.aes(key, _ECB)
    table = _table(int.from_bytes(aes.encrypt(bytes(16)), "big"))
    if len(nonce) == 12:
        counter = int.from_bytes(nonce, "big") << 32 | 1
    else:
        counter = yield from _hash(table, b"", nonce)
    mask = int.from_bytes(aes.encrypt(counter.to_bytes(16, "big")), "big")
    mask ^= yield from _hash(table, associated, data)
    if not hashes.equal(mask.to_bytes(16, "big")[: len(tag)], tag):
        raise PeerError("AES-GCM: the wrong key, or changed data")
    out = b""
    top = counter >> 32 << 32
    for at in range(0, len(data), 16):
        counter = top | counter + 1 & 0xFFFFFFFF
        block = data[at : at + 16]
        stream = aes.encrypt(counter.to_bytes(16, "big"))[: len(block)]
        mixed = int.from_bytes(block, "big") ^ int.from_bytes(stream, "big")
        out += mixed.to_bytes(len(block), "big")
        if at % (16 * _STEP) == 0:
            yield
    return out


def _times_x(value, power):
    for _ in range(power):
        value = value >> 1 ^ _R * (value & 1)
    return value


def _table(h):
    # h times each polynomial of degree 3, by its four bits.
    table = [0]
    for power in (3, 2, 1, 0):
        table += [_times_x(h, power) ^ entry for entry in table]
    return table


def _hash(table, associated, data):
    # GHASH, in steps. For a nonce it takes the nonce as the data.
    lengths = len(associated) << 67 | len(data) << 3
    over = [_times_x(bits, 4) for bits in range(16)]
    out = 0
    for part in (associated, data, lengths.to_bytes(16, "big")):
        for at in range(0, len(part), 16):
            block = part[at : at + 16]
            out ^= int.from_bytes(block, "big") << 8 * (16 - len(block))
            product = 0
            for place in range(0, 128, 4):
                product = product >> 4 ^ over[product & 15] ^ table[out >> place & 15]
            out = product
            if at % (16 * _STEP) == 0:
                yield
    return out

"""Keys that came encrypted to an est.rsa_key.RsaKey: PKCS #1 v1.5 and OAEP (RFC 8017 7).

In steps, for est.steps. As far as an interpreter allows, the padding is examined by the same
operations whatever it holds, and a failure shows in nothing but the result.
"""

from micropython import const

from est import asn1, hashes
from est.errors import PeerError, Unsupported, UsageError

_SPECIFIED = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x09")


def pkcs1(key, encrypted, size):
    """The `size` bytes that `encrypted` holds, by PKCS #1 v1.5.

    Where the padding is wrong or holds another number of bytes, this is no error but gives bytes
    that nobody can foresee, always the same for the same `encrypted` (RFC 3218 2.3.2): what they
    should decrypt then fails, and an attacker who sends variants learns nothing. Raises PeerError
    for what is no number below the modulus, UsageError for a `size` that cannot be.
    """
    if not 0 <= size <= key.size - 11:
        raise UsageError("RSA: no room for so many bytes")
    block = yield from _decrypt(key, encrypted)
    secret = hashes.new(32, key.der()).digest()
    decoy = b""
    while len(decoy) < size:
        decoy += hashes.hmac(32, secret, bytes((len(decoy) // 32,)), encrypted)
    cut = key.size - size
    wrong = block[0] | block[1] ^ 2 | block[cut - 1]
    for at in range(2, cut - 1):
        wrong |= not block[at]
    mask = 0xFF * (not wrong)
    return bytes([block[cut + at] & mask | decoy[at] & ~mask for at in range(size)])


def parameters(fields):
    """(size, mask_size, label) for `oaep` from a der.Reader at RSAES-OAEP-params (RFC 4055 4.1).

    Raises Unsupported for functions that are not supported, DerError for malformed ones.
    """
    from est import rsa_pss

    inner = fields.enter()
    size, mask_size = rsa_pss.hash_and_mask(inner)
    label = b""
    source = inner.optional(0xA2)
    inner.end()
    if source:
        function = source.enter()
        source.end()
        if function.oid() != _SPECIFIED:
            raise Unsupported("RSAES-OAEP: source of the label not supported")
        label = function.bytes(asn1.OCTET_STRING)
        function.end()
    return size, mask_size, label


def oaep(key, encrypted, size=20, mask_size=20, label=b""):
    """The bytes that `encrypted` holds, by RSAES-OAEP with the hash of `size`.

    mask_size: of MGF1's hash. Raises PeerError, one and the same whatever is wrong inside.
    """
    from est import rsa_pss

    block = yield from _decrypt(key, encrypted)
    length = key.size - size - 1
    data = int.from_bytes(block[1 + size :], "big")
    seed = int.from_bytes(block[1 : 1 + size], "big")
    seed ^= rsa_pss.mgf1(mask_size, block[1 + size :], size)
    data ^= rsa_pss.mgf1(mask_size, seed.to_bytes(size, "big"), length)
    data = data.to_bytes(length, "big")
    wrong = block[0]
    for a, b in zip(hashes.new(size, label).digest(), data):
        wrong |= a ^ b
    # Zeros, a one, the message: `start` stays where the first octet that is not zero lies.
    start = 0
    before = 1
    for at in range(size, length):
        before &= not data[at]
        start += before
    start += size
    wrong |= start >= length or data[start] ^ 1
    if wrong:
        raise PeerError("RSA: cannot decrypt, the key is another or the data have changed")
    return data[start + 1 :]


def _decrypt(key, encrypted):
    value = int.from_bytes(encrypted, "big")
    if len(encrypted) != key.size or value >= key.n:
        raise PeerError("RSA: not encrypted to this key")
    return (yield from key.power(value)).to_bytes(key.size, "big")

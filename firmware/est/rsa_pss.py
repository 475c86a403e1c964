"""RSASSA-PSS (RFC 8017 8.1, 9.1) with MGF1 over the hash that made the digest."""

from micropython import const

from est import asn1, der, hashes
from est.errors import Unsupported

_MGF1 = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08")


def mgf1(size, seed, length):
    """`length` bytes from `seed` with the hash of `size` (RFC 8017 B.2.1), as a number."""
    mask = b""
    count = 0
    while len(mask) < length:
        mask += hashes.new(size, seed + count.to_bytes(4, "big")).digest()
        count += 1
    return int.from_bytes(mask[:length], "big")


def encode(digest, bits, salt):
    """EMSA-PSS of `digest` for a modulus of `bits`, with the bytes `salt`, as a number."""
    size = len(digest)
    proof = hashes.new(size, bytes(8) + digest + salt).digest()
    cut = (bits + 6) // 8 - size - 1
    masked = int.from_bytes(b"\1" + salt, "big") ^ mgf1(size, proof, cut)
    masked &= (1 << (bits - 1 - 8 * (size + 1))) - 1
    return masked << 8 * (size + 1) | int.from_bytes(proof + b"\xbc", "big")


def verify(key, digest, signature, salt):
    """Whether `signature` by est.rsa.PublicKey `key` is good for `digest`.

    salt: how many bytes of it the algorithm's parameters ask for.
    """
    size = len(digest)
    value = key.open(signature)
    cut = (key.bits + 6) // 8 - size - 1
    if cut <= salt:
        return False
    tail = (value & ((1 << 8 * (size + 1)) - 1)).to_bytes(size + 1, "big")
    unmasked = value >> 8 * (size + 1) ^ mgf1(size, tail[:-1], cut)
    used = unmasked & ((1 << 8 * salt) - 1)
    # With its salt known, the encoding has one form.
    return value == encode(digest, key.bits, used.to_bytes(salt, "big") if salt else b"")


def parameters(fields):
    """(digest size, size of the salt) from a der.Reader at RSASSA-PSS-params (RFC 4055 3.1).

    Raises Unsupported for a mask made with another hash or function, DerError for malformed ones.
    """
    inner = fields.enter()
    fields.end()
    size, mask_size = hash_and_mask(inner)
    salt = _number(inner.optional(0xA2), 20)
    trailer = _number(inner.optional(0xA3), 1)
    inner.end()
    if trailer != 1 or mask_size != size:
        raise Unsupported("RSASSA-PSS: parameters not supported")
    return size, salt


def hash_and_mask(inner):
    """(digest size, that of MGF1's) from the first fields that PSS and OAEP parameters share."""
    size = _hash(inner.optional(0xA0))
    mask = inner.optional(0xA1)
    if not mask:
        return size, 20
    function = mask.enter()
    mask.end()
    if function.oid() != _MGF1:
        raise Unsupported("RSA: mask function not supported")
    return size, _hash(function)


def _number(tagged, default):
    if tagged:
        default = tagged.integer()
        tagged.end()
    return default


def _hash(tagged):
    # Digest size of the AlgorithmIdentifier in `tagged`, by default SHA-1's.
    if not tagged:
        return 20
    algorithm = tagged.enter()
    tagged.end()
    size = hashes.size_of(algorithm.oid())
    if algorithm.more() and algorithm.element() != b"\5\0":
        raise der.DerError("RSASSA-PSS: hash with parameters")
    algorithm.end()
    return size


def algorithm(size):
    """AlgorithmIdentifier of RSASSA-PSS with the hash of `size` and as much salt (RFC 4055)."""
    digest = der.sequence(der.tlv(asn1.OID, hashes.oid(size)), b"\5\0")
    return der.sequence(
        der.tlv(asn1.OID, _MGF1[:-1] + b"\x0a"),
        der.sequence(
            der.tlv(0xA0, digest),
            der.tlv(0xA1, der.sequence(der.tlv(asn1.OID, _MGF1), digest)),
            der.tlv(0xA2, asn1.integer(size)),
        ),
    )

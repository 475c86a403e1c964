"""RSA public keys (RFC 8017): numbers checked, signatures verified as PKCS #1 v1.5."""

from micropython import const

from est import asn1, der, hashes
from est.errors import NotTrusted, Unsupported

_MIN_BITS = const(2048)
# The largest that CAs use. Verifying takes four times as long as with 2048 bits.
_MAX_BITS = const(4096)
# Nobody's is longer, and a long one would keep a board busy for minutes.
_MAX_EXPONENT_BITS = const(32)


class PublicKey:
    """Raises NotTrusted for a weak key, Unsupported for a large one.

    bits and size: of the modulus, size in bytes.
    """

    def __init__(self, n, e):
        # Padding is checked whole below, so that 3, as old roots have it, is safe to verify with.
        if e < 3 or not e & 1:
            raise NotTrusted("RSA: public exponent refused")
        if not n >> (_MIN_BITS - 1):
            raise NotTrusted("RSA: modulus below %d bits" % _MIN_BITS)
        if n >> _MAX_BITS or e >> _MAX_EXPONENT_BITS:
            raise Unsupported("RSA: a number too large, which is not supported")
        if not n & 1:
            raise NotTrusted("RSA: modulus is even")
        self.n = n
        self.e = e
        self.size = octets(n)
        self.bits = 8 * self.size
        while not n >> (self.bits - 1):
            self.bits -= 1

    def verify(self, digest, signature):
        """Whether `signature` is PKCS #1 v1.5's for `digest`, whose size says which hash made it.

        SHA-1 is among them: whoever calls decides where that will do.
        """
        return self.open(signature) == encode(digest, self.size)

    def open(self, signature):
        """The number that was signed; -1 for what can be no signature by this key."""
        value = int.from_bytes(signature, "big")
        if len(signature) != self.size or value >= self.n:
            return -1
        return pow(value, self.e, self.n)


def load(data):
    """PublicKey from RSAPublicKey DER, the content of a SubjectPublicKeyInfo.

    Raises DerError for a malformed one, NotTrusted for a weak one, Unsupported for a large one.
    """
    body = der.Reader(data)
    fields = body.enter()
    body.end()
    n = fields.integer()
    e = fields.integer()
    fields.end()
    return PublicKey(n, e)


def encode(digest, size):
    """EMSA-PKCS1-v1_5 of `digest` in `size` bytes, as a number (RFC 8017 9.2)."""
    algorithm = der.sequence(der.tlv(asn1.OID, hashes.oid(len(digest))), b"\5\0")
    info = der.sequence(algorithm, der.octets(digest))
    return int.from_bytes(b"\1" + b"\xff" * (size - 3 - len(info)) + b"\0" + info, "big")


def octets(n):
    """How many bytes the number `n` takes."""
    size = 1
    while n >> (8 * size):
        size += 1
    return size

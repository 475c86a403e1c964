"""RSA private keys (RFC 8017): loaded from PKCS #1 or PKCS #8, and signing.

The long operations are in steps, for est.steps. MicroPython's integers are not constant time:
values and exponents are blinded afresh for each operation, the sequence of multiplications is the
same for every key of a size, and a result is checked with the public key before it leaves, so that
a fault while computing gives no prime away.
"""

from micropython import const

from est import asn1, der, hashes, rsa, steps
from est.entropy import random
from est.errors import EstError, UsageError
from est.numbers import inverse

_MIN_EXPONENT = const(65537)
# Bytes that blind a value. A number so much shorter than n has a cheap inverse.
_BLIND_VALUE = const(16)
# Bytes of the multiple of p - 1 that blinds an exponent.
_BLIND_EXPONENT = const(8)
_WINDOW = const(4)
_ENCRYPTION = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01")


class RsaKey(rsa.PublicKey):
    """A key with the methods of est.keys.P256Key.

    between: called between steps of `sign`. hash_size: bytes of the digests that `sign` makes.
    """

    between = None
    hash_size = 32

    def __init__(self, n, e, d, p, q, dp, dq, inverse_q):
        super().__init__(n, e)
        if e < _MIN_EXPONENT:
            raise UsageError("public exponent too small")
        if p * q != n or not (1 < p and 1 < q):
            raise UsageError("modulus that is not the product of the primes")
        # FIPS 186-5 A.1.3; primes of unlike size or close to each other make n easy to factor.
        half = self.bits // 2
        if not (p >> half - 8 and q >> half - 8 and abs(p - q) >> half - 100):
            raise UsageError("weak primes")
        for prime, exponent in ((p, dp), (q, dq)):
            if not (exponent < prime and e * exponent % (prime - 1) == 1):
                raise UsageError("exponents that do not fit the primes")
            if (d - exponent) % (prime - 1):
                raise UsageError("exponents that do not fit each other")
        if not (inverse_q < p and inverse_q * q % p == 1):
            raise UsageError("a coefficient that does not fit the primes")
        self._numbers = (n, e, d, p, q, dp, dq, inverse_q)

    def der(self):
        """RSAPrivateKey DER, which every MicroPython's TLS loads."""
        return der.sequence(asn1.integer(0), *[asn1.integer(number) for number in self._numbers])

    def spki(self):
        """SubjectPublicKeyInfo DER (RFC 8017 A.1)."""
        public = der.sequence(asn1.integer(self.n), asn1.integer(self.e))
        return der.sequence(_algorithm(1), der.bits(public))

    def sign(self, message):
        """(AlgorithmIdentifier DER, signature) over `message`: PKCS #1 v1.5 (RFC 8017 A.2.4)."""
        size = self.hash_size
        digest = hashes.new(size, message).digest()
        return _algorithm(9 + size // 16), steps.run(self.signature(digest), self.between)

    def signature(self, digest):
        """PKCS #1 v1.5 signature, in steps. The size of `digest` says which hash made it."""
        return self._octets(rsa.encode(digest, self.size))

    def pss_signature(self, digest, entropy=None):
        """RSASSA-PSS signature, in steps, with as much salt as `digest` has bytes."""
        from est import rsa_pss

        salt = (entropy or random)(len(digest))
        return self._octets(rsa_pss.encode(digest, self.bits, salt))

    def _octets(self, value):
        return (yield from self.power(value)).to_bytes(self.size, "big")

    def power(self, value):
        """value^d mod n, in steps. `value` is below n."""
        n, e, _, p, q, dp, dq, inverse_q = self._numbers
        blind = int.from_bytes(random(_BLIND_VALUE), "big") | 1
        blinded = pow(blind, e, n) * value % n
        residues = []
        for prime, exponent in ((p, dp), (q, dq)):
            exponent += (prime - 1) * int.from_bytes(random(_BLIND_EXPONENT), "big")
            size = rsa.octets(prime) + _BLIND_EXPONENT
            residues.append((yield from power(blinded % prime, exponent, prime, size)))
        result = (residues[0] - residues[1]) * inverse_q % p * q + residues[1]
        result = result * inverse(blind, n) % n
        if pow(result, e, n) != value:
            raise UsageError("RSA: computation fault")
        return result


def load(data):
    """RsaKey from PKCS #1 or PKCS #8 DER. Raises UsageError, also for a weak key."""
    try:
        fields = _fields(data)
        version = fields.integer()
        if fields.peek() == asn1.SEQUENCE:
            if version > 1 or fields.element() != _algorithm(1):
                raise UsageError("not RSA")
            fields = _fields(fields.bytes())
            version = fields.integer()
        if version:
            raise UsageError("only keys of two primes")
        numbers = [fields.integer() for _ in range(8)]
        fields.end()
        return RsaKey(*numbers)
    except EstError as error:
        raise UsageError("RSA private key: %s" % error)


def _fields(data):
    body = der.Reader(data)
    fields = body.enter()
    body.end()
    return fields


def power(base, exponent, modulus, size):
    """base^exponent mod modulus, in steps that depend only on `size`, the exponent's bytes."""
    # The first stands for 1, and takes as long to multiply with as the others.
    table = [modulus + 1, base]
    while len(table) < 1 << _WINDOW:
        table.append(table[-1] * base % modulus)
    yield
    out = table[0]
    for at in range(8 * size - _WINDOW, -1, -_WINDOW):
        for _ in range(_WINDOW):
            out = out * out % modulus
        out = out * table[exponent >> at & (1 << _WINDOW) - 1] % modulus
        yield
    return out


def _algorithm(last):
    # AlgorithmIdentifier of PKCS #1's `last`: 1 for keys, 11 to 13 for signatures with SHA-2.
    return der.sequence(der.tlv(asn1.OID, _ENCRYPTION[:-1] + bytes((last,))), b"\5\0")

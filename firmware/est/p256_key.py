"""P-256 keys in memory; est.ec_key has other curves and hashes."""

import hashlib

from micropython import const

from est import encode
from est.ec import P256

# Two OIDs and an AlgorithmIdentifier, whole.
_EC_PUBLIC_KEY = const(b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01")
_SECP256R1 = const(b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07")
_ECDSA_SHA256 = const(b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02")


class P256Key:
    """A P-256 key in memory: a new one, or the one whose 32 bytes are given.

    public: the point, uncompressed (SEC 1). checked: verify each signature before it leaves, for a
    wrong one may give the key away.
    """

    checked = True
    _curve = P256
    _oid = _SECP256R1

    def __init__(self, private=None):
        self._private = self._curve.generate() if private is None else private
        self.public = self._curve.public(self._private)

    def spki(self):
        """SubjectPublicKeyInfo DER (RFC 5480)."""
        algorithm = encode.sequence(_EC_PUBLIC_KEY, self._oid)
        return encode.sequence(algorithm, encode.bits(self.public))

    def sign(self, message):
        """(AlgorithmIdentifier DER, signature) over `message`: ECDSA with SHA-256 (RFC 5758)."""
        digest = hashlib.sha256(message).digest()
        return _ECDSA_SHA256, P256.sign(self._private, digest, None, self.checked and self.public)

    def der(self):
        """What every MicroPython's TLS loads, DER: ECPrivateKey (RFC 5915), or RSAPrivateKey."""
        return encode.sequence(
            b"\2\1\1",
            encode.octets(self._private),
            encode.tlv(0xA0, self._oid),
            encode.tlv(0xA1, encode.bits(self.public)),
        )

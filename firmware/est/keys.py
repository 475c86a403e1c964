"""Private keys: made, loaded, and asked to sign. Secure elements offer the same methods.

A CSR needs `spki()` and `sign(message)`; TLS needs `sec1()`.
"""

import hashlib

from micropython import const

from est import der
from est.ec import P256
from est.errors import PeerError, UsageError

_EC_PUBLIC_KEY = const(b"\x2a\x86\x48\xce\x3d\x02\x01")
_SECP256R1 = const(b"\x2a\x86\x48\xce\x3d\x03\x01\x07")
_ECDSA_SHA256 = const(b"\x2a\x86\x48\xce\x3d\x04\x03\x02")


def ec_algorithm():
    """AlgorithmIdentifier of a P-256 key (RFC 5480 2.1.1)."""
    return der.sequence(der.tlv(der.OID, _EC_PUBLIC_KEY), der.tlv(der.OID, _SECP256R1))


class SoftwareKey:
    """A P-256 key in memory: a new one, or the one whose 32 bytes are given."""

    def __init__(self, private=None):
        self._private = P256.generate() if private is None else private
        self._public = P256.public(self._private)

    def spki(self):
        """SubjectPublicKeyInfo DER (RFC 5480)."""
        return der.sequence(ec_algorithm(), der.bits(self._public))

    def sign(self, message):
        """(AlgorithmIdentifier DER, signature) over `message`: ECDSA with SHA-256 (RFC 5758)."""
        digest = hashlib.sha256(message).digest()
        algorithm = der.sequence(der.tlv(der.OID, _ECDSA_SHA256))
        return algorithm, P256.sign(self._private, digest)

    def sec1(self):
        """ECPrivateKey DER (RFC 5915): the one form that every MicroPython's TLS loads."""
        return der.sequence(
            der.integer(1),
            der.octets(self._private),
            der.tlv(0xA0, der.tlv(der.OID, _SECP256R1)),
            der.tlv(0xA1, der.bits(self._public)),
        )


def load(data, named=False):
    """SoftwareKey from SEC1 or PKCS#8 DER. Raises UsageError.

    With `named` a SEC1 key may leave out its curve, which was named before.
    """
    try:
        body = der.Reader(data)
        fields = body.enter()
        body.end()
        if fields.integer() == 0:
            from est import pkcs8

            return load(pkcs8.private_key(fields), True)
        private = fields.bytes()
        parameters = fields.optional(0xA0)
        public = fields.optional(0xA1)
        fields.end()
        if parameters and parameters.oid() != _SECP256R1 or not (parameters or named):
            raise UsageError("private key: only P-256 is supported")
        # Some writers drop leading zeros (RFC 5915 forbids it).
        key = SoftwareKey(bytes(32 - len(private)) + private)
        if public and public.bit_string() != key._public:
            raise UsageError("private key: public half of another")
        return key
    except PeerError as error:
        raise UsageError("private key: %s" % error)

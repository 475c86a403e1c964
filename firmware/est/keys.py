"""Private keys: made, loaded, and asked to sign.

A CSR needs `spki()` and `sign(message)`; TLS and the store need `der()`. The same methods have
P-384 keys (est.ec_key), RSA keys (est.rsa_private) and those in a secure element (est.element).
"""

import hashlib

from micropython import const

from est import der
from est.ec import P256
from est.errors import UsageError

_EC_PUBLIC_KEY = const(b"\x2a\x86\x48\xce\x3d\x02\x01")
_SECP256R1 = const(b"\x2a\x86\x48\xce\x3d\x03\x01\x07")
_ECDSA_SHA256 = const(b"\x2a\x86\x48\xce\x3d\x04\x03\x02")


def ec_algorithm(curve=_SECP256R1):
    """AlgorithmIdentifier of a key on the curve of that OID (RFC 5480 2.1.1)."""
    return der.sequence(der.tlv(der.OID, _EC_PUBLIC_KEY), der.tlv(der.OID, curve))


class SoftwareKey:
    """A P-256 key in memory: a new one, or the one whose 32 bytes are given."""

    _curve = P256
    _oid = _SECP256R1

    def __init__(self, private=None):
        self._private = self._curve.generate() if private is None else private
        self._public = self._curve.public(self._private)

    def spki(self):
        """SubjectPublicKeyInfo DER (RFC 5480)."""
        return der.sequence(ec_algorithm(self._oid), der.bits(self._public))

    def sign(self, message):
        """(AlgorithmIdentifier DER, signature) over `message`: ECDSA with SHA-256 (RFC 5758)."""
        digest = hashlib.sha256(message).digest()
        algorithm = der.sequence(der.tlv(der.OID, _ECDSA_SHA256))
        return algorithm, P256.sign(self._private, digest)

    def der(self):
        """What every MicroPython's TLS loads, DER: ECPrivateKey (RFC 5915), or RSAPrivateKey."""
        return der.sequence(
            der.integer(1),
            der.octets(self._private),
            der.tlv(0xA0, der.tlv(der.OID, self._oid)),
            der.tlv(0xA1, der.bits(self._public)),
        )


def load(data, password=None):
    """The key of DER `data`: P-256 as `SoftwareKey.der` gives it, any other with est.key_forms.

    Raises UsageError.
    """
    if len(data) == 121:
        key = SoftwareKey(bytes(data[7:39]))
        if key.der() == data:
            return key
    try:
        from est import key_forms
    except ImportError:
        raise UsageError("only P-256 as SEC1 without est-key-forms")
    return key_forms.load(data, password)

"""EC keys on P-256 or P-384 that sign with SHA-256, SHA-384 or SHA-512."""

from micropython import const

from est import der, hashes
from est.ec import P256
from est.errors import Unsupported
from est.p256_key import P256Key

# As in est.asn1, without a look-up on the board.
_OID = const(0x06)

_SECP256R1 = const(b"\x2a\x86\x48\xce\x3d\x03\x01\x07")
_SECP384R1 = const(b"\x2b\x81\x04\x00\x22")
# The last octet, which is to follow, tells the hash.
_ECDSA_WITH = const(b"\x2a\x86\x48\xce\x3d\x04\x03")


class EcKey(P256Key):
    """A key on the curve of that OID (content octets): a new one, or the one given in bytes.

    hash_size: bytes of the digests that `sign` makes; as many as the curve has unless changed.
    """

    def __init__(self, oid, private=None):
        self._use(oid)
        if private is not None:
            # Some writers drop leading zeros (RFC 5915 forbids it).
            private = bytes(max(self._curve.size - len(private), 0)) + private
        super().__init__(private)

    def _use(self, oid):
        if oid == _SECP256R1:
            self._curve = P256
        elif oid == _SECP384R1:
            from est.curves import P384

            self._curve = P384
        else:
            from est.asn1 import oid_text

            raise Unsupported("curve %s is not supported" % oid_text(oid))
        self._oid = der.tlv(_OID, oid)
        self.hash_size = self._curve.size

    def sign(self, message):
        """(AlgorithmIdentifier DER, signature) over `message` (RFC 5758 3.2)."""
        size = self.hash_size
        oid = _ECDSA_WITH + bytes((size // 16,))
        digest = hashes.new(size, message).digest()
        return der.sequence(der.tlv(_OID, oid)), self.signature(digest)

    def signature(self, digest):
        """DER signature of `digest`, verified as P256Key's are."""
        return self._curve.sign(self._private, digest, None, self.checked and self.public)

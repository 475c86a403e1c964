"""Signatures beyond ECDSA P-256 with SHA-256: more curves and hashes, RSA (RFC 5758, RFC 4055)."""

from micropython import const

from est import der, hashes
from est.errors import NotTrusted

_EC_PUBLIC_KEY = const(b"\x2a\x86\x48\xce\x3d\x02\x01")
# The last octet tells the hash.
_ECDSA_WITH = const(b"\x2a\x86\x48\xce\x3d\x04\x03")
_PKCS1 = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01")
_RSA_ENCRYPTION = const(0x01)
_RSASSA_PSS = const(0x0A)


def verify(spki, algorithm, message, signature):
    """As est.x509.verify."""
    fields = der.Reader(spki).enter()
    kind = fields.enter()
    public = fields.bit_string()
    key = kind.oid()
    given = der.Reader(algorithm).enter()
    name = given.oid()
    last = name[-1]
    if key == _EC_PUBLIC_KEY and name[:-1] == _ECDSA_WITH and 2 <= last <= 4:
        digest = hashes.new(16 * last, message).digest()
        return _curve(kind.oid()).verify(public, digest, signature)
    if key[:-1] == _PKCS1 and name[:-1] == _PKCS1:
        from est import rsa

        if key[-1] == _RSA_ENCRYPTION and 0x0B <= last <= 0x0D:
            digest = hashes.new(16 * (last - 9), message).digest()
            return rsa.load(public).verify(digest, signature)
        if key[-1] in (_RSA_ENCRYPTION, _RSASSA_PSS) and last == _RSASSA_PSS:
            from est import rsa_pss

            size, salt = rsa_pss.parameters(given)
            if size >= 32:
                digest = hashes.new(size, message).digest()
                return rsa_pss.verify(rsa.load(public), digest, signature, salt)
    raise NotTrusted("signature algorithm %s is not accepted" % der.oid_text(name))


def _curve(name):
    if name == b"\x2a\x86\x48\xce\x3d\x03\x01\x07":
        from est.ec import P256

        return P256
    from est import curves

    if name == b"\x2b\x81\x04\x00\x22":
        return curves.P384
    if name == b"\x2b\x81\x04\x00\x23":
        return curves.P521
    raise NotTrusted("curve %s is not supported" % der.oid_text(name))

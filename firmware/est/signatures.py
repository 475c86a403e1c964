"""Signatures beyond ECDSA P-256 with SHA-256: more curves and hashes, RSA (RFC 5758, RFC 4055)."""

from micropython import const

from est import asn1, der, hashes
from est.errors import NotTrusted, Unsupported

_EC_PUBLIC_KEY = const(b"\x2a\x86\x48\xce\x3d\x02\x01")
# The last octet tells the hash.
_ECDSA_WITH = const(b"\x2a\x86\x48\xce\x3d\x04\x03")
_PKCS1 = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01")
_RSA_ENCRYPTION = const(0x01)
_RSASSA_PSS = const(0x0A)


_SHA1_WITH_RSA = const(0x05)
# RSA with MD2, MD4, MD5 and SHA-1; ECDSA and DSA with SHA-1.
_WEAK = const(b"\x02\x03\x04\x05")
_WEAK_NAMES = (b"\x2a\x86\x48\xce\x3d\x04\x01", b"\x2a\x86\x48\xce\x38\x04\x03")

_sha1 = []


def allow_sha1(anchor):
    """Take RSA signatures with SHA-1 of trust anchor `anchor` (DER certificate) from now on.

    Who can have the anchor sign something chosen can forge such a signature. To have it hold in
    est.agent, keep this module imported.
    """
    fields = der.Reader(anchor).enter().enter()
    fields.optional(0xA0)
    for _ in range(5):  # serial number, algorithm, issuer, validity, subject
        fields.skip()
    _sha1.append(fields.element(asn1.SEQUENCE))


def verify(spki, algorithm, message, signature):
    """As est.x509.verify."""
    key, kind, public = _open(spki)
    identifier = der.Reader(algorithm).enter()
    name = identifier.oid()
    arc = name[-1]
    if key == _EC_PUBLIC_KEY and name[:-1] == _ECDSA_WITH and 2 <= arc <= 4:
        identifier.end()  # RFC 5758 3.2
        curve = _curve(kind, public)
        return curve.verify(public, hashes.new(16 * arc, message).digest(), signature)
    if key[:-1] == _PKCS1 and name[:-1] == _PKCS1:
        from est import rsa

        if key[-1] == _RSA_ENCRYPTION:
            _null(kind)  # RFC 3279 2.3.1
            size = 16 * (arc - 9)
            if arc == _SHA1_WITH_RSA and spki in _sha1:
                size = 20
            if size in (20, 32, 48, 64):
                if identifier.more():  # a NULL, or wrongly nothing: RFC 4055 5 has both taken
                    _null(identifier)
                return rsa.load(public).verify(hashes.new(size, message).digest(), signature)
        if key[-1] in (_RSA_ENCRYPTION, _RSASSA_PSS) and arc == _RSASSA_PSS:
            from est import rsa_pss

            size, salt = rsa_pss.parameters(identifier)
            if key[-1] == _RSASSA_PSS and kind.more():
                # What the key is for (RFC 4055 3.3).
                key_size, least = rsa_pss.parameters(kind)
                if size != key_size or salt < least:
                    raise NotTrusted("RSASSA-PSS: not with the parameters of the key")
            if size >= 32:
                digest = hashes.new(size, message).digest()
                return rsa_pss.verify(rsa.load(public), digest, signature, salt)
    text = "signature algorithm %s " % asn1.oid_text(name)
    by_rsa = name[:-1] == _PKCS1
    mismatch = by_rsa and key[:-1] != _PKCS1 or name[:-1] == _ECDSA_WITH and key != _EC_PUBLIC_KEY
    # What is left of RSASSA-PSS is SHA-1, too.
    if not mismatch and by_rsa and (arc in _WEAK or arc == _RSASSA_PSS) or name in _WEAK_NAMES:
        raise NotTrusted(text + "is too weak")
    if mismatch or by_rsa and key[-1] == _RSASSA_PSS:
        raise NotTrusted(text + "is none of its key")
    raise Unsupported(text + "is not supported")


def ec_key(spki):
    """(est.ec.Curve, point) of a SubjectPublicKeyInfo (RFC 5480). The point is not checked yet.

    Raises Unsupported for another curve, one that is spelt out, or another form of the point.
    """
    key, kind, public = _open(spki)
    if key != _EC_PUBLIC_KEY:
        raise Unsupported("not an elliptic curve key")
    return _curve(kind, public), public


def _open(spki):
    # Algorithm identifier, Reader at its parameters, and content of the BIT STRING.
    reader = der.Reader(spki)
    fields = reader.enter()
    reader.end()
    kind = fields.enter()
    public = fields.bit_string()
    fields.end()
    return kind.oid(), kind, public


def _null(fields):
    if fields.element() != b"\5\0":
        raise der.DerError("DER: NULL expected")
    fields.end()


def _curve(fields, public):
    if fields.peek() in (asn1.SEQUENCE, 0x05):
        raise Unsupported("a curve that is not named (RFC 5480 2.1.1) is not supported")
    name = fields.oid()
    fields.end()
    if public[:1] != b"\4":
        from est.ecdh import refusal

        raise refusal(public)
    if name == b"\x2a\x86\x48\xce\x3d\x03\x01\x07":
        from est.ec import P256

        return P256
    from est import curves

    if name == b"\x2b\x81\x04\x00\x22":
        return curves.P384
    if name == b"\x2b\x81\x04\x00\x23":
        return curves.P521
    raise Unsupported("curve %s is not supported" % asn1.oid_text(name))

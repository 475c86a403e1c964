"""Private keys in the forms of other programs, DER: SEC1, PKCS #1, and PKCS #8, also encrypted."""

import sys

from micropython import const

from est import asn1, der
from est.errors import PeerError, Unsupported, UsageError, missing

_EC_PUBLIC_KEY = const(b"\x2a\x86\x48\xce\x3d\x02\x01")
_RSA_ENCRYPTION = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01")
_UNNAMED = const("a curve that is not named (RFC 5480 2.1.1) is not supported")


def load(data, password=None):
    """The key of SEC1 (RFC 5915), PKCS #1 (RFC 8017 A.1.2) or PKCS #8 (RFC 5958) DER.

    password: bytes, for an encrypted PKCS #8. Raises UsageError; Unsupported for a key that the
    board, or the parts on it, cannot use.
    """
    if data[:5] == ("-----" if isinstance(data, str) else b"-----"):
        raise UsageError("private key: this is PEM, of which est.pem.decode makes DER")
    try:
        return _load(data, password)
    except (ImportError, PeerError, UsageError) as error:
        if isinstance(error, ImportError):
            error = missing(error)
        kind = Unsupported if isinstance(error, Unsupported) else UsageError
        raise kind("private key: %s" % error)


def pkcs8(key):
    """PrivateKeyInfo DER (RFC 5958) of a key in memory."""
    algorithm = der.Reader(key.spki()).enter().element()
    return der.sequence(asn1.integer(0), algorithm, der.octets(key.der()))


def _load(data, password):
    if isinstance(data, str):
        raise UsageError("DER is wanted; to make a key of some type takes est.key_types")
    fields = _fields(data)
    if fields.peek() == asn1.SEQUENCE:
        algorithm = fields.enter().oid()
        if algorithm in (_EC_PUBLIC_KEY, _RSA_ENCRYPTION):
            raise UsageError("it is a public key")
        if password is None:
            raise UsageError("encrypted, and no password was given")
        from est import pbes2, steps

        data = steps.run(pbes2.decrypt(data, password))
        fields = _fields(data)
    version = fields.integer()
    kind = fields.peek()
    if kind == asn1.OCTET_STRING and version == 1:
        return _sec1(data)
    if kind == asn1.SEQUENCE and version < 2:
        algorithm = fields.enter()
        oid = algorithm.oid()
        if oid == _EC_PUBLIC_KEY:
            if algorithm.peek() == asn1.SEQUENCE:
                raise Unsupported(_UNNAMED)
            return _sec1(fields.bytes(), algorithm.oid())
        if oid != _RSA_ENCRYPTION:
            raise Unsupported("algorithm %s is not supported" % asn1.oid_text(oid))
    elif kind != asn1.INTEGER:
        raise UsageError("unknown form")
    from est import rsa_key

    return rsa_key.load(data)


def _fields(data):
    body = der.Reader(data)
    fields = body.enter()
    body.end()
    return fields


def _sec1(data, curve=None):
    # curve: what PKCS #8 names; then ECPrivateKey itself may leave it out.
    fields = _fields(data)
    if fields.integer() != 1:
        raise UsageError("unknown version")
    private = fields.bytes()
    named_curve = fields.optional(0xA0)
    if named_curve and named_curve.peek() == asn1.SEQUENCE:
        raise Unsupported(_UNNAMED)
    named_curve = named_curve.oid() if named_curve else curve
    public = fields.optional(0xA1)
    fields.end()
    if not named_curve or named_curve != (curve or named_curve):
        raise UsageError("it names no curve, or two")
    element = sys.modules.get("est.element")
    key = element and element.find(data)
    if not key:
        from est.ec_key import EcKey

        key = EcKey(named_curve, private)
        public = public and public.bit_string()
        if public and public[0] != 4:
            from est.ecdh import refusal

            raise refusal(public)
        if public and public != key.public:
            raise UsageError("its public half is another's, or of a secure element not there")
    return key

"""Forms in which clients send requests beside those of RFC 7030 and RFC 2986."""

import base64
import re

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pyasn1.codec.der.decoder import decode
from pyasn1.error import PyAsn1Error
from pyasn1.type.univ import Any, SequenceOf

from mpest.server import der

_PEM = re.compile(rb"-----BEGIN [A-Z0-9 ]+-----(.*?)-----END [A-Z0-9 ]+-----", re.DOTALL)
_FIELDS = 4  # of a CertificationRequestInfo (RFC 2986 4.1), attributes being the last
_NO_ATTRIBUTES = b"\xa0\x00"


def in_base64(body: bytes) -> tuple[bytes, str | None]:
    """The body as RFC 7030 4.2.1 has it, and what to note if it came otherwise: est-client-python
    sends PEM, other clients binary DER."""
    pem = _PEM.search(body)
    if pem:
        return pem[1], "the body came as PEM: RFC 7030 has base64 without BEGIN and END lines"
    if body[:1] == b"\x30" and not body.isascii():
        return base64.b64encode(body), "the body came as binary DER: RFC 7030 has base64"
    return body, None


def with_attributes(request: bytes) -> bytes:
    """A PKCS #10 request in DER with the field attributes, which RFC 2986 demands and Bouncy
    Castle can leave out. What is no such request stays as it is.
    """
    try:
        information, *signature = _elements(request)
        fields = _elements(information)
    except (PyAsn1Error, ValueError):
        return request
    if len(fields) != _FIELDS - 1:
        return request
    return der.sequence(der.sequence(*fields, _NO_ATTRIBUTES), *signature)


def is_signed(csr: x509.CertificateSigningRequest) -> bool:
    """Whether the key in a request signed it, perhaps before `with_attributes`. Raises
    UnsupportedAlgorithm."""
    if csr.is_signature_valid:
        return True
    *fields, attributes = _elements(csr.tbs_certrequest_bytes)
    key, digest = csr.public_key(), csr.signature_hash_algorithm
    if attributes != _NO_ATTRIBUTES or digest is None:
        return False
    signed, scheme = der.sequence(*fields), csr.signature_algorithm_parameters
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(scheme, ec.ECDSA):
            key.verify(csr.signature, signed, scheme)
        elif isinstance(key, rsa.RSAPublicKey) and not isinstance(scheme, ec.ECDSA | None):
            key.verify(csr.signature, signed, scheme, digest)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _elements(sequence: bytes) -> list[bytes]:
    """What a SEQUENCE in DER consists of. Raises PyAsn1Error, ValueError."""
    elements, rest = decode(sequence, asn1Spec=SequenceOf(componentType=Any()))
    if rest:
        raise ValueError("octets follow")
    return [bytes(element) for element in elements]

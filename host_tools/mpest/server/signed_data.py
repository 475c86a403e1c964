"""CMS SignedData (RFC 5652 5) with any content: read and verified, or signed."""

from collections.abc import Iterable
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from pyasn1.codec.ber import decoder as ber_decoder
from pyasn1.codec.der import decoder, encoder
from pyasn1.error import PyAsn1Error
from pyasn1_modules import rfc5652

from mpest.server import ber, der
from mpest.server.ca import Signer

SIGNED_DATA = "1.2.840.113549.1.7.2"
_CONTENT_TYPE = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_ECDSA_SHA256 = "1.2.840.10045.4.3.2"
_RSA_SHA256 = "1.2.840.113549.1.1.11"
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "2.16.840.1.101.3.4.2.1": hashes.SHA256(),
    "2.16.840.1.101.3.4.2.2": hashes.SHA384(),
    "2.16.840.1.101.3.4.2.3": hashes.SHA512(),
}
_SHA256 = "2.16.840.1.101.3.4.2.1"


class SignedDataError(ValueError):
    """Malformed, or not signed as it claims to be."""


def decode(data: bytes, spec: Any) -> Any:
    """The pyasn1 value of DER `data`, which `spec` describes. Raises SignedDataError."""
    try:
        value, rest = decoder.decode(data, asn1Spec=spec)
    except PyAsn1Error as error:
        raise SignedDataError(f"no {type(spec).__name__}: {str(error)[:100]}") from error
    if rest:
        raise SignedDataError(f"{len(rest)} bytes after the {type(spec).__name__}")
    return value


def decode_ber(data: bytes, spec: Any) -> Any:
    """As `decode`, of BER."""
    try:
        value, rest = ber_decoder.decode(ber.definite(data), asn1Spec=spec)
    except (PyAsn1Error, ValueError) as error:
        raise SignedDataError(f"no {type(spec).__name__}: {str(error)[:100]}") from error
    if rest:
        raise SignedDataError(f"{len(rest)} bytes after the {type(spec).__name__}")
    return value


def encode(value: Any) -> bytes:
    """DER of a pyasn1 value."""
    data: bytes = encoder.encode(value)
    return data


def verify(data: bytes) -> tuple[str, bytes, x509.Certificate]:
    """(content type, content, certificate that the message holds of the signer). The signature
    is right; whether the signer is trusted is the caller's to say. Raises SignedDataError.

    data: BER; certificates and signed attributes must be DER (RFC 5652 5.4), so that what the
    encoder makes of them stands in it.
    """
    info = decode_ber(data, rfc5652.ContentInfo())
    if str(info["contentType"]) != SIGNED_DATA:
        raise SignedDataError("the message is no SignedData")
    signed = decode_ber(bytes(info["content"]), rfc5652.SignedData())
    inner = signed["encapContentInfo"]
    kind = str(inner["eContentType"])
    if not inner["eContent"].isValue:
        raise SignedDataError("the message has no content")
    content = bytes(inner["eContent"])
    if len(signed["signerInfos"]) != 1:
        raise SignedDataError(f"{len(signed['signerInfos'])} signers where one is expected")
    signer = signed["signerInfos"][0]
    certificate = _signer(signer["sid"], _certificates(signed["certificates"], data))
    if signer["signedAttrs"].isValue and encode(signer["signedAttrs"]) not in data:
        raise SignedDataError("the signed attributes are not DER")
    _check(signer, certificate, kind, content)
    return kind, content, certificate


def _certificates(bag: Any, data: bytes) -> list[x509.Certificate]:
    try:
        found = [encode(one["certificate"]) for one in bag if one.getName() == "certificate"]
        return [x509.load_der_x509_certificate(one) for one in found if one in data]
    except (PyAsn1Error, ValueError, x509.InvalidVersion) as error:
        raise SignedDataError("a certificate in the message can't be read") from error


def _signer(sid: Any, certificates: list[x509.Certificate]) -> x509.Certificate:
    for one in certificates:
        if sid.getName() == "subjectKeyIdentifier":
            kind = x509.SubjectKeyIdentifier
            try:
                identifier = one.extensions.get_extension_for_class(kind).value.key_identifier
            except x509.ExtensionNotFound:
                continue
            if identifier == bytes(sid["subjectKeyIdentifier"]):
                return one
        else:
            name = sid["issuerAndSerialNumber"]
            issuer = encode(name["issuer"])
            if (issuer, int(name["serialNumber"])) == (
                one.issuer.public_bytes(),
                one.serial_number,
            ):
                return one
    raise SignedDataError("the signer's certificate is not in the message")


def _check(signer: Any, certificate: x509.Certificate, kind: str, content: bytes) -> None:
    digest = _HASHES.get(str(signer["digestAlgorithm"]["algorithm"]))
    if digest is None:
        raise SignedDataError("the hash is not allowed: use SHA-256")
    if not signer["signedAttrs"].isValue:
        raise SignedDataError("the signed attributes are missing")
    values = {
        str(one["attrType"]): [bytes(value) for value in one["attrValues"]]
        for one in signer["signedAttrs"]
    }
    hasher = hashes.Hash(digest)
    hasher.update(content)
    expected = {_CONTENT_TYPE: der.oid(kind), _MESSAGE_DIGEST: der.octet_string(hasher.finalize())}
    if any(values.get(name) != [value] for name, value in expected.items()):
        raise SignedDataError("the signed attributes are not those of the content")
    # They are signed as the SET that they are, not as the [0] that stands for it.
    message = b"\x31" + encode(signer["signedAttrs"])[1:]
    signature = bytes(signer["signature"])
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignedDataError(f"the signer's key can't be read: {error}") from error
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(digest))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), digest)
        else:
            raise SignedDataError("the signer's key is of an unknown kind")
    except InvalidSignature:
        raise SignedDataError("the signature is wrong") from None


def sign(
    kind: str, content: bytes, signer: Signer | None, bag: Iterable[x509.Certificate] = ()
) -> bytes:
    """SignedData of `content` with the certificates of `bag`; without a signer nobody signs it."""
    signers = [] if signer is None else [_signer_info(kind, content, signer)]
    signed = der.sequence(
        der.integer(3),
        der.set_of(der.sequence(der.oid(_SHA256))),
        der.sequence(der.oid(kind), der.tlv(0xA0, der.octet_string(content))),
        der.tlv(0xA0, *sorted(one.public_bytes(Encoding.DER) for one in bag)),
        der.set_of(*signers),
    )
    return der.sequence(der.oid(SIGNED_DATA), der.tlv(0xA0, signed))


def _signer_info(kind: str, content: bytes, signer: Signer) -> bytes:
    hasher = hashes.Hash(hashes.SHA256())
    hasher.update(content)
    attributes = der.set_of(
        der.sequence(der.oid(_CONTENT_TYPE), der.set_of(der.oid(kind))),
        der.sequence(der.oid(_MESSAGE_DIGEST), der.set_of(der.octet_string(hasher.finalize()))),
    )
    if isinstance(signer.key, rsa.RSAPrivateKey):
        algorithm = der.sequence(der.oid(_RSA_SHA256), der.tlv(0x05))
        signature = signer.key.sign(attributes, padding.PKCS1v15(), hashes.SHA256())
    else:
        algorithm = der.sequence(der.oid(_ECDSA_SHA256))
        signature = signer.key.sign(attributes, ec.ECDSA(hashes.SHA256()))
    certificate = signer.certificate
    return der.sequence(
        der.integer(1),
        der.sequence(certificate.issuer.public_bytes(), der.integer(certificate.serial_number)),
        der.sequence(der.oid(_SHA256)),
        b"\xa0" + attributes[1:],
        algorithm,
        der.octet_string(signature),
    )

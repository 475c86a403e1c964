"""Which certificate requests are granted, and what for."""

import binascii
import hmac
import re
from dataclasses import replace

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID

from mpest.server import name_forms
from mpest.server.ca import USAGES, Order
from mpest.server.forms import is_signed, with_attributes
from mpest.server.wire import Refused

_MAX_SUBJECT = 1024  # bytes of DER; far above any real name
_MAX_RSA_BITS = 8192  # a larger one costs seconds to verify
_MIN_RSA_EXPONENT = 65537  # small ones have fallen to padding that was done or checked badly
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384"}
_SPACE = re.compile(rb"[ \t\r\n\v\f]+")
WEAK_DIGESTS = ("md5", "sha1")
_PURPOSES = {
    ExtendedKeyUsageOID.CLIENT_AUTH,
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.EMAIL_PROTECTION,
}


def read_base64(body: bytes, what: str) -> bytes:
    """The DER in a base64 body, white space anywhere (RFC 8951 3). `what` it should be is for
    the message. Raises Refused.
    """
    text = _SPACE.sub(b"", body)
    if not text:
        raise Refused(400, f"the body is empty: send a base64 {what}")
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise Refused(400, f"the body is not base64: {error}") from error


def read_csr(body: bytes) -> x509.CertificateSigningRequest:
    """The CSR in a base64 body. Raises Refused."""
    return parse_csr(read_base64(body, "PKCS#10 request"))


def parse_csr(der: bytes) -> x509.CertificateSigningRequest:
    """Raises Refused."""
    try:
        return x509.load_der_x509_csr(with_attributes(der))
    except Exception as error:  # cryptography names no common base for what bad input raises
        raise Refused(400, f"the body is not a PKCS#10 request: {_in_words(error)}") from error


def check_csr(csr: x509.CertificateSigningRequest, *, own_key: bool = True) -> Order:
    """What the CSR asks for, once it is found fit to be granted. Raises Refused.

    Without `own_key` its key and signature are ignored (RFC 7030 4.4.1).
    """
    try:
        if own_key:
            _check_signature(csr)
            _check_key(csr)
        _check_subject(csr)
        order = _order(csr)
        name_forms.check(order.subject, order.san)
        return order
    except Refused:
        raise
    except Exception as error:  # cryptography names no common base for what bad input raises
        raise Refused(400, f"the request can't be read: {_in_words(error)}") from error


def _in_words(error: Exception) -> str:
    """What a library says of bad input, without its own representations of that."""
    text = str(error)
    if "IPv4 or IPv6" in text:
        return "an alternative name is an IP address of neither 4 nor 16 octets"
    if "ParseError" in text:
        places = [place for place in re.findall(r'"([^"]+)"', text) if place.isidentifier()]
        return "its DER is malformed" + (f" in {places[-1]}" if places else "")
    return text


def challenge_password(csr: x509.CertificateSigningRequest) -> str | None:
    """The challengePassword attribute (RFC 2985 5.4.1). Raises Refused."""
    try:
        attribute = csr.attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD)
        return attribute.value.decode()
    except x509.AttributeNotFound:
        return None
    except ValueError as error:
        raise Refused(400, f"the request's attributes can't be read: {error}") from error


def check_challenge(found: str | None, wanted: str | None) -> None:
    """Raises Refused unless `found` is `wanted`, or nothing is wanted."""
    if wanted is None:
        return
    if found is None or not hmac.compare_digest(found.encode(), wanted.encode()):
        raise Refused(400, "the challengePassword is missing or wrong")


def alternative_names(extensions: x509.Extensions) -> x509.SubjectAlternativeName | None:
    """The SubjectAltName of a request or a certificate, if it has one."""
    try:
        return extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def purposes_of(extensions: x509.Extensions) -> tuple[x509.ObjectIdentifier, ...] | None:
    """The ExtendedKeyUsage of a request or a certificate, None if it has none."""
    try:
        return tuple(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return None


def usage_of(extensions: x509.Extensions) -> x509.KeyUsage | None:
    """The KeyUsage of a request or a certificate, None if it has none."""
    try:
        return extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None


def usages(usage: x509.KeyUsage) -> set[str]:
    """What it says, as RFC 5280 names it; keyAgreement is that for both directions."""
    names = {name for name, bit in USAGES.items() if getattr(usage, bit)}
    if usage.key_agreement and (usage.encipher_only or usage.decipher_only):
        names = names - {"keyAgreement"} | {"keyAgreement for one direction"}
    return names


def key_type(key: CertificatePublicKeyTypes) -> str:
    """P-256, RSA-2048 and so on."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES.get(key.curve.name, key.curve.name)
    return f"RSA-{key.key_size}" if isinstance(key, rsa.RSAPublicKey) else "another kind"


def same_names(order: Order, certificate: x509.Certificate) -> bool:
    """Whether Subject and SAN equal those of the certificate."""
    try:
        check_same_names(order, certificate)
    except Refused:
        return False
    return True


def check_same_names(order: Order, certificate: x509.Certificate) -> None:
    """Subject and SAN must equal those of the client certificate (RFC 7030 4.2.2)."""
    if order.subject != certificate.subject:
        raise Refused(400, "the Subject differs from that of the client certificate")
    if _names(order.san) != _names(alternative_names(certificate.extensions)):
        raise Refused(400, "the SubjectAltName differs from that of the client certificate")


def _check_signature(csr: x509.CertificateSigningRequest) -> None:
    digest = csr.signature_hash_algorithm
    if digest is None or digest.name in WEAK_DIGESTS:
        raise Refused(400, "the request's signature algorithm is not allowed: use SHA-256")
    if not is_signed(csr):
        raise Refused(400, "the request's signature is wrong")


def _check_key(csr: x509.CertificateSigningRequest) -> None:
    key = csr.public_key()
    allowed = False
    if isinstance(key, ec.EllipticCurvePublicKey):
        allowed = key.curve.name in _CURVES
    elif isinstance(key, rsa.RSAPublicKey):
        allowed = 2048 <= key.key_size <= _MAX_RSA_BITS
        if key.public_numbers().e < _MIN_RSA_EXPONENT:
            raise Refused(400, f"the RSA exponent is below {_MIN_RSA_EXPONENT}")
    if not allowed:
        raise Refused(400, "the key is not allowed: use P-256, P-384 or RSA from 2048 bits")


def _check_subject(csr: x509.CertificateSigningRequest) -> None:
    if not list(csr.subject):
        raise Refused(400, "the Subject is empty")
    if len(csr.subject.public_bytes()) > _MAX_SUBJECT:
        raise Refused(400, f"the Subject is longer than {_MAX_SUBJECT} bytes")


def _order(csr: x509.CertificateSigningRequest) -> Order:
    order = Order(csr.subject, csr.public_key(), alternative_names(csr.extensions))
    for extension in csr.extensions:
        match extension.value:
            case x509.BasicConstraints(ca=True):
                raise Refused(400, "CA certificates are not issued: BasicConstraints says CA")
            case x509.KeyUsage() as usage:
                if usage.key_cert_sign or usage.crl_sign:
                    raise Refused(400, "KeyUsage asks for keyCertSign or cRLSign")
                if not usages(usage):
                    raise Refused(400, "KeyUsage asks for nothing: leave it out")
                order = replace(order, usage=usage)
            case x509.ExtendedKeyUsage() as purposes:
                refused = [one.dotted_string for one in purposes if one not in _PURPOSES]
                if refused:
                    raise Refused(400, f"ExtendedKeyUsage {', '.join(refused)} is not allowed")
                order = replace(order, purposes=tuple(purposes))
    return order


def _names(san: x509.SubjectAlternativeName | None) -> set[x509.GeneralName]:
    return set(san or ())

"""Certificates as others make them: of X.509 v1, or with whatever extensions."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from pyasn1.codec.der.decoder import decode
from pyasn1.type import univ

from mpest.server import der
from mpest.server.ca import key_usage, now

CA = (x509.BasicConstraints(True, None), key_usage("key_cert_sign", "crl_sign"))
_VERSION, _EXTENSIONS = b"\xa0", b"\xa3"


def issue(
    subject: x509.Name,
    key: Any,
    issuer: x509.Name,
    issuer_key: Any,
    extensions: Iterable[x509.ExtensionType] = (),
    *,
    critical: bool = True,
    start: datetime | None = None,
    end: datetime | None = None,
    digest: Any = hashes.SHA256(),  # noqa: B008  immutable
) -> x509.Certificate:
    """A certificate of X.509 v3 for a day, or from `start` until `end`."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start or now() - timedelta(days=1))
        .not_valid_after(end or now() + timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, digest)


def as_v1(
    certificate: x509.Certificate, issuer_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    """The same without extensions, as X.509 v1."""
    fields = _elements(certificate.tbs_certificate_bytes)
    signed = der.sequence(*(one for one in fields if one[:1] not in (_VERSION, _EXTENSIONS)))
    algorithm = _elements(certificate.public_bytes(Encoding.DER))[1]
    signature = issuer_key.sign(signed, ec.ECDSA(hashes.SHA256()))
    whole = der.sequence(signed, algorithm, der.tlv(0x03, b"\0", signature))
    return x509.load_der_x509_certificate(whole)


def _elements(sequence: bytes) -> list[bytes]:
    elements, _ = decode(sequence, asn1Spec=univ.SequenceOf(componentType=univ.Any()))
    return [bytes(element) for element in elements]

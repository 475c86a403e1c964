"""CAs and the certificates that they sign."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CaKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_CA_LIFETIME = timedelta(days=20 * 365)
_BACKDATE = timedelta(minutes=5)  # a client whose clock is a little behind still accepts it
_SECOND = timedelta(seconds=1)  # what dates of certificates count in
_KEYS: dict[str, Callable[[], "CaKey"]] = {
    "P-256": lambda: new_key(),
    "RSA-4096": lambda: rsa.generate_private_key(65537, 4096),
}
_BITS = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
USAGES = {
    "digitalSignature": "digital_signature",
    "nonRepudiation": "content_commitment",
    "keyEncipherment": "key_encipherment",
    "dataEncipherment": "data_encipherment",
    "keyAgreement": "key_agreement",
}
"""What a certificate's key may be for (RFC 5280 4.2.1.3), and what `x509.KeyUsage` calls it."""


def key_usage(*names: str) -> x509.KeyUsage:
    """A KeyUsage with only the named bits set, named as `x509.KeyUsage` names them."""
    return x509.KeyUsage(**{bit: bit in names for bit in _BITS})


@dataclass(frozen=True)
class Order:
    """What goes into a certificate, whoever signs it."""

    subject: x509.Name
    public_key: CertificatePublicKeyTypes
    san: x509.SubjectAlternativeName | None = None
    usage: x509.KeyUsage = key_usage("digital_signature")  # noqa: RUF009  immutable
    purposes: tuple[x509.ObjectIdentifier, ...] = (
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SERVER_AUTH,
    )
    crl_url: str | None = None
    """Where the certificate says that the list of revoked ones is (RFC 5280 4.2.1.13)."""


@dataclass(frozen=True)
class Signer:
    """A key and the certificate that says whose it is."""

    certificate: x509.Certificate
    key: CaKey

    def sign(
        self, order: Order, not_after: datetime, not_before: datetime | None = None
    ) -> x509.Certificate:
        """An end-entity certificate that ends no later than its issuer. Dates are aware."""
        issuer = self.certificate
        not_after = min(not_after, issuer.not_valid_after_utc)
        not_before = not_before or min(now(), not_after) - _BACKDATE
        builder = _builder(order.subject, order.public_key, not_before, not_after)
        return _sign(_end_entity(builder, order), issuer.subject, issuer.public_key(), self.key)


def objection_to_ca(certificate: x509.Certificate) -> str | None:
    """Why it may not issue certificates (RFC 5280 4.2.1.3, 4.2.1.9), or None."""
    try:
        extensions = certificate.extensions
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return "it has no basicConstraints"
    except (ValueError, x509.DuplicateExtension):
        return "its extensions can't be read"
    if not constraints.ca:
        return "its basicConstraints say so"
    with contextlib.suppress(x509.ExtensionNotFound):
        if not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            return "its keyUsage lacks keyCertSign"
    return None


def check_cas(pem: str) -> str:
    """The same, if all certificates in it are those of CAs. Raises ValueError in plain words."""
    try:
        certificates = x509.load_pem_x509_certificates(pem.encode())
    except (ValueError, x509.InvalidVersion) as error:
        raise ValueError("holds no certificate in PEM") from error
    for certificate in certificates:
        objection = objection_to_ca(certificate)
        if objection:
            subject = certificate.subject.rfc4514_string()
            raise ValueError(f"holds the certificate of {subject!r}, which is no CA: {objection}")
    return pem


def now() -> datetime:
    return datetime.now(UTC)


def common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def new_ca(
    name: str,
    parent: Signer | None = None,
    *,
    key_type: str = "P-256",
    below: int | None = None,
    after: Signer | None = None,
) -> Signer:
    """A CA, signed by `parent` or by itself; `below` it may be that many more, None for any.

    It begins later than the root `after`, for clients tell by that which of both is the successor.
    """
    key = _KEYS[key_type]()
    subject = common_name(name)
    start = now() - _BACKDATE
    if after:
        start = max(start, after.certificate.not_valid_before_utc + _SECOND)
    end = parent.certificate.not_valid_after_utc if parent else start + _CA_LIFETIME
    builder = _ca_builder(subject, key.public_key(), start, end, below)
    if parent is None:
        return Signer(_sign(builder, subject, key.public_key(), key), key)
    issuer = parent.certificate
    return Signer(_sign(builder, issuer.subject, issuer.public_key(), parent.key), key)


def link(root: Signer, by: Signer, end: datetime | None = None) -> x509.Certificate:
    """The key of `root` certified by another root: OldWithNew or NewWithOld (RFC 4210 4.4).

    It begins with `root`, which tells clients how old that key is, and ends with the older root.
    """
    one, issuer = root.certificate, by.certificate
    end = end or min(one.not_valid_after_utc, issuer.not_valid_after_utc)
    start = min(one.not_valid_before_utc, end - _BACKDATE)
    builder = _ca_builder(one.subject, one.public_key(), start, end, None)
    return _sign(builder, issuer.subject, issuer.public_key(), by.key)


def self_signed(order: Order, key: ec.EllipticCurvePrivateKey, end: datetime) -> x509.Certificate:
    """An end-entity certificate that no CA stands behind."""
    builder = _builder(order.subject, key.public_key(), now() - _BACKDATE, end)
    return _sign(_end_entity(builder, order), order.subject, key.public_key(), key)


def _ca_builder(
    subject: x509.Name,
    key: CertificatePublicKeyTypes,
    start: datetime,
    end: datetime,
    below: int | None,
) -> x509.CertificateBuilder:
    return (
        _builder(subject, key, start, end)
        .add_extension(x509.BasicConstraints(True, below), critical=True)
        .add_extension(key_usage("key_cert_sign", "crl_sign"), critical=True)
    )


def _builder(
    subject: x509.Name, key: CertificatePublicKeyTypes, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _end_entity(builder: x509.CertificateBuilder, order: Order) -> x509.CertificateBuilder:
    builder = (
        builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(order.usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(order.purposes), critical=False)
    )
    if order.crl_url:
        names = [x509.UniformResourceIdentifier(order.crl_url)]
        points = x509.CRLDistributionPoints([x509.DistributionPoint(names, None, None, None)])
        builder = builder.add_extension(points, critical=False)
    return builder.add_extension(order.san, critical=False) if order.san else builder


def _sign(
    builder: x509.CertificateBuilder,
    issuer: x509.Name,
    issuer_key: CertificatePublicKeyTypes,
    key: CaKey,
) -> x509.Certificate:
    identifier = x509.SubjectKeyIdentifier.from_public_key(issuer_key)
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    builder = builder.issuer_name(issuer).add_extension(authority, critical=False)
    return builder.sign(key, hashes.SHA256())

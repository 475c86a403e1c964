"""The lists of revoked certificates (RFC 5280 5).

They are signed when something changes, or half of their time is over, and not for each client.
"""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from mpest.server import files
from mpest.server.authority import Authority
from mpest.server.ca import Signer, now
from mpest.server.database import Database, Issued, Revocation

_LIFETIME = timedelta(days=7)
_LOCK = threading.Lock()  # what is written last has to be what is newest
_BACKDATE = timedelta(minutes=5)  # a client whose clock is a little behind still accepts it
# CRLReason (RFC 5280 5.3.1) by number.
_REASONS = {
    0: x509.ReasonFlags.unspecified,
    1: x509.ReasonFlags.key_compromise,
    2: x509.ReasonFlags.ca_compromise,
    3: x509.ReasonFlags.affiliation_changed,
    4: x509.ReasonFlags.superseded,
    5: x509.ReasonFlags.cessation_of_operation,
    6: x509.ReasonFlags.certificate_hold,
    8: x509.ReasonFlags.remove_from_crl,
    9: x509.ReasonFlags.privilege_withdrawn,
    10: x509.ReasonFlags.aa_compromise,
}
OWN_REASONS = {0, 1, 3, 4, 5, 9}
"""Those that a certificate's owner may give: nobody but the CA could lift a hold."""


def publish(authority: Authority, database: Database, path: Path) -> None:
    """Replace the PEM file at `path`, a list of each CA whose certificates are in use; that of the
    CA that issues comes first. Raises OSError."""
    with _LOCK:
        files.replace_one(path, b"".join(_lists(authority, database)))


def due(authority: Authority, path: Path) -> bool:
    """Whether the lists in the file at `path` should be published anew."""
    try:
        current = issuing(path)
    except (OSError, ValueError):
        return True
    if not current.is_signature_valid(authority.issuer.key.public_key()):
        return True  # a rollover was cut off, or the disk was full
    end = current.next_update_utc
    return end is None or end < now() + _LIFETIME / 2


def issuing(path: Path) -> x509.CertificateRevocationList:
    """The list of the CA that issues. Raises OSError."""
    return x509.load_pem_x509_crl(path.read_bytes())


def _lists(authority: Authority, database: Database) -> Iterator[bytes]:
    signers = {_identifier(signer.certificate): signer for signer in authority.all_signers}
    entries: dict[bytes, list[x509.RevokedCertificate]] = {key: [] for key in signers}
    for issued, why in database.revoked():
        issuer = _issuer_identifier(x509.load_der_x509_certificate(issued.der))
        if issuer in entries:  # else a CA before the last rollover but one: it signs no more
            entries[issuer].append(_entry(issued, why))
    for key, signer in signers.items():
        yield _sign(signer, entries[key]).public_bytes(Encoding.PEM)


def _identifier(ca: x509.Certificate) -> bytes:
    return x509.SubjectKeyIdentifier.from_public_key(ca.public_key()).digest


def _issuer_identifier(certificate: x509.Certificate) -> bytes | None:
    extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    return extension.value.key_identifier


def _entry(issued: Issued, why: Revocation | None) -> x509.RevokedCertificate:
    assert issued.revoked is not None
    entry = (
        x509.RevokedCertificateBuilder()
        .serial_number(int(issued.serial, 16))
        .revocation_date(datetime.fromtimestamp(issued.revoked, UTC))
    )
    if why and why.reason:  # "unspecified" is better left out (RFC 5280 5.3.1)
        entry = entry.add_extension(x509.CRLReason(_REASONS[why.reason]), False)
    if why and why.since:
        since = datetime.fromtimestamp(why.since, UTC)
        entry = entry.add_extension(x509.InvalidityDate(since), False)
    return entry.build()


def _sign(
    signer: Signer, entries: list[x509.RevokedCertificate]
) -> x509.CertificateRevocationList:
    moment = now()
    identifier = x509.SubjectKeyIdentifier.from_public_key(signer.certificate.public_key())
    builder = (
        x509.CertificateRevocationListBuilder(revoked_certificates=entries)
        .issuer_name(signer.certificate.subject)
        .last_update(moment - _BACKDATE)
        .next_update(moment + _LIFETIME)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False
        )
        .add_extension(x509.CRLNumber(int(moment.timestamp() * 1000)), False)
    )
    return builder.sign(signer.key, hashes.SHA256())

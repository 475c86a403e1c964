"""The list of revoked certificates (RFC 5280 5)."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from mpest.server.ca import Authority, now
from mpest.server.database import Database

_LIFETIME = timedelta(days=7)
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


def build(authority: Authority, database: Database) -> x509.CertificateRevocationList:
    """The current list of the CA that issues."""
    issuer = authority.issuer
    moment = now()
    identifier = x509.SubjectKeyIdentifier.from_public_key(issuer.certificate.public_key())
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(moment - _BACKDATE)
        .next_update(moment + _LIFETIME)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False
        )
        .add_extension(x509.CRLNumber(int(moment.timestamp() * 1000)), False)
    )
    for issued, why in database.revoked():
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
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, hashes.SHA256())


def publish(authority: Authority, database: Database, path: Path) -> None:
    """Replace the PEM file at `path`. Raises OSError."""
    part = path.with_suffix(".part")
    part.write_bytes(build(authority, database).public_bytes(Encoding.PEM))
    os.replace(part, path)

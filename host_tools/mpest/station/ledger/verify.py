"""Holds a ledger against a CA and a server's list: what one of them lacks or says otherwise."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from mpest.exits import CliError
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Certificate, Unit
from mpest.station.ledger.working import key_hash_of, spki_hash
from mpest.text import printable

# Longer chains of real CAs are not known.
_MAX_CHAIN = 8
# None is there, or it can't be read.
_UNREADABLE = (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a board's record. serial: "" where the ledger has no board."""

    serial: str
    what: str


def verify(
    ledger: Ledger,
    anchors: Sequence[x509.Certificate],
    batch: str | None = None,
) -> Iterator[Finding]:
    """Of all certificates, or those of a batch, against the rows and the CA certificates."""
    certificates = ledger.certificates(batch=batch)
    for certificate in certificates:
        for what in _check(certificate, anchors):
            yield Finding(certificate.serial, f"certificate {certificate.number} {what}")
    by_unit: defaultdict[str, list[Certificate]] = defaultdict(list)
    for certificate in certificates:
        by_unit[certificate.serial].append(certificate)
    subjects: dict[str, str] = {}
    by_key = Counter(certificate.key_hash for certificate in certificates)
    for unit in ledger.units(batch):
        if unit.csr is not None:
            yield from (Finding(unit.serial, what) for what in _check_request(unit))
        for own in _parsed(unit.pem)[:1]:
            subject = own.subject.rfc4514_string()
            first = subjects.setdefault(subject, unit.serial)
            if first != unit.serial:
                yield Finding(unit.serial, f"has the names of {first}: {printable(subject)}")
        if by_key[unit.key_hash] > 1:
            what = f"has {by_key[unit.key_hash]} certificates for one key: issued twice"
            yield Finding(unit.serial, what)
        yield from _check_state(unit, by_unit[unit.serial])
    numbers: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for certificate in certificates:
        for own in _parsed(certificate.pem)[:1]:
            numbers[own.issuer.rfc4514_string(), certificate.number].append(certificate.serial)
    for (_, number), serials in numbers.items():
        for serial in serials[1:]:
            yield Finding(serial, f"certificate {number} has the serial number of another one")


def _check_state(unit: Unit, certificates: Sequence[Certificate]) -> Iterator[Finding]:
    current = [certificate for certificate in certificates if certificate.current]
    if unit.state == "done":
        if not any(certificate.proven for certificate in current):
            yield Finding(unit.serial, "is done without a certificate that it proved to hold")
        for certificate in current:
            if certificate.revoked:
                yield Finding(unit.serial, f"is done, and {certificate.number} is revoked")
    for certificate in certificates:
        gone = unit.state == "scrapped" or (unit.state == "done" and not certificate.current)
        if gone and not certificate.revoked:
            yield Finding(
                unit.serial, f"certificate {certificate.number} is replaced and not revoked"
            )
        elif certificate.revoking and not certificate.revoked:
            yield Finding(
                unit.serial, f"certificate {certificate.number} is to be revoked and isn't yet"
            )


def _check(certificate: Certificate, anchors: Sequence[x509.Certificate]) -> Iterator[str]:
    chain = _parsed(certificate.pem)
    if not chain:
        yield "can't be read"
        return
    own, *others = chain
    if sha256(own.public_bytes(Encoding.DER)).hexdigest() != certificate.fingerprint:
        yield "isn't the one that was recorded: its SHA-256 differs"
    if f"{own.serial_number:x}" != certificate.number:
        yield f"has serial number {own.serial_number:x}"
    try:
        is_its_key = key_hash_of(own) == certificate.key_hash
    except ValueError:
        is_its_key = False
    if not is_its_key:
        yield "is for another key than the board's"
    if not _leads_to(own, others, anchors):
        yield "has no chain to the CA"


def _parsed(pem: str) -> list[x509.Certificate]:
    """Empty where there is none, or the row is damaged."""
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except (ValueError, x509.InvalidVersion):
        return []


def _leads_to(
    certificate: x509.Certificate,
    others: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
) -> bool:
    """Whether signatures lead from it, over CAs of `others`, to one of `anchors`."""
    for _ in range(_MAX_CHAIN):
        if any(_is_issued(certificate, anchor) for anchor in anchors):
            return True
        above = [other for other in others if _is_ca(other) and _is_issued(certificate, other)]
        if not above or above[0] == certificate:
            return False
        certificate = above[0]
    return False


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (*_UNREADABLE, ValueError):
        return False


def _is_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True


def _check_request(unit: Unit) -> Iterator[str]:
    try:
        request = x509.load_der_x509_csr(unit.csr or b"")
        fits = request.is_signature_valid and spki_hash(request.public_key()) == unit.key_hash
        names = _names(request)
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        fits, names = False, set()
    if not fits:
        yield "has a request in the ledger that isn't of its key"
    for own in _parsed(unit.pem)[:1]:
        lacking = names - _names(own)
        if lacking:
            shown = printable(", ".join(sorted(lacking)))
            yield f"asked for names that its certificate lacks: {shown}"


def _names(holder: x509.Certificate | x509.CertificateSigningRequest) -> set[str]:
    """Subject and, where they can be read, alternative names."""
    names = {holder.subject.rfc4514_string()}
    try:
        extension = holder.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (*_UNREADABLE, ValueError):
        return names
    return names | {str(name.value) for name in extension.value}


def compare(
    ledger: Ledger, issued: Iterable[dict[str, Any]], others: Sequence[x509.Certificate]
) -> Iterator[Finding]:
    """The server's certificates against the ledger's.

    issued: as `mpest serve --list --json` prints them.
    others: certificates of the same CA that are no boards', such as the stations' own.
    """
    known = {certificate.number: certificate for certificate in ledger.certificates()}
    passed = {f"{certificate.serial_number:x}" for certificate in others}
    subjects = {
        own.subject.rfc4514_string(): certificate.serial
        for certificate in known.values()
        for own in _parsed(certificate.pem)[:1]
    }
    listed = set()
    for entry in issued:
        number, subject = entry["serial"], printable(entry["subject"])
        listed.add(number)
        certificate = known.get(number)
        if certificate is None:
            if number not in passed:
                serial = subjects.get(entry["subject"], "")
                yield Finding(serial, f"the ledger lacks certificate {number} for {subject}")
        elif certificate.revoked and not entry["revoked"]:
            yield Finding(certificate.serial, f"the server did not revoke certificate {number}")
        elif entry["revoked"] and not certificate.revoked:
            yield Finding(
                certificate.serial, f"the server revoked certificate {number}, the ledger did not"
            )
    for number, certificate in known.items():
        if number not in listed:
            yield Finding(certificate.serial, f"the server's list lacks certificate {number}")


def read_list(text: str, source: object) -> list[dict[str, Any]]:
    """The certificates of `mpest serve --list --json`. Raises CliError."""
    certificates = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            if entry["event"] != "certificate":
                continue
            serial = f"{int(entry['serial'], 16):x}"
            certificates.append(
                {
                    "serial": serial,
                    "subject": str(entry["subject"]),
                    "revoked": bool(entry["revoked"]),
                }
            )
        except (ValueError, TypeError, KeyError, RecursionError):
            raise CliError(
                f"{source}, line {number}: no line of `mpest serve --list --json`"
            ) from None
    return certificates

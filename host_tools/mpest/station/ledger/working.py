"""What a worker does with a unit: claim, record, finish. Each needs the lease that it has."""

from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import select
from sqlalchemy.orm import Session

from mpest.station.ledger import claims, rows
from mpest.station.ledger.base import Base, batch_row
from mpest.station.ledger.database import Writing
from mpest.station.ledger.tables import CertificateRow, KeyRow, UnitRow
from mpest.station.ledger.units import (
    Duplicate,
    KeyChanged,
    NotForThisBoard,
    SetAside,
    Unit,
    Who,
    WrongCertificate,
    identifier,
    mac_address,
)

LEASE = timedelta(minutes=10)
"""Longer than any step; renewed by whoever is alive."""
INTENT = "intent"
"""The outcome of a step that was begun and cannot be undone."""


class Working(Base):
    def claim(
        self,
        batch: str,
        who: Who,
        unique_id: str,
        mac: str = "",
        serial: str | None = None,
        lease: timedelta = LEASE,
        others: Sequence[tuple[str, str]] = (),
        *,
        scan: bool = False,
        only_failed: bool = False,
    ) -> Unit:
        """The unit that this board is or becomes, with a lease on it.

        serial: what was scanned; without it the next open one, or, where `scan` says that labels
        are scanned, ScanNeeded for a board that was not begun.
        only_failed: NotBegun for a board of which no run has failed or was cut.
        others: (port, MAC address or "") of the other boards at this station that say the same
        unique id at this moment: all of them are set aside.
        Raises NotForThisBoard, whose kinds say why.
        """
        board = claims.Seen(
            who=who,
            unique_id=identifier(unique_id),
            mac=mac_address(mac) if mac else "",
            serial=serial,
            others=[(port, mac_address(other) if other else "") for port, other in others],
            scan=scan,
            only_failed=only_failed,
        )

        def work(writing: Writing) -> Unit | NotForThisBoard:
            try:
                row = claims.claim(writing, batch_row(writing.session, batch), board, lease)
            except NotForThisBoard as error:
                return error  # what was set aside for it is committed
            writing.note("claim", who, batch_id=row.batch_id, unit_id=row.id)
            return rows.unit_of(writing.session, row)

        def again(session: Session, call: str) -> Unit | NotForThisBoard:
            row = session.scalars(select(UnitRow).where(UnitRow.lease == call)).first()
            if row is None:
                return SetAside(f"unique id {unique_id} is set aside: take the board away")
            return rows.unit_of(session, row)

        outcome = self._database.write(work, again)
        if isinstance(outcome, NotForThisBoard):
            raise outcome
        return outcome

    def renew(self, unit: Unit, who: Who, lease: timedelta = LEASE) -> Unit:
        """Raises LeaseLost where another has the unit by now; so does all that follows."""

        def work(writing: Writing, row: UnitRow) -> None:
            row.lease_until = writing.now + lease

        return self._held(unit, work)

    def step(
        self, unit: Unit, who: Who, name: str, outcome: str, seconds: float, **detail: Any
    ) -> None:
        """What a step came to. detail: JSON, without secrets.

        A step that cannot be undone is recorded twice: before it with outcome INTENT.
        """

        def work(writing: Writing, row: UnitRow) -> None:
            self._note(
                writing,
                "step",
                who,
                row,
                step=name,
                outcome=outcome,
                seconds=seconds,
                detail=detail,
            )

        self._held(unit, work)

    def record_request(self, unit: Unit, who: Who, key_hash: str, csr: bytes) -> Unit:
        """Before the request leaves the station. key_hash: SHA-256 in hex of the public key.

        The same key again is fine. Raises KeyChanged for another key of the same unit, Duplicate
        for a key that another unit has.
        """

        def work(writing: Writing, row: UnitRow) -> None:
            session = writing.session
            key = session.scalars(select(KeyRow).where(KeyRow.key_hash == key_hash)).first()
            if key is not None and key.unit_id != row.id:
                other = session.get_one(UnitRow, key.unit_id)
                raise Duplicate(
                    f"the board's key is that of {other.serial}: set both boards aside",
                    [rows.unit_of(session, other)],
                )
            if (key is None and row.key_id is not None) or (key and key.id != row.key_id):
                raise KeyChanged(
                    f"{row.serial} asked for its certificate with another key than the board "
                    "has now: wiped, or another board; rework it to give it a new one",
                    [rows.unit_of(session, row)],
                )
            if key is None:
                key = KeyRow(
                    unit_id=row.id,
                    generation=row.generation,
                    key_hash=key_hash,
                    csr=csr,
                    recorded=writing.now,
                )
                session.add(key)
                session.flush()
                row.key_id = key.id
            key.csr = csr
            self._note(
                writing,
                "request",
                who,
                row,
                detail={"key_hash": key_hash, "csr": sha256(csr).hexdigest()},
            )

        return self._held(unit, work)

    def record_certificate(self, unit: Unit, who: Who, chain: Sequence[bytes]) -> Unit:
        """Before it is installed. chain: DER, the board's own certificate first.

        The same again is fine. Raises WrongCertificate where it isn't for the unit's key.
        """
        try:
            own = x509.load_der_x509_certificate(chain[0])
            key_hash = key_hash_of(own)
            pem = _bundle(chain)
        except (ValueError, IndexError, TypeError, x509.InvalidVersion):
            raise WrongCertificate(
                f"what the server issued for {unit.serial} is no certificate", [unit]
            ) from None
        fingerprint = sha256(chain[0]).hexdigest()

        def work(writing: Writing, row: UnitRow) -> None:
            key = writing.session.get(KeyRow, row.key_id) if row.key_id else None
            if key is None or key.key_hash != key_hash:
                raise WrongCertificate(
                    f"the certificate that the server issued for {row.serial} is for another key",
                    [rows.unit_of(writing.session, row)],
                )
            known = writing.session.scalars(
                select(CertificateRow).where(CertificateRow.fingerprint == fingerprint)
            ).first()
            if known is not None:
                return
            writing.session.add(
                CertificateRow(
                    key_id=key.id,
                    number=f"{own.serial_number:x}",
                    fingerprint=fingerprint,
                    pem=pem,
                    not_before=own.not_valid_before_utc,
                    not_after=own.not_valid_after_utc,
                    recorded=writing.now,
                    station=who.station,
                    port=who.port,
                    operator=who.operator,
                )
            )
            self._note(
                writing,
                "certificate",
                who,
                row,
                detail={
                    "fingerprint": fingerprint,
                    "number": f"{own.serial_number:x}",
                    "key_hash": key_hash,
                },
            )

        return self._held(unit, work)

    def finish(self, unit: Unit, who: Who, proven_chain: Sequence[bytes]) -> Unit:
        """The board proved that it holds the key of this certificate: it is done.

        proven_chain: as the board has it, which may be more than the server's answer held.
        What a rework replaced is `superseded` from now on, and may be revoked.
        Raises WrongCertificate where the certificate isn't the unit's.
        """
        fingerprint = sha256(proven_chain[0]).hexdigest() if proven_chain else ""
        try:
            pem = _bundle(proven_chain)
        except (ValueError, x509.InvalidVersion):
            raise WrongCertificate(
                f"what {unit.serial} has is no chain of certificates", [unit]
            ) from None

        def work(writing: Writing, row: UnitRow) -> None:
            certificate = writing.session.scalars(
                select(CertificateRow).where(
                    CertificateRow.fingerprint == fingerprint,
                    CertificateRow.key_id == row.key_id,
                )
            ).first()
            if certificate is None:
                raise WrongCertificate(
                    f"{row.serial} has a certificate that the ledger doesn't have for it",
                    [rows.unit_of(writing.session, row)],
                )
            certificate.proven = certificate.proven or writing.now
            certificate.pem = max(certificate.pem, pem, key=len)
            row.state, row.lease, row.lease_until = "done", None, None
            replaced = writing.session.scalars(
                select(CertificateRow.fingerprint)
                .join(KeyRow, CertificateRow.key_id == KeyRow.id)
                .where(KeyRow.unit_id == row.id, KeyRow.id != row.key_id)
            ).all()
            detail = {"fingerprint": fingerprint, "replaces": list(replaced)}
            self._note(writing, "finish", who, row, outcome="done", detail=detail)

        return self._held(unit, work)

    def fail(self, unit: Unit, who: Who, step: str, reason: str) -> Unit:
        """The run ends here; the next claim goes on with what the board has."""

        def work(writing: Writing, row: UnitRow) -> None:
            row.state, row.lease, row.lease_until = "failed", None, None
            row.failures += 1
            self._note(writing, "fail", who, row, step=step, outcome=reason)

        return self._held(unit, work)

    def failed(self, batch: str, who: Who, step: str, reason: str, **detail: Any) -> None:
        """A board that failed before it had a unit, or that was refused one."""

        def work(writing: Writing) -> None:
            row = batch_row(writing.session, batch)
            outcome = reason
            writing.note("fail", who, batch_id=row.id, step=step, outcome=outcome, detail=detail)

        self._database.write(work, lambda session, _: None)

    def release(self, unit: Unit, who: Who) -> Unit:
        """The worker stops, and nothing is wrong with the board."""

        def work(writing: Writing, row: UnitRow) -> None:
            row.lease, row.lease_until = None, None
            self._note(writing, "release", who, row)

        return self._held(unit, work)


def _bundle(chain: Sequence[bytes]) -> str:
    """The certificates in PEM. Raises ValueError."""
    parsed = [x509.load_der_x509_certificate(der) for der in chain]
    return "".join(part.public_bytes(Encoding.PEM).decode() for part in parsed)


def key_hash_of(certificate: x509.Certificate) -> str:
    """SHA-256 in hex of its SubjectPublicKeyInfo. Raises ValueError for unknown keys."""
    try:
        return spki_hash(certificate.public_key())
    except UnsupportedAlgorithm:
        raise ValueError("its key is of an unknown type") from None


def spki_hash(key: CertificatePublicKeyTypes) -> str:
    """SHA-256 in hex of a key as it stands in certificates."""
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()

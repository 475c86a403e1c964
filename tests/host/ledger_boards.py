"""Boards without hardware for tests of the ledger: unique ids, keys, and a CA for these."""

import datetime
from dataclasses import dataclass
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import NewUnit, Unit, Who

ANN = Who("station-1", "1-1.1", "ann")
BOB = Who("station-2", "1-1.2", "bob")


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """A CA with a root alone."""

    def __init__(self, title: str = "CA") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = name(title)
        basic = x509.BasicConstraints(ca=True, path_length=0)
        self.root = (
            self._builder(self.name, self.key.public_key())
            .add_extension(basic, critical=True)
            .sign(self.key, SHA256())
        )

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(days=90))
        )

    def issue(self, csr: bytes) -> list[bytes]:
        request = x509.load_der_x509_csr(csr)
        key = request.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        certificate = self._builder(request.subject, key).sign(self.key, SHA256())
        return [one.public_bytes(Encoding.DER) for one in (certificate, self.root)]


@dataclass
class Board:
    unique_id: str
    csr: bytes

    @property
    def key_hash(self) -> str:
        key = x509.load_der_x509_csr(self.csr).public_key()
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return sha256(spki).hexdigest()


def board(unique_id: str, subject: str = "unit") -> Board:
    """One with a new key."""
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(name(subject))
    return Board(unique_id, csr.sign(key, SHA256()).public_bytes(Encoding.DER))


def units(number: int, start: int = 1) -> list[NewUnit]:
    return [NewUnit(f"A{count:04}", {"colour": "red"}) for count in range(start, start + number)]


def make(ledger: Ledger, batch: str, one: Board, authority: Authority, who: Who = ANN) -> Unit:
    """One board through the line."""
    unit = ledger.claim(batch, who, one.unique_id)
    ledger.step(unit, who, "identify", "done", 0.5)
    unit = ledger.record_request(unit, who, one.key_hash, one.csr)
    unit = ledger.record_certificate(unit, who, authority.issue(one.csr))
    ledger.step(unit, who, "install", "done", 1.25)
    return ledger.finish(unit, who, unit.chain)

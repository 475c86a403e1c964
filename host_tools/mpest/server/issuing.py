"""What one request can have: certificates, their approval and their packaging."""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7

from mpest.server import crl, faults
from mpest.server.ca import Authority, Order, now
from mpest.server.config import ServerConfig
from mpest.server.database import Database
from mpest.server.wire import Reply, base64_reply

_Function = TypeVar("_Function")


@dataclass(frozen=True)
class Issuing:
    """The CA at work on one request, which the faults `active` strike."""

    config: ServerConfig
    authority: Authority
    database: Database
    active: set[str]

    def faults(self, table: dict[str, _Function]) -> list[_Function]:
        """The functions of the active faults in one of the tables."""
        return faults.pick(table, self.active)

    def approved(self, csr: x509.CertificateSigningRequest, principal: str) -> datetime | None:
        """When a CSR will be approved that is not yet, else None."""
        if self.config.approve_after <= 0:
            return None
        known = csr.public_bytes(Encoding.DER)
        if self.config.require_pop:  # the rest is another in each TLS session
            spki = csr.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            known = csr.subject.public_bytes() + spki
        digest = hashlib.sha256(known).hexdigest()
        first_seen = self.database.first_seen(digest, principal)
        approved = first_seen + timedelta(seconds=self.config.approve_after)
        return approved if approved > now() else None

    def issue(self, order: Order, secret: str | None) -> x509.Certificate:
        """A certificate on record; secret: the request's challengePassword."""
        end = now() + self.config.lifetime
        order = replace(order, crl_url=self.config.crl_url)
        for issue in self.faults(faults.CERTIFICATE):
            return issue(self.authority, order, end)
        certificate = self.authority.issuer.sign(order, end)
        self.database.record(certificate, secret)
        return certificate

    def package(self, certificates: list[x509.Certificate]) -> bytes:
        """DER of the certs-only CMS message (RFC 7030 4.1.3)."""
        der = pkcs7.serialize_certificates(certificates, Encoding.DER)
        for spoil in self.faults(faults.PACKAGE):
            der = spoil(self.authority, certificates)
        return der

    def reply(self, certificates: list[x509.Certificate], content_type: str) -> Reply:
        """An answer with nothing but certificates."""
        return base64_reply(self.package(certificates), content_type, self.config.wrap)

    def publish_crl(self) -> None:
        """Write `crl.pem` anew into the server's directory. Raises OSError."""
        crl.publish(self.authority, self.database, self.config.directory / "crl.pem")

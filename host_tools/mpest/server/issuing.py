"""What one request can have: certificates, their approval and their packaging."""

import hashlib
import math
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs7,
)
from cryptography.x509.oid import NameOID

from mpest.server import crl, faults, reserved, secret
from mpest.server.authority import Authority
from mpest.server.ca import Order, now
from mpest.server.config import ServerConfig
from mpest.server.csr_policy import purposes_of, usage_of, usages
from mpest.server.database import Database, Stored
from mpest.server.passwords import token_name
from mpest.server.patterns import shown_alternatives
from mpest.server.policy import Policy, Rule
from mpest.server.principals import ANONYMOUS, Principal, of_owner
from mpest.server.serverkeygen import PrivateKey
from mpest.server.spelling import canonical
from mpest.server.tls import names_of_server
from mpest.server.waiting import Came, TooMany
from mpest.server.wire import Refused, Reply, base64_reply

_Function = TypeVar("_Function")

_MANUAL = timedelta(minutes=1)  # when to ask again whether a person has approved
_LATER = (("Retry-After", str(int(_MANUAL.total_seconds()))),)  # when others may have got theirs
_ID_DIGITS = 12  # of a waiting request, to be typed by people


@dataclass(frozen=True)
class Asked:
    """One certification request that is well made, and who sent it."""

    operation: str
    principal: Principal
    csr: x509.CertificateSigningRequest
    order: Order
    key_type: str
    """Of the key to be certified, as `csr_policy.key_type` names it."""
    renewed: x509.Certificate | None = None
    """The certificate whose names it asks for again."""
    secret: str | None = field(default=None, repr=False)
    """The request's challengePassword."""


@dataclass(frozen=True)
class Granted:
    """A request that may have its certificate."""

    asked: Asked
    order: Order
    """What goes into it."""
    lifetime: timedelta
    owner: str | None
    forwarded_by: str | None
    earlier: x509.Certificate | None = None
    """What the same request brought before, if its answer may have been lost."""
    key: bytes | None = field(default=None, repr=False)
    """PKCS #8 of the key that the server made then."""


@dataclass(frozen=True)
class Issuing:
    """The CA at work on one request, which the faults `active` strike."""

    config: ServerConfig
    authority: Authority
    database: Database
    active: set[str]
    server: x509.Certificate | None = None
    """What the server shows in TLS: nobody gets its names."""
    issued: list[x509.Certificate] = field(default_factory=list)
    """What the request brought."""

    def faults(self, table: dict[str, _Function]) -> list[_Function]:
        """The functions of the active faults in one of the tables."""
        return faults.pick(table, self.active)

    def grant(self, asked: Asked, factories: list[x509.Certificate], before: int = 0) -> Granted:
        """What it may have. `factories`: the CAs that enrol; `before`: how many requests of the
        same message were granted already. Raises Refused.
        """
        order, rule = asked.order, None
        earlier, key = self._earlier(asked)
        if earlier:
            return Granted(asked, order, self.config.lifetime, None, None, earlier, key)
        rules = self.config.rules
        authorities = {*self.authority.published, *self.authority.anchors, *factories}
        # With those that came since the server's certificate was made, an address say.
        others = names_of_server(self.config.host)
        others += self.config.policy.reserved if self.config.policy else []
        reserved.check(order, authorities, self.server, others)
        if rules and asked.renewed:
            order, rule = self._renewal(rules, asked, asked.renewed, factories)
        elif rules:
            extensions = asked.csr.extensions
            purposes, usage = purposes_of(extensions), usage_of(extensions)
            principal = self._named(asked)
            rule = rules.allow(principal, order, asked.key_type, purposes or (), usage, now())
            order = replace(order, purposes=purposes or rule.purposes, usage=usage or rule.usage)
        owner, forwarded_by = self._owner(asked)
        if rule and rule.role == "ra" and not asked.renewed:
            owner, forwarded_by = None, asked.principal.owner
        if rule and rule.limit is not None and forwarded_by and not asked.renewed:
            left = rule.limit - self.database.forwarded(forwarded_by) - before
            if left <= 0:
                name = asked.principal.name
                raise Refused(403, f"{name} has brought all {rule.limit} that the policy allows")
        lifetime = rule.lifetime if rule and rule.lifetime else self.config.lifetime
        return Granted(asked, order, lifetime, owner, forwarded_by)

    def _renewal(
        self,
        rules: Policy,
        asked: Asked,
        renewed: x509.Certificate,
        factories: list[x509.Certificate],
    ) -> tuple[Order, Rule | None]:
        """What a renewal gets: nothing that the certificate did not have."""
        allowed = purposes_of(renewed.extensions) or ()
        wanted = purposes_of(asked.csr.extensions) or allowed
        if not set(wanted) <= set(allowed):
            raise Refused(403, "the ExtendedKeyUsage is wider than that of the certificate")
        held = usage_of(renewed.extensions) or asked.order.usage
        usage = usage_of(asked.csr.extensions) or held
        if not usages(usage) <= usages(held):
            raise Refused(403, "the KeyUsage is wider than that of the certificate")
        issued = self.database.find(renewed.serial_number)
        rule = None
        if issued:
            holder = of_owner(issued.forwarded_by or issued.whose, factories)
            rule = rules.rule_for(holder, renewed.subject)
        objection = rule.key_objection(asked.key_type) if rule else None
        if objection:
            raise Refused(403, f"the policy for {asked.principal.name} says no: {objection}")
        return replace(asked.order, purposes=wanted, usage=usage), rule

    def _named(self, asked: Asked) -> Principal:
        """Who asks. A token without a name has that of the first certificate that it brought,
        which must be nobody else's, in whatever spelling."""
        principal = asked.principal
        if principal.kind != "token" or principal.words:
            return principal
        first = self.database.first(principal.owner)
        subject = (
            x509.load_der_x509_certificate(first.der).subject if first else asked.order.subject
        )
        text = subject.rfc4514_string()
        common = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        words = {"user": str(common[0].value)} if common else {}
        name = words.get("user")
        named = {canonical(one) for one in map(token_name, self.config.tokens)}
        if first is None and (
            self.database.is_taken(text, name) or (name and canonical(name) in named)
        ):
            raise Refused(403, f"{text} is not the token's: it has no name, and others have that")
        return replace(principal, words=words)

    def _owner(self, asked: Asked) -> tuple[str | None, str | None]:
        """Under whom it goes on record, and who forwarded the first of a series of renewals."""
        if asked.principal.owner == ANONYMOUS:
            return None, None
        shown = asked.principal.certificate
        issued = self.database.find(shown.serial_number) if shown else None
        return asked.principal.owner, issued.forwarded_by if issued and asked.renewed else None

    def approved(self, asked: Asked) -> datetime | None:
        """When a request will be approved that is not yet, else None. Raises Refused for one that
        a person turned away, and where too many wait."""
        if self.config.approve_after <= 0:
            return None
        came = Came(
            self._waiting_id(asked),
            asked.principal.owner,
            asked.operation,
            asked.order.subject.rfc4514_string(),
            shown_alternatives(asked.order.san),
        )
        try:
            standing = self.database.waiting.enter(came)
        except TooMany as error:
            text = f"{error} for approval: send this one again later"
            raise Refused(429, text, _LATER) from None
        if standing.denied:
            raise Refused(403, "the request was denied: ask who runs the server")
        approved = now() + _MANUAL
        if not math.isinf(self.config.approve_after):
            approved = standing.since + timedelta(seconds=self.config.approve_after)
        return None if standing.approved or approved <= now() else approved

    def _waiting_id(self, asked: Asked) -> str:
        parts = (asked.operation, asked.principal.owner, self._identity(asked.csr).hex())
        return _digest(*parts)[:_ID_DIGITS]

    def issue(self, granted: Granted, key: PrivateKey | None = None) -> x509.Certificate:
        """A certificate on record, that of the same request before if there is one. `key`: made
        here, to be certified in place of the request's own.
        """
        self.issued.append(self._issue(granted, key))
        return self.issued[-1]

    def _issue(self, granted: Granted, key: PrivateKey | None) -> x509.Certificate:
        order = replace(granted.order, crl_url=self.config.crl_url)
        if key:
            order = replace(order, public_key=key.public_key())
        end = now() + granted.lifetime
        for issue in self.faults(faults.CERTIFICATE):
            return issue(self.authority, order, end)
        if granted.earlier:
            return granted.earlier
        asked = granted.asked
        certificate = self.authority.issuer.sign(order, end)
        one_time = asked.principal.one_time
        stored = Stored(
            owner=granted.owner,
            forwarded_by=granted.forwarded_by,
            challenge_password=self._hidden(asked.secret),
            request=self._request(asked),
            sealed_key=secret.seal(_pkcs8(key), self._identity(asked.csr)) if key else None,
            spent=(asked.principal.name, one_time) if one_time else None,
            waited=self._waiting_id(asked),
        )
        self.database.record(certificate, stored)
        return certificate

    def _hidden(self, challenge: str | None) -> str | None:
        """What is kept of a challengePassword that its sender alone knows."""
        if challenge is None or self.config.challenge_password:
            return None
        return secret.hashed(challenge)

    def _earlier(self, asked: Asked) -> tuple[x509.Certificate | None, bytes | None]:
        """What the same request brought: a certificate, and PKCS #8 of a key that was made."""
        found = self.database.answered(self._request(asked))
        if found is None or self.faults(faults.CERTIFICATE):
            return None, None
        issued, sealed = found
        key = secret.unseal(sealed, self._identity(asked.csr)) if sealed else None
        if sealed and key is None:
            return None, None
        return x509.load_der_x509_certificate(issued.der), key

    def _request(self, asked: Asked) -> str:
        """The same for the same request by the same client with the same credential."""
        return _digest(
            asked.operation, asked.principal.credential, self._identity(asked.csr).hex()
        )

    def _identity(self, csr: x509.CertificateSigningRequest) -> bytes:
        """What is the same each time that a CSR is sent."""
        if self.config.require_pop:  # the rest is another in each TLS session
            spki = csr.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            extensions = (
                one.oid.dotted_string.encode() + one.value.public_bytes() for one in csr.extensions
            )
            return csr.subject.public_bytes() + spki + b"".join(extensions)
        return csr.public_bytes(Encoding.DER)

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


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _pkcs8(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

"""The operations /simpleenroll, /simplereenroll and /serverkeygen (RFC 7030 4.2, 4.4)."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key

from mpest.server import faults
from mpest.server.auth import Authenticator
from mpest.server.ca import now
from mpest.server.csr_demands import check_demands
from mpest.server.csr_policy import (
    challenge_password,
    check_challenge,
    check_csr,
    check_same_names,
    key_type,
    read_csr,
    same_names,
)
from mpest.server.exchange import LOGIN, PRINCIPAL, Exchange
from mpest.server.issuing import Asked, Granted, Issuing
from mpest.server.principals import Principal
from mpest.server.serverkeygen import KeyType, PrivateKey, key_type_of, new_key, pack, wanted
from mpest.server.wire import CERTS_ONLY, Part, Refused, Reply, multipart_reply


class Enrolling:
    """Answers one certification request."""

    def __init__(self, issuing: Issuing, auth: Authenticator) -> None:
        self._issuing = issuing
        self._auth = auth
        self._config = issuing.config
        self._database = issuing.database

    def reply(self, exchange: Exchange) -> Reply:
        """The answer to one request. Raises Refused."""
        request, client = exchange.request, exchange.client
        renewed = self._renewed(exchange.operation, client)
        if renewed is not None:
            principal = self._auth.holder(renewed)
        else:
            principal = self._auth.principal(
                request.headers.get("Authorization"),
                method=request.method,
                target=request.raw_path,
                client=client,
                login=request[LOGIN],
                faults=self._issuing.active,
            )
        request[PRINCIPAL] = principal.name
        if request.content_type != "application/pkcs10":
            raise Refused(415, "send Content-Type: application/pkcs10")
        csr = read_csr(exchange.body)
        generated = exchange.operation == "serverkeygen"
        order = check_csr(csr, own_key=not generated)
        if self._config.enforce_csrattrs and self._config.csrattrs:
            check_demands(csr, self._config.csrattrs)
        secret = challenge_password(csr)
        check_challenge(secret, self._config.challenge_password)
        if self._config.require_pop and secret != exchange.unique:
            raise Refused(400, "the challengePassword is not tls-unique of this TLS session")
        if renewed is not None:
            check_same_names(order, renewed)
        kind = self._key_type(csr) if generated else key_type(csr.public_key())
        own = principal.certificate
        if own and same_names(order, own):
            renewed = own
        asked = Asked(exchange.operation, principal, csr, order, kind, renewed, secret)
        granted = self._issuing.grant(asked, self._auth.factories)
        if granted.earlier is None:
            self._check_unspent(principal, self._issuing.active)
            approved = self._issuing.approved(asked)
            if approved is not None:
                return self._waiting(approved)
        if generated:
            return self._generate(granted)
        return self._issuing.reply([self._issuing.issue(granted)], CERTS_ONLY)

    def _check_unspent(self, principal: Principal, faults: set[str]) -> None:
        password = principal.one_time
        if password and self._database.is_spent(principal.name, password):
            raise self._auth.challenge("the one-time password was used before", faults)

    def _key_type(self, csr: x509.CertificateSigningRequest) -> KeyType:
        """Of the key that is made for it."""
        return self._config.serverkeygen.key_type or key_type_of(csr)

    def _renewed(self, operation: str, client: x509.Certificate | None) -> x509.Certificate | None:
        """The client certificate where it is the credential, and its names must stay."""
        if operation == "simplereenroll":
            return self._auth.by_certificate(client)
        if operation == "serverkeygen" and client and self._config.auth != "mtls":
            return None if self._database.objection(client) else client
        return None

    def _generate(self, granted: Granted) -> Reply:
        policy, csr = self._config.serverkeygen, granted.asked.csr
        kept = load_der_private_key(granted.key, None) if granted.key else None
        key = kept if isinstance(kept, PrivateKey) else new_key(self._key_type(csr))
        chain = self._issuing.authority.certificates
        # Before anything is issued: the request may be refused here.
        packed = pack(
            key, policy, wanted(csr), self._issuing.authority.issuer, chain, self._known()
        )
        certificates = self._issuing.package([self._issuing.issue(granted, key)])
        parts = [packed, Part(CERTS_ONLY, certificates)]
        for spoil in self._issuing.faults(faults.PARTS):
            parts = spoil(parts)
        return multipart_reply(parts, self._config.wrap, binary="raw-der" in self._issuing.active)

    def _known(self) -> Iterator[x509.Certificate]:
        """What was issued, which is read when the first is asked for: most clients need none."""
        for row in self._database.issued():
            yield x509.load_der_x509_certificate(row.der)

    def _waiting(self, approved: datetime) -> Reply:
        """The 202 for a CSR that is `approved` later (RFC 7030 4.2.3).

        It has no body: Bouncy Castle's client does not read past one.
        """
        value = str(math.ceil((approved - now()).total_seconds()))
        if self._config.retry_after_date:
            at = datetime.fromtimestamp(math.ceil(approved.timestamp()), UTC)
            value = format_datetime(at, usegmt=True)
        return Reply(202, headers=(("Retry-After", value),), reason="waiting for approval")

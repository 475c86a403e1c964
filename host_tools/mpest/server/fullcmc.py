"""The operation /fullcmc (RFC 7030 4.3): who may have what revoked or issued, and the answer."""

import os
from datetime import datetime

from cryptography import x509

from mpest.server import csr_policy, faults, secret
from mpest.server.auth import Authenticator
from mpest.server.authority import Authority
from mpest.server.ca import Order, Signer, common_name, new_key, now
from mpest.server.cmc import Answer, Failure, PkiData, Revocation, State, Status, read
from mpest.server.crl import OWN_REASONS
from mpest.server.database import Issued
from mpest.server.exchange import PRINCIPAL, REVOKED, Exchange
from mpest.server.issuing import Asked, Granted, Issuing
from mpest.server.signed_data import SignedDataError
from mpest.server.tls import CMC_RA
from mpest.server.wire import (
    CERTIFICATES,
    CERTS_ONLY,
    CMC_REQUEST,
    CMC_RESPONSE,
    Refused,
    Reply,
    base64_reply,
)

_HTTP = {Failure.BAD_IDENTITY: 403, Failure.TRY_LATER: 429}
_FAILURES = {status: failure for failure, status in _HTTP.items()}
_MAX_SHOWN = 50  # characters of a serial number, which may have any length where none was issued


class _Failed(Exception):
    """Some part of the request is not granted."""

    def __init__(self, failure: Failure, text: str, *body_parts: int) -> None:
        super().__init__(text)
        self.state = State(Status.FAILED, body_parts or (0,), text, failure)


def _failed(refused: Refused, number: int) -> _Failed:
    failure = _FAILURES.get(refused.reply.status, Failure.BAD_REQUEST)
    return _Failed(failure, str(refused), number)


class FullCmc:
    """Answers one full PKI request."""

    def __init__(self, issuing: Issuing, auth: Authenticator) -> None:
        self._issuing = issuing
        self._auth = auth
        self._config = issuing.config
        self._database = issuing.database

    def reply(self, exchange: Exchange) -> Reply:
        """The answer to one POST. Raises Refused where it is not CMC that came."""
        request, client = exchange.request, exchange.client
        if request.content_type != CERTIFICATES:
            raise Refused(415, f"send Content-Type: {CMC_REQUEST}")
        message = csr_policy.read_base64(exchange.body, "CMC request")
        asked = None
        issued: list[x509.Certificate] = []
        try:
            try:
                asked = read(message)
            except SignedDataError as error:
                raise _Failed(Failure.BAD_MESSAGE_CHECK, str(error)) from error
            if client and client != asked.signer and self._database.is_revoked(client):
                raise _Failed(Failure.BAD_IDENTITY, "the TLS client certificate is revoked")
            self._check_signer(asked)
            request[PRINCIPAL] = self._auth.holder(asked.signer).name
            states, issued = self._answer(asked)
            request[REVOKED] = [
                x509.load_der_x509_certificate(row.der)
                for one in asked.revocations
                if (row := self._database.find(one.serial))
            ]
        except _Failed as failed:
            states = [failed.state]
        authority = self._issuing.authority
        signer = self._signer(authority)
        answer = Answer(
            tuple(states),
            signer,
            asked.transaction if asked else None,
            asked.nonce if asked else None,
            (signer.certificate, *authority.published, *issued),
            os.urandom(16),
        )
        for spoil in self._issuing.faults(faults.CMC):
            answer = spoil(authority, answer)
        content_type = CERTS_ONLY if answer.simple else CMC_RESPONSE
        reply = base64_reply(answer.to_der(), content_type, self._config.wrap)
        if answer.failure is None:
            return reply
        reason = next(state.text for state in answer.states if state.failure is not None)
        status = _HTTP.get(answer.failure, 400)
        return Reply(status, reply.body, reply.content_type, reply.headers, reason=reason)

    def _answer(self, asked: PkiData) -> tuple[list[State], list[x509.Certificate]]:
        """Everything is checked before anything is done. Raises _Failed."""
        for revocation in asked.revocations:
            self._check_revocation(revocation, asked.signer)
        granted: dict[int, Granted] = {}
        for number, csr in asked.requests.items():
            granted[number] = self._grant(number, csr, asked.signer, len(granted))
        waits = {number: self._approved(number, one) for number, one in granted.items()}
        states = []
        issued: dict[bytes, x509.Certificate] = {}  # by request, which may come twice
        for number, one in granted.items():
            until = waits[number]
            if until:
                text = "waiting for approval: send the same request again later"
                states.append(State(Status.PENDING, [number], text, until=until))
            else:
                request = asked.requests[number]
                if request not in issued:
                    issued[request] = self._issuing.issue(one)
                states.append(State(Status.SUCCESS, [number]))
        for revocation in asked.revocations:
            self._database.revoke(revocation.serial, revocation.reason, revocation.since)
            states.append(State(Status.SUCCESS, [revocation.body_part], "revoked"))
        if asked.revocations:
            self._issuing.publish_crl()
        if not states:
            raise _Failed(Failure.BAD_REQUEST, "nothing is asked for")
        return states, list(issued.values())

    def _check_signer(self, asked: PkiData) -> None:
        objection = self._database.objection(asked.signer)
        # Who did not get the answer to its own revocation may ask again.
        again = not asked.requests and asked.revocations and objection == "is revoked"
        if again and all(one.serial == asked.signer.serial_number for one in asked.revocations):
            return
        if objection:
            raise _Failed(Failure.BAD_IDENTITY, f"the signer's certificate {objection}")

    def _check_revocation(self, asked: Revocation, signer: x509.Certificate) -> None:
        found = self._database.find(asked.serial)
        certificate = x509.load_der_x509_certificate(found.der) if found else None
        if (
            found is None
            or certificate is None
            or asked.issuer != certificate.issuer.public_bytes()
        ):
            serial = f"{asked.serial:x}"
            shown = serial if len(serial) <= _MAX_SHOWN else f"{serial[:_MAX_SHOWN]}..."
            text = f"no such certificate was issued here: {shown}"
            raise _Failed(Failure.BAD_CERT_ID, text, asked.body_part)
        if not (
            self._may_revoke(found, signer, asked.passphrase)
            or self._brings(found, certificate.subject, signer)
        ):
            text = f"only who owns a certificate may have it revoked: {found.serial}"
            raise _Failed(Failure.BAD_IDENTITY, text, asked.body_part)
        if asked.reason not in OWN_REASONS:
            raise _Failed(Failure.BAD_REQUEST, "the reason is not for owners", asked.body_part)

    def _may_revoke(self, issued: Issued, signer: x509.Certificate, passphrase: str) -> bool:
        """Its holder, whoever else owns it, and who knows the challengePassword of its request."""
        own = self._database.find(signer.serial_number)
        if own and own.whose == issued.whose:
            return True
        return bool(passphrase) and secret.fits(passphrase, issued.challenge_password)

    def _brings(self, issued: Issued, subject: x509.Name, signer: x509.Certificate) -> bool:
        """Whether a station brought it, and the signer is one that may bring the like now."""
        rules = self._config.rules
        principal = self._auth.holder(signer)
        if not (issued.forwarded_by and rules):
            return False
        return rules.may_bring(principal, subject, now())

    def _grant(self, number: int, data: bytes, signer: x509.Certificate, before: int) -> Granted:
        try:
            csr = csr_policy.parse_csr(data)
            order = csr_policy.check_csr(csr)
            challenge = csr_policy.challenge_password(csr)
            csr_policy.check_challenge(challenge, self._config.challenge_password)
            renews = csr_policy.same_names(order, signer)
            if not renews and not self._config.rules and self._config.auth not in ("none", "mtls"):
                # There a certificate alone enrols no other name.
                csr_policy.check_same_names(order, signer)
            asked = Asked(
                "fullcmc",
                self._auth.holder(signer),
                csr,
                order,
                csr_policy.key_type(order.public_key),
                signer if renews else None,
                challenge,
            )
            return self._issuing.grant(asked, self._auth.factories, before)
        except Refused as refused:
            raise _failed(refused, number) from refused

    def _approved(self, number: int, granted: Granted) -> datetime | None:
        try:
            return None if granted.earlier else self._issuing.approved(granted.asked)
        except Refused as refused:
            raise _failed(refused, number) from refused

    def _signer(self, authority: Authority) -> Signer:
        """Who signs the answer: the CA, or somebody for it."""
        if self._config.cmc_signer == "ca":
            return authority.issuer
        key = new_key()
        order = Order(common_name("mpest test RA"), key.public_key(), purposes=(CMC_RA,))
        return Signer(authority.issuer.sign(order, now() + self._config.lifetime), key)

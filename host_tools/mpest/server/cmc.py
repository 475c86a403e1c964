"""CMC messages (RFC 5272, RFC 6402): what a full PKI request asks for, and the answer to it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from cryptography import x509
from pyasn1_modules import rfc6402

from mpest.server import der
from mpest.server.ca import Signer
from mpest.server.signed_data import SignedDataError, decode_ber, encode, sign, verify

PKI_DATA = str(rfc6402.id_cct_PKIData)
PKI_RESPONSE = str(rfc6402.id_cct_PKIResponse)


class Status(IntEnum):
    """CMCStatus (RFC 5272 6.1.1)."""

    SUCCESS = 0
    FAILED = 2
    PENDING = 3
    NO_SUPPORT = 4


class Failure(IntEnum):
    """CMCFailInfo (RFC 5272 6.1.4), those that this server gives."""

    BAD_MESSAGE_CHECK = 1
    BAD_REQUEST = 2
    BAD_CERT_ID = 4
    BAD_IDENTITY = 7
    TRY_LATER = 12


@dataclass(frozen=True)
class Revocation:
    """What a revokeRequest control asks for."""

    body_part: int
    issuer: bytes
    """DER of the Name."""
    serial: int
    reason: int
    """CRLReason (RFC 5280 5.3.1)."""
    since: datetime | None
    passphrase: str = field(repr=False)
    """The challengePassword of the certificate's request, where it is named."""


@dataclass(frozen=True)
class PkiData:
    """A request whose signature is right."""

    signer: x509.Certificate
    transaction: bytes | None
    """DER of an INTEGER; the nonce that of an OCTET STRING."""
    nonce: bytes | None
    revocations: list[Revocation]
    requests: dict[int, bytes]
    """PKCS#10 by body part."""


def read(data: bytes) -> PkiData:
    """The full PKI request in SignedData `data`, BER in which certification requests are DER.
    Raises SignedDataError.
    """
    kind, content, signer = verify(data)
    if kind != PKI_DATA:
        raise SignedDataError("the message holds no PKIData")
    body = decode_ber(content, rfc6402.PKIData())
    controls = [
        (
            str(one["attrType"]),
            int(one["bodyPartID"]),
            [bytes(value) for value in one["attrValues"]],
        )
        for one in body["controlSequence"]
    ]

    def single(oid: Any) -> bytes | None:
        found = [values for name, _, values in controls if name == str(oid)]
        if len(found) > 1 or any(len(values) != 1 for values in found):
            raise SignedDataError("a control that may stand once stands more than once")
        return found[0][0] if found else None

    requests: dict[int, bytes] = {}
    for tagged in body["reqSequence"]:
        if tagged.getName() != "tcr":
            raise SignedDataError("only PKCS#10 certification requests are understood")
        number = int(tagged["tcr"]["bodyPartID"])
        requests[number] = encode(tagged["tcr"]["certificationRequest"])
        if requests[number] not in content:
            raise SignedDataError("a certification request is not DER")
    return PkiData(
        signer,
        single(rfc6402.id_cmc_transactionId),
        single(rfc6402.id_cmc_senderNonce),
        [
            _revocation(number, value)
            for name, number, values in controls
            if name == str(rfc6402.id_cmc_revokeRequest)
            for value in values
        ],
        requests,
    )


def _revocation(number: int, value: bytes) -> Revocation:
    asked = decode_ber(value, rfc6402.RevokeRequest())
    since = None
    if asked["invalidityDate"].isValue:
        try:
            since = asked["invalidityDate"].asDateTime.astimezone(UTC)
        except Exception as error:  # pyasn1 names no common base for what bad times raise
            raise SignedDataError("the invalidity date can't be read") from error
    return Revocation(
        number,
        encode(asked["issuerName"]),
        int(asked["serialNumber"]),
        int(asked["reason"]),
        since,
        bytes(asked["passphrase"]).decode("utf-8", "replace")
        if asked["passphrase"].isValue
        else "",
    )


@dataclass(frozen=True)
class State:
    """The outcome of some parts of a request."""

    status: Status
    body_parts: Sequence[int]
    text: str = ""
    failure: Failure | None = None
    until: datetime | None = None
    """When to ask again about what is pending."""

    def to_der(self) -> bytes:
        """CMCStatusInfoV2."""
        parts = [der.integer(self.status), der.sequence(*map(der.integer, self.body_parts))]
        if self.text:
            parts.append(der.tlv(0x0C, self.text.encode()))
        if self.failure is not None:
            parts.append(der.integer(self.failure))
        elif self.until:
            when = self.until.strftime("%Y%m%d%H%M%SZ").encode()
            parts.append(der.sequence(der.octet_string(b"pending"), der.tlv(0x18, when)))
        return der.sequence(*parts)


@dataclass(frozen=True)
class Answer:
    """A PKIResponse before it is signed."""

    states: tuple[State, ...]
    signer: Signer | None
    """None leaves it unsigned."""
    transaction: bytes | None = None
    nonce: bytes | None = None
    """The request's own, returned as recipientNonce."""
    certificates: tuple[x509.Certificate, ...] = ()
    """The signer's and those issued."""
    sender_nonce: bytes = b""
    content: bytes | None = None
    """Replaces the PKIResponse, where a fault says so."""
    simple: bool = False
    """Send the certificates alone, a Simple PKI Response (RFC 5272 4.1)."""

    @property
    def failure(self) -> Failure | None:
        """Of the first part that failed."""
        return next((one.failure for one in self.states if one.status is Status.FAILED), None)

    def response(self) -> bytes:
        """PKIResponse."""
        controls = [(rfc6402.id_cmc_statusInfoV2, state.to_der()) for state in self.states]
        if self.transaction:
            controls.append((rfc6402.id_cmc_transactionId, self.transaction))
        if self.nonce:
            controls.append((rfc6402.id_cmc_recipientNonce, self.nonce))
        if self.sender_nonce:
            nonce = der.octet_string(self.sender_nonce)
            controls.append((rfc6402.id_cmc_senderNonce, nonce))
        listed = [
            der.sequence(der.integer(number), der.oid(str(oid)), der.set_of(value))
            for number, (oid, value) in enumerate(controls, 1)
        ]
        return der.sequence(der.sequence(*listed), der.sequence(), der.sequence())

    def to_der(self) -> bytes:
        """The message as it is sent."""
        if self.simple:
            return der.certs_only(self.certificates)
        content = self.response() if self.content is None else self.content
        return sign(PKI_RESPONSE, content, self.signer, self.certificates)

"""CMC (RFC 5272, RFC 6402): full PKI requests, and what a CA answers to them.

A control is (last arc of its id-cmc object identifier, DER of its value).
"""

import hashlib

from micropython import const

from est import asn1, cms, der, entropy, hashes, purposes, run, signed, x509
from est.errors import NotTrusted, PeerError, Refused, RetryLater, UsageError
from est.http import printable

_ENUMERATED = const(0x0A)

_CMC = const(b"\x2b\x06\x01\x05\x05\x07\x07")
_STATUS_INFO = const(1)
_TRANSACTION_ID = const(5)
_SENDER_NONCE = const(6)
_RECIPIENT_NONCE = const(7)
_REVOKE_REQUEST = const(17)
_STATUS_INFO_V2 = const(25)

_PKI_DATA = const(b"\x2b\x06\x01\x05\x05\x07\x0c\x02")
_PKI_RESPONSE = const(b"\x2b\x06\x01\x05\x05\x07\x0c\x03")
_DATA = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01")
_SIGNED_DATA = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02")
_CONTENT_TYPE = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03")
_MESSAGE_DIGEST = const(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04")
_EXT_KEY_USAGE = const(b"\x55\x1d\x25")
# id-kp-cmcCA and id-kp-cmcRA (RFC 6402 2.10).
_CMC_CA = const(b"\x2b\x06\x01\x05\x05\x07\x03\x1b")
_CMC_RA = const(b"\x2b\x06\x01\x05\x05\x07\x03\x1c")

_SUCCESS = const(0)
_FAILED = const(2)
_PENDING = const(3)
_TRY_LATER = const(12)
_STATES = ("", "", "", "", "not supported", "confirmation required", "proof required", "partial")
_FAILURES = (
    "badAlg",
    "badMessageCheck",
    "badRequest",
    "badTime",
    "badCertId",
    "unsupportedExt",
    "mustArchiveKeys",
    "badIdentity",
    "popRequired",
    "popFailed",
    "noKeyReuse",
    "internalCAError",
    "tryLater",
    "authDataFail",
)
# Of RFC 5280 5.3.1 those that a certificate's owner can mean and that last: nobody but the CA
# could lift a hold.
REASONS = {
    "unspecified": 0,
    "keyCompromise": 1,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "privilegeWithdrawn": 9,
}

# An answer to one request holds a transaction, two nonces and a status or two.
_MAX_CONTROLS = const(16)
# What of the server's words is kept and shown.
_MAX_TEXT = const(200)
# Where the CA says "later" but not when; and the longest wait believed.
_WAIT = const(60)
_MAX_WAIT = const(2678400)


def revoke_request(issuer, serial, reason, since=None, passphrase=None, comment=None):
    """The control that asks to revoke a certificate (RFC 5272 6.11).

    issuer: DER Name. serial: bytes. reason: a name of REASONS. since: "YYYYMMDDHHMMSSZ", when the
    key was lost. passphrase: bytes of the secret shared for revocations. comment: text.
    Raises UsageError.
    """
    if reason not in REASONS:
        raise UsageError("the reason is one of " + " ".join(sorted(REASONS)))
    fields = [issuer, asn1.integer(serial), der.tlv(_ENUMERATED, bytes((REASONS[reason],)))]
    if since:
        if len(since) != 15 or since[14] != "Z" or not since[:14].isdigit():
            raise UsageError("'%s' is no time such as 20261231235959Z" % since)
        fields.append(der.tlv(asn1.GENERALIZED_TIME, since.encode()))
    if passphrase:
        fields.append(der.octets(passphrase))
    if comment:
        fields.append(der.tlv(asn1.UTF8_STRING, comment.encode()))
    return _REVOKE_REQUEST, der.sequence(*fields)


def pki_data(controls, requests=()):
    """PKIData DER (RFC 5272 3.2.1) with controls and CertificationRequest DERs."""
    number = 0
    attributes = []
    for arc, value in controls:
        number += 1
        oid = der.tlv(asn1.OID, _CMC + bytes((arc,)))
        attributes.append(der.sequence(asn1.integer(number), oid, der.set_of(value)))
    tagged_requests = []
    for request in requests:
        number += 1
        tagged_requests.append(der.tlv(0xA0, asn1.integer(number), request))
    return der.sequence(
        der.sequence(*attributes), der.sequence(*tagged_requests), der.sequence(), der.sequence()
    )


class Request:
    """A full PKI request, signed with the key of a certificate.

    key: as in est.keys. chain: its certificates, DER, leaf first. `der` is the message,
    `transaction` and `nonce` (DER) are what the answer must repeat.
    """

    def __init__(self, key, chain, controls=(), requests=()):
        self._chain = chain
        self._simple = bool(requests)
        # Sent once more after an answer was lost, the same request is the same transaction.
        digest = hashlib.sha256(repr((controls, requests)).encode()).digest()
        self.transaction = asn1.integer(digest[:8])
        self.nonce = der.octets(entropy.random(16))
        controls = ((_TRANSACTION_ID, self.transaction), (_SENDER_NONCE, self.nonce)) + controls
        self.der = _sign(key, chain, pki_data(controls, requests))

    def accept(self, *arguments):
        """As `accepting`, at once."""
        return run(self.accepting(*arguments))

    def accepting(self, data, anchors, now, status=200):
        """As the function `accept`, for the answer to this request."""
        request = (self.transaction, self.nonce, self._chain[1:], self._simple)
        return accept(data, request, anchors, now, status)


def accept(data, given, anchors, now, status=200, log=None):
    """List of the certificates (DER) in the CA's answer `data`, once it is known as such.

    In steps. given: of the Request (transaction, nonce, intermediates in DER, whether certificates
    were asked for). anchors: Certificates. now: Unix seconds. status: of HTTP, for Refused. log:
    see x509.certificates. The answer must be signed by a CA, or on its behalf (RFC 6402 2.10),
    under the anchors, and be to this very request; certificates alone, which vouch for themselves,
    may come unsigned. Raises NotTrusted, PeerError, Refused with the CA's reason, RetryLater.
    """
    transaction, nonce, intermediates, simple = given
    inner, _ = signed.encapsulated(data)
    if simple and inner.oid() == _DATA and not inner.more():
        return cms.certificates(data)
    intermediates = [x509.Certificate(encoded) for encoded in intermediates]
    kind, content, signer, certificates = signed.verify(data, intermediates + anchors, log)
    yield
    if kind != _PKI_RESPONSE:
        raise PeerError("CMC: the answer is no PKIResponse")
    if signer.der in [anchor.der for anchor in anchors]:
        signer.check(now)
    else:
        yield from x509.path(signer, certificates + intermediates, anchors, now)
    usage = signer.extension(_EXT_KEY_USAGE)
    if signer.path_length() < 0 and not (usage and purposes.lists(usage, _CMC_CA, _CMC_RA)):
        raise NotTrusted("%s signed the answer, but may not for its CA" % signer)
    response = Response(content)
    for theirs, ours in ((response.transaction, transaction), (response.recipient_nonce, nonce)):
        # A CA that could not read the request cannot repeat what was in it.
        if theirs != ours and (theirs or not response.refusal()):
            raise NotTrusted("the answer is to another request")
    response.check(now, status)
    if not (response.states or simple):
        raise PeerError("CMC: the answer tells no outcome")
    return [certificate.der for certificate in certificates]


def _sign(key, chain, content):
    # SignedData (RFC 5652 5.1) of PKIData. The hash is the one that the key signs with.
    size = getattr(key, "hash_size", 32)
    attributes = der.set_of(
        _attribute(_CONTENT_TYPE, der.tlv(asn1.OID, _PKI_DATA)),
        _attribute(_MESSAGE_DIGEST, der.octets(hashes.new(size, content).digest())),
    )
    algorithm, signature = key.sign(attributes)
    leaf = x509.Certificate(chain[0])
    digest = der.sequence(der.tlv(asn1.OID, hashes.oid(size)))
    signer = der.sequence(
        asn1.integer(1),
        der.sequence(leaf.issuer, der.tlv(asn1.INTEGER, leaf.serial)),
        digest,
        b"\xa0" + attributes[1:],
        algorithm,
        der.octets(signature),
    )
    body = der.sequence(
        asn1.integer(3),
        der.set_of(digest),
        der.sequence(der.tlv(asn1.OID, _PKI_DATA), der.tlv(0xA0, der.octets(content))),
        b"\xa0" + der.set_of(*chain)[1:],
        der.set_of(signer),
    )
    return der.sequence(der.tlv(asn1.OID, _SIGNED_DATA), der.tlv(0xA0, body))


def _attribute(oid, value):
    return der.sequence(der.tlv(asn1.OID, oid), der.set_of(value))


class Response:
    """A parsed PKIResponse (RFC 5272 3.2.2). Raises DerError.

    transaction, sender_nonce, recipient_nonce: DER, b"" where there is none.
    states: [(CMCStatus, text, CMCFailInfo or None, Unix seconds to ask again at or None)].
    """

    def __init__(self, content):
        self.transaction = self.sender_nonce = self.recipient_nonce = b""
        self.states = []
        reader = cms.reader(content)
        fields = reader.enter()
        reader.end()
        controls = fields.enter()
        fields.skip(asn1.SEQUENCE)
        fields.skip(asn1.SEQUENCE)
        fields.end()
        count = 0
        while controls.more():
            count += 1
            if count > _MAX_CONTROLS:
                raise der.DerError("CMC: too many controls")
            control = controls.enter()
            control.integer()
            oid = control.oid()
            values = control.enter(asn1.SET)
            control.end()
            arc = oid[-1] if oid[:-1] == _CMC else 0
            if arc == _TRANSACTION_ID:
                self.transaction = values.element(asn1.INTEGER)
            elif arc == _SENDER_NONCE:
                self.sender_nonce = values.element(asn1.OCTET_STRING)
            elif arc == _RECIPIENT_NONCE:
                self.recipient_nonce = values.element(asn1.OCTET_STRING)
            elif arc in (_STATUS_INFO, _STATUS_INFO_V2):
                self.states.append(_state(values.enter()))

    def refusal(self):
        """The first of `states` that is neither success nor pending, or None."""
        for state in self.states:
            if state[0] not in (_SUCCESS, _PENDING):
                return state
        return None

    def check(self, now, status=200):
        """Raise Refused or RetryLater unless all is well. Arguments as in Request.accept."""
        refusal = self.refusal()
        if refusal:
            number, text, failure, _ = refusal
            if failure is not None:
                name = _FAILURES[failure] if failure < len(_FAILURES) else str(failure)
            else:
                name = number < len(_STATES) and _STATES[number] or "status %d" % number
            text = "the CA refused: %s. %s" % (name, text)
            if failure == _TRY_LATER:
                raise RetryLater(text, _WAIT)
            raise Refused(text, status)
        for number, text, _, until in self.states:
            if number == _PENDING:
                wait = until - now if until else _WAIT
                wait = min(max(wait, 1), _MAX_WAIT)
                raise RetryLater("the request waits for approval. " + text, wait)


def _state(fields):
    # One CMCStatusInfo or CMCStatusInfoV2 (RFC 5272 6.1).
    number = fields.integer()
    fields.skip(asn1.SEQUENCE)  # which parts of the request it is about
    text = failure = until = None
    if fields.peek() & 0xDF == asn1.UTF8_STRING:
        text = fields.bytes(asn1.UTF8_STRING)[:_MAX_TEXT]
    if fields.peek() == asn1.INTEGER:
        failure = fields.integer()
    elif fields.more():
        # PendInfo, or a failure with a name of its own, tagged as one writer or another does.
        other_info = fields.enter(0)
        if other_info.peek() & 0xDF == asn1.OCTET_STRING:
            other_info.skip()
            until = x509._time(other_info)
    fields.end()
    return number, printable(text or b""), failure, until

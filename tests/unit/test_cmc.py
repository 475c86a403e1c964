"""CMC: our requests octet for octet, every kind of answer, and whose answer is believed."""

import check
from est import asn1, cmc, csr, der, signed, x509
from est.errors import EstError, NotTrusted, PeerError, Refused, RetryLater, UsageError
from test_messages import KEY, NOW, OTHER, certificate
from test_signed import message, oid

PKI_RESPONSE = "1.3.6.1.5.5.7.12.3"
RA = (check.EXT_KEY_USAGE, der.sequence(oid("1.3.6.1.5.5.7.3.28")))
CA = certificate("CN=ca", "CN=ca", KEY, KEY, 0)
SIGNER = certificate("CN=signer", "CN=ca", OTHER, KEY, extra=[RA])
BOARD = certificate("CN=board", "CN=ca", KEY, KEY)


def control(number, arc, value):
    return der.sequence(asn1.integer(number), oid("1.3.6.1.5.5.7.7.%d" % arc), der.set_of(value))


def status(number, *rest):
    return control(1, 25, der.sequence(asn1.integer(number), der.sequence(asn1.integer(3)), *rest))


def text(words):
    return der.tlv(asn1.UTF8_STRING, words.encode())


def response(*controls):
    return der.sequence(der.sequence(*controls), der.sequence(), der.sequence())


def nonces(request):
    """The controls that an honest answer to `request` holds."""
    sent = der.Reader(signed.verify(request.der)[1]).enter().enter()
    found = []
    for arc in (5, 7):
        fields = sent.enter()
        fields.skip()
        fields.skip()
        found.append(control(2, arc, fields.enter(asn1.SET).element()))
    return found


def ask(*requests):
    return cmc.Request(KEY, [BOARD.der], (), requests)


def answer(request, *controls, **options):
    options["kind"] = options.get("kind", PKI_RESPONSE)
    options["bag"] = options.get("bag", (SIGNER,))
    return message(response(*controls), **options)


def test_request_as_bouncy_castle_makes_it():
    wanted = check.vector("cmc/revoke-request.pkidata.der")
    issuer = x509.Certificate(check.vector("cmc/signer-cert.der")).issuer
    revoke = cmc.revoke_request(
        issuer, b"\x12\x34\xab\xcd", "keyCompromise", None, None, "device decommissioned"
    )
    nonce = der.Reader(wanted, wanted.find(b"\x04\x10")).element()
    assert cmc.pki_data(((5, asn1.integer(0x1267)), (6, nonce), revoke)) == wanted


def test_revoke_request():
    _, data = cmc.revoke_request(
        csr.name("CN=ca"), b"\0\x81", "superseded", "20261231235959Z", b"secret", "why"
    )
    fields = der.Reader(data).enter()
    assert x509.name_text(fields.element()) == "CN=ca"
    assert (fields.integer(), fields.bytes(0x0A)) == (0x81, b"\4")
    assert fields.bytes(asn1.GENERALIZED_TIME) == b"20261231235959Z"
    assert (fields.bytes(), fields.bytes(asn1.UTF8_STRING)) == (b"secret", b"why")
    fields.end()
    for reason, since in (("certificateHold", None), ("x", None), ("superseded", "2026")):
        check.raises(UsageError, cmc.revoke_request, csr.name("CN=ca"), b"\1", reason, since)


def test_signed_request():
    kind, content, signer, bag = signed.verify(cmc.Request(KEY, [BOARD.der, CA.der]).der)
    assert asn1.oid_text(kind) == "1.3.6.1.5.5.7.12.2"
    assert (signer.der, len(bag)) == (BOARD.der, 2)
    request = csr.build(KEY, "CN=board")
    content = signed.verify(ask(request).der)[1]
    # The body parts are numbered on: two controls, then the request.
    assert der.tlv(0xA0, asn1.integer(3), request) in content
    # The same request is the same transaction, with another nonce.
    one, two = nonces(ask(request)), nonces(ask(request))
    assert one[0] == two[0] and one[1] != two[1]
    assert one[0] != nonces(ask(request, request))[0]


def test_response_of_bouncy_castle():
    content = signed.verify(check.vector("cmc/response-success.signed.der"))[1]
    check.truncated(cmc.Response, content)
    check.mutated(cmc.Response, content)
    found = cmc.Response(content)
    assert found.states == [(0, "revoked", None, None)]
    assert found.transaction == asn1.integer(0x1267)
    assert found.sender_nonce == b""
    request = check.vector("cmc/revoke-request.pkidata.der")
    assert found.recipient_nonce == der.Reader(request, request.find(b"\x04\x10")).element()
    assert found.refusal() is None
    found.check(NOW)


def test_success():
    request = ask(csr.build(KEY, "CN=board"))
    data = answer(request, status(0), *nonces(request), bag=(SIGNER, BOARD))
    assert request.accept(data, [CA], NOW) == [SIGNER.der, BOARD.der]
    # Certificates say enough, for a request for them alone.
    data = answer(request, *nonces(request), bag=(SIGNER, BOARD))
    assert BOARD.der in request.accept(data, [CA], NOW)
    revocation = cmc.Request(KEY, [BOARD.der], ((17, b"\5\0"),))
    data = answer(revocation, *nonces(revocation))
    check.raises(PeerError, revocation.accept, data, [CA], NOW)
    data = answer(revocation, status(0), *nonces(revocation))
    assert revocation.accept(data, [CA], NOW) == [SIGNER.der]


def test_certificates_alone():
    from test_messages import signed_data

    data = signed_data(BOARD)
    request = ask(csr.build(KEY, "CN=board"))
    assert request.accept(data, [CA], NOW) == [BOARD.der]
    check.raises(NotTrusted, cmc.Request(KEY, [BOARD.der]).accept, data, [CA], NOW)
    # Any other content has to be signed.
    data = answer(request, status(0), *nonces(request), signers=0)
    check.raises(NotTrusted, request.accept, data, [CA], NOW)


def test_whose_answer_is_believed():
    request = ask()

    def accept(**options):
        options["bag"] = options.get("bag", (SIGNER,))
        return request.accept(answer(request, status(0), *nonces(request), **options), [CA], NOW)

    accept()
    for arc in (27, 28):
        purposes = der.sequence(oid("1.3.6.1.5.5.7.3.2"), oid("1.3.6.1.5.5.7.3.%d" % arc))
        extra = [(check.EXT_KEY_USAGE, purposes)]
        accept(bag=(certificate("CN=signer", "CN=ca", OTHER, KEY, extra=extra),))
    # The CA itself, which need not be in the message.
    accept(key=KEY, bag=(CA,))
    accept(key=KEY, bag=())
    client = [(check.EXT_KEY_USAGE, der.sequence(oid("1.3.6.1.5.5.7.3.2")))]
    for bag in (
        (certificate("CN=signer", "CN=ca", OTHER, KEY),),
        (certificate("CN=signer", "CN=ca", OTHER, KEY, extra=client),),
        (certificate("CN=signer", "CN=ca", OTHER, OTHER, extra=[RA]),),
        (certificate("CN=signer", "CN=ca", OTHER, KEY, None, -3 * 86400, -86400, [RA]),),
    ):
        check.raises(NotTrusted, lambda bag: accept(bag=bag), bag)
    check.raises(PeerError, lambda: accept(kind="1.3.6.1.5.5.7.12.2"))
    check.raises(NotTrusted, lambda: accept(digest=bytes(32)))


def test_an_answer_to_another_request():
    request = ask()
    transaction, nonce = nonces(request)
    other = nonces(cmc.Request(KEY, [BOARD.der], ((17, b"\5\0"),)))
    for state in (status(0), status(3), status(2)):
        for controls in ((transaction, other[1]), (other[0], nonce)):
            data = answer(request, state, *controls)
            check.raises(NotTrusted, request.accept, data, [CA], NOW)
    for state in (status(0), status(3)):
        for controls in ((transaction,), (nonce,), ()):
            data = answer(request, state, *controls)
            check.raises(NotTrusted, request.accept, data, [CA], NOW)
    # Whoever could not read the request cannot name it.
    check.raises(Refused, request.accept, answer(request, status(2)), [CA], NOW)


def test_refusals():
    def refused(*states):
        found = cmc.Response(response(*states))
        return check.raises((Refused, RetryLater), found.check, NOW, 400)

    error = refused(status(2, text("no\nsuch\x1b thing" + 300 * "x"), asn1.integer(4)))
    assert isinstance(error, Refused) and error.status == 400
    assert "badCertId. no such thingxxx" in str(error) and len(str(error)) < 260
    assert "badTime" in str(refused(status(0), status(2, asn1.integer(3))))
    assert "99" in str(refused(status(2, asn1.integer(99))))
    assert "status 1234" in str(refused(status(1234)))
    assert "confirmation" in str(refused(status(5)))
    assert "not supported" in str(refused(status(4), status(3)))
    assert isinstance(refused(status(2, asn1.integer(12))), RetryLater)
    own = der.tlv(0xA1, oid("1.2.3"), b"\5\0")
    assert isinstance(refused(status(2, own)), Refused)
    old = control(1, 1, der.sequence(asn1.integer(2), der.sequence(), asn1.integer(9)))
    assert "popFailed" in str(refused(old))


def test_pending():
    def seconds(*rest):
        found = cmc.Response(response(status(3, *rest)))
        return check.raises(RetryLater, found.check, NOW).seconds

    def until(when, tag=asn1.SEQUENCE):
        return der.tlv(tag, der.octets(b"token"), der.tlv(asn1.GENERALIZED_TIME, when))

    assert seconds() == 60
    # NOW is 08:00.
    assert seconds(text("later"), until(b"20270115080130Z")) == 90
    assert seconds(until(b"20270115080130Z", 0xA0)) == 90
    assert seconds(until(b"20260115080130Z")) == 1
    assert seconds(until(b"20990115080130Z")) == 2678400
    check.raises(EstError, seconds, until(b"20271515080130Z"))


def test_malformed():
    request = ask()
    data = response(
        status(3, text("later"), der.sequence(der.octets(b""), b"\x18\x0f20270115080130Z")),
        *nonces(request),
    )
    check.truncated(cmc.Response, data)
    check.mutated(cmc.Response, data)
    check.raises(der.DerError, cmc.Response, response(*[status(0)] * 17))
    data = answer(request, status(0), *nonces(request))

    def accept(data):
        request.accept(data, [CA], NOW)

    accept(data)
    check.truncated(accept, data)
    check.mutated(accept, data, 100)

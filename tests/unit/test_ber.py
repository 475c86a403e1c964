"""CMS in BER: the same messages in every form that BER allows, and what even BER does not."""

import gc

import check
import test_cmc as answers
import test_envelope as envelopes
import test_serverkeygen as server_keys
import test_signed as messages
from est import asn1, ber, cmc, cms, csr, der, envelope, serverkeygen, signed, steps, x509
from est.errors import EstError, NotTrusted, PeerError
from test_messages import KEY, NOW, OTHER, certificate

CERTIFICATES = [
    certificate("CN=ca", "CN=ca", KEY, KEY, 0),
    certificate("CN=leaf", "CN=ca", OTHER, KEY),
]
END = b"\0\0"


def loose(data, keep=(), size=3, lengths=False):
    """DER `data` in BER: lengths told by their end, or in too many octets; strings in pieces.

    keep: the elements that stay as they are, by how they begin. size: of the pieces.
    """
    out = b""
    reader = der.Reader(data)
    while reader.more():
        tag = reader.peek()
        whole = reader.element()
        content = der.Reader(whole).bytes(tag)
        if [True for one in keep if one == whole]:
            out += whole
            continue
        if tag & 0x20:
            content = loose(content, keep, size, lengths)
        elif tag in (asn1.OCTET_STRING, asn1.UTF8_STRING, 0x80) and size:
            half = len(content) // 2 // size * size
            pieces = [content[at : at + size] for at in range(0, len(content), size)]
            # Half of them in pieces once more.
            cut = half // size
            inner = b"".join([der.octets(piece) for piece in pieces[:cut]])
            content = b"\x24\x80" + inner + END
            content += b"".join([der.octets(piece) for piece in pieces[cut:]])
            tag |= 0x20
        if tag & 0x20 and not lengths:
            out += bytes((tag, 0x80)) + content + END
        else:
            out += bytes((tag, 0x84)) + len(content).to_bytes(4, "big") + content
    return out


def forms(data, keep=()):
    """`data` in DER and in several forms of BER."""
    yield data
    for size in (0, 3, 16):
        for lengths in (False, True):
            yield loose(data, keep, size, lengths)


def certs_only(*certificates):
    body = der.sequence(
        asn1.integer(1),
        der.set_of(),
        der.sequence(messages.oid(messages.DATA)),
        der.tlv(0xA0, *certificates),
        der.set_of(),
    )
    return der.sequence(messages.oid("1.2.840.113549.1.7.2"), der.tlv(0xA0, body))


def attributes(data):
    """The signed attributes of SignedData DER."""
    fields = signed.encapsulated(data)[1]
    fields.optional(0xA0)
    signer = fields.enter(asn1.SET).enter()
    for _ in range(3):
        signer.skip()
    return signer.element(0xA0)


def test_certificates():
    wanted = [one.der for one in CERTIFICATES]
    for data in forms(certs_only(*wanted), wanted):
        assert cms.certificates(data) == wanted
        assert cms.certificates(bytearray(data)) == wanted
        check.raises(der.DerError, cms.certificates, data + b"\0")
        check.raises(der.DerError, cms.certificates, data + END)


def test_a_certificate_is_read_as_der():
    leaf = CERTIFICATES[1].der
    for changed in (loose(leaf), loose(leaf, lengths=True)):
        found = cms.certificates(certs_only(leaf, changed))
        assert found == [leaf, changed]
        check.raises(der.DerError, x509.Certificate, changed)


def test_signed():
    data = messages.message()
    keep = [messages.SIGNER.der, attributes(data)]
    for form in forms(data, keep):
        kind, content, signer, _ = signed.verify(form)
        assert (asn1.oid_text(kind), content) == (messages.DATA, b"content")
        assert signer.der == messages.SIGNER.der
    # Signed attributes are signed in DER (RFC 5652 5.4), so they must come so.
    for lengths in (False, True):
        form = loose(data, keep[:1], lengths=lengths)
        check.raises(der.DerError, signed.verify, form)
    wrong = messages.message(key=KEY)
    check.raises(NotTrusted, signed.verify, loose(wrong, [keep[0], attributes(wrong)]))


def test_key_identifier():
    value = der.octets(b"12345678")
    named = certificate("CN=named", "CN=ca", OTHER, KEY, extra=[(b"\x55\x1d\x0e", value)])
    data = messages.message(sid=der.tlv(0x80, b"12345678"), bag=(named,))
    for form in forms(data, [named.der, attributes(data)]):
        assert str(signed.verify(form)[2]) == "CN=named"


def test_encrypted():
    for name in sorted(envelopes._OPENSSL):
        for form in forms(bytes.fromhex(envelopes._OPENSSL[name])):
            given = envelopes._given(name)
            assert envelopes._decrypt(form, **given) == envelopes._TEXT, name


def test_under_a_password():
    algorithm, encrypted = server_keys._under_password(KEY.der(), b"password"), None
    fields = der.Reader(algorithm).enter()
    algorithm, encrypted = fields.element(), fields.bytes()
    content = der.sequence(der.tlv(asn1.OID, envelopes._DATA), algorithm, der.tlv(0x80, encrypted))
    for form in forms(envelopes._info(6, asn1.integer(0), content)):
        assert envelopes._decrypt(form, password=b"password") == KEY.der()
        check.raises(EstError, lambda: envelopes._decrypt(form, password=b"passwore"))


def test_authenticated_attributes():
    # With an attribute beside the content, made by test_envelope's secret; DER is demanded there.
    attribute = der.tlv(0xA1, messages.attribute("3", der.tlv(asn1.OID, envelopes._DATA)))
    data = bytes.fromhex(envelopes._OPENSSL["kek256"])
    info = der.Reader(data).enter()
    oid = info.element()
    fields = info.enter(0xA0).enter()
    parts = [fields.element() for _ in range(4)]
    data = der.sequence(oid, der.tlv(0xA0, der.sequence(*parts[:3] + [attribute, parts[3]])))
    errors = []
    for form in forms(data, [attribute]):
        decrypt = lambda: envelopes._decrypt(form, secret=envelopes._S32)  # noqa: E731
        errors.append(str(check.raises(PeerError, decrypt)))
    assert len(set(errors)) == 1, errors  # the code vouches for other attributes
    decrypt = lambda: envelopes._decrypt(loose(data), secret=envelopes._S32)  # noqa: E731
    check.raises(der.DerError, decrypt)


def test_cmc():
    request = answers.ask(csr.build(KEY, "CN=board"))
    bag = (answers.SIGNER, answers.BOARD)
    controls = [answers.status(0, answers.text("issued"))] + answers.nonces(request)
    for content in forms(answers.response(*controls)):
        data = messages.message(content, kind=answers.PKI_RESPONSE, bag=bag)
        keep = [one.der for one in bag] + [attributes(data)]
        for form in forms(data, keep):
            assert request.accept(form, [answers.CA], NOW) == keep[:2]
    later = der.sequence(der.octets(b"token"), der.tlv(asn1.GENERALIZED_TIME, b"20300101000000Z"))
    for content in forms(answers.response(answers.status(3, answers.text("wait"), later))):
        assert cmc.Response(content).states == [(3, "wait", None, 1893456000)]
    wanted = [answers.BOARD.der]
    for form in forms(certs_only(*wanted), wanted):
        assert request.accept(form, [answers.CA], NOW) == wanted


def unwrap(data, *given):
    return steps.run(
        serverkeygen.unwrap(data, given or (None,) * 4, (), [CERTIFICATES[0].der], NOW)
    )


def test_server_key():
    secret = bytes(range(16))
    given = secret, None, None, b"password"
    key = server_keys._pkcs8(KEY)
    message = messages.message(key, bag=(messages.SIGNER,))
    keep = [messages.SIGNER.der, attributes(message)]
    kind = server_keys._SIGNED_DATA
    for inside in forms(message, keep):
        assert unwrap(inside) == key
        for outside in forms(server_keys._enveloped(inside, secret)):
            assert unwrap(outside, *given) == key
    # SignedData itself, without ContentInfo.
    info = der.Reader(message).enter()
    info.skip()
    for inside in forms(info.enter(0xA0).element(), keep):
        enveloped = server_keys._enveloped(inside, secret, kind)
        assert unwrap(enveloped, *given) == key
    # A key is DER, whatever it came in.
    for bare in (key, der.sequence(key), server_keys._under_password(key, b"password")):
        for size in (0, 3):

            def load():
                from est import keys

                return keys.load(unwrap(loose(bare, size=size), *given))

            check.raises(EstError, load)


def test_which_part_is_the_key():
    certificates = certs_only(CERTIFICATES[1].der)
    key = server_keys._enveloped(KEY.der(), bytes(16))
    for listed, enveloped in zip(forms(certificates, [CERTIFICATES[1].der]), forms(key)):
        for kinds in (("", ""), ("; smime-type=certs-only", "; smime-type=server-generated-key")):
            parts = [
                ("application/pkcs7-mime" + kind, bytearray(content))
                for kind, content in zip(kinds, (listed, enveloped))
            ]
            for order in (parts, parts[::-1]):
                assert serverkeygen._sorted(order) == [listed, enveloped]


def test_integers_do_not_come_in_pieces():
    for text in ("2280020101" + "0000", "2680060101" + "0000", "2180010101" + "0000"):
        data = bytes.fromhex(text)
        for read in ("integer", "oid", "boolean", "element"):
            check.raises(der.DerError, getattr(ber.Reader(data), read))


def test_strings():
    for text, content in (
        ("0400", ""),
        ("240004020102", None),
        ("24800000", ""),
        ("24800401ab0000", "ab"),
        ("2406040201020400", "0102"),
        ("2480240304 01ab24800402cdef00000000".replace(" ", ""), "abcdef"),
        ("2480240304 01ab0000".replace(" ", ""), "ab"),
        ("24800c01ab0000", None),
        ("24800401ab", None),
        ("2403000000", None),
        ("240400000400", None),
        ("04800401ab0000", None),
    ):
        reader = ber.Reader(bytes.fromhex(text.replace(" ", "")))
        if content is None:
            check.raises(der.DerError, whole, reader)
        else:
            assert whole(reader) == bytes.fromhex(content)
    bits = ber.Reader(bytes.fromhex("2380030200ab2304030200cd0000"))
    assert bits.bit_string() == b"\xab\xcd"
    for text in ("2380030201ab0000", "238003000000", "23800401ab0000"):
        check.raises(der.DerError, ber.Reader(bytes.fromhex(text)).bit_string)


def whole(reader):
    content = reader.bytes()
    reader.end()
    return content


def test_der_of_an_element():
    data = certs_only(*[one.der for one in CERTIFICATES])
    for form in forms(data):
        reader = ber.Reader(form)
        assert reader.element(asn1.SEQUENCE) == data
        reader.end()
        reader = ber.Reader(form)
        assert der.Reader.element(reader) == form
        reader = ber.Reader(form)
        reader.skip(asn1.SEQUENCE)
        reader.end()
    assert ber.Reader(loose(der.octets(b"abcdefgh"))).element(asn1.OCTET_STRING)[2:] == b"abcdefgh"


def test_malformed():
    for text in (
        "",
        "30",
        "3080",
        "308000",
        "30800001",
        "3080000100",
        "300302010000",  # beyond
        "3003308000",
        "0000",
        "2000",
        "02800201000000",
        "1f0100",
        "308500",
        "30ff",
        "3089" + "00" * 12,
        "3084ffffffff",
        "3088ffffffffffffffff",
    ):
        reader = ber.Reader(bytes.fromhex(text))

        def parse():
            inner = reader.enter()
            while inner.more():
                inner.skip()
            reader.end()

        check.raises(der.DerError, parse)


def test_bounds():
    def skip(data):
        reader = ber.Reader(data)
        reader.skip()
        reader.end()

    for depth, fine in ((20, True), (30, False)):
        data = b"\x30\x80" * depth + END * depth
        if fine:
            skip(data)
        else:
            check.raises(der.DerError, skip, data)
    for count, fine in ((1000, True), (1100, False)):
        data = b"\x30\x80" + b"\5\0" * count + END
        if fine:
            skip(data)
        else:
            check.raises(der.DerError, skip, data)
    assert ber.Reader(der.tlv(0x24, *[b"\4\1a"] * 5000)).bytes() == b"a" * 5000
    # What is nested within definite lengths is found on the way down.
    data = b""
    for _ in range(40):
        data = der.tlv(0x24, data)
    check.raises(der.DerError, ber.Reader(data).bytes)
    check.raises(der.DerError, ber.Reader(b"\x30" + data[1:]).element)


def test_damage():
    wanted = [one.der for one in CERTIFICATES]
    message = messages.message()
    answer = loose(answers.response(answers.status(0, answers.text("done"))))
    secret = {"secret": envelopes._S16}
    for parse, data in (
        (cms.certificates, loose(certs_only(*wanted), wanted)),
        (signed.verify, loose(message, [messages.SIGNER.der, attributes(message)])),
        (cmc.Response, answer),
        (
            lambda data: steps.run(envelope.decrypt(data, **secret)),
            loose(bytes.fromhex(envelopes._OPENSSL["kek128"])),
        ),
    ):
        check.truncated(parse, data)
        check.mutated(parse, data)


def test_without_the_part():
    """Then DER alone is read, and what is missing is told."""
    wanted = [one.der for one in CERTIFICATES]
    data = certs_only(*wanted)
    assert check.without("ber", cms.certificates, data) == wanted
    for lengths in (False, True):
        form = loose(data, wanted, 0, lengths)
        error = check.raises(der.DerError, check.without, "ber", cms.certificates, form)
        assert "est.ber" in str(error)


def test_heap():
    """The largest bundle takes hardly more than it does in DER."""
    if not hasattr(gc, "mem_alloc"):
        return  # MicroPython alone tells what is allocated
    wanted = [CERTIFICATES[1].der] * 48
    data = certs_only(*wanted)
    taken = []
    for form in (data, loose(data, wanted[:1])):
        gc.collect()
        gc.disable()
        before = gc.mem_alloc()
        assert len(cms.certificates(form)) == 48
        taken.append(gc.mem_alloc() - before)
        gc.enable()
    assert taken[1] - taken[0] < 1024, taken

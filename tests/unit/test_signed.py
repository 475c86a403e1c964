"""SignedData: what openssl and Bouncy Castle signed, and everything that is not quite that."""

import check
from est import asn1, der, extensions, hashes, signed
from est.errors import NotTrusted
from test_messages import KEY, OTHER, certificate

DATA = "1.2.840.113549.1.7.1"
CA = certificate("CN=ca", "CN=ca", KEY, KEY, 0)
SIGNER = certificate("CN=signer", "CN=ca", OTHER, KEY)


def oid(text):
    return der.tlv(asn1.OID, extensions.oid(text))


def attribute(name, *values):
    return der.sequence(oid("1.2.840.113549.1.9." + name), der.tlv(asn1.SET, *values))


def message_digest(content):
    return attribute("4", der.octets(hashes.new(32, content).digest()))


def message(
    content=b"content",
    kind=DATA,
    key=OTHER,
    digest=None,
    attributes=None,
    sid=None,
    signers=1,
    bag=(SIGNER,),
    algorithm=None,
    size=32,
    bare=False,
):
    """SignedData with one thing or another as told."""
    if digest is None:
        digest = hashes.new(size, content).digest()
    if attributes is None:
        attributes = (attribute("3", oid(kind)), attribute("4", der.octets(digest)))
    attributes = der.set_of(*attributes)
    used, signature = key.sign(content if bare else attributes)
    signer = der.sequence(
        asn1.integer(1),
        sid or der.sequence(SIGNER.issuer, asn1.integer(SIGNER.serial)),
        der.sequence(der.tlv(asn1.OID, hashes.oid(size))),
        b"" if bare else b"\xa0" + attributes[1:],
        algorithm or used,
        der.octets(signature),
    )
    encapsulated = () if content is None else (der.tlv(0xA0, der.octets(content)),)
    content = der.sequence(
        asn1.integer(1),
        der.set_of(),
        der.sequence(oid(kind), *encapsulated),
        der.tlv(0xA0, *[one.der for one in bag]),
        der.tlv(asn1.SET, *[signer] * signers),
    )
    return der.sequence(oid("1.2.840.113549.1.7.2"), der.tlv(0xA0, content))


def test_verifies():
    kind, content, signer, bag = signed.verify(message())
    assert (asn1.oid_text(kind), content, str(signer)) == (DATA, b"content", "CN=signer")
    assert [str(one) for one in bag] == ["CN=signer"]
    # The signer's certificate may be one that is known.
    check.raises(NotTrusted, signed.verify, message(bag=()))
    assert signed.verify(message(bag=()), [SIGNER])[2] is SIGNER


def test_key_identifier():
    value = der.octets(b"12345678")
    named = certificate("CN=named", "CN=ca", OTHER, KEY, extra=[(b"\x55\x1d\x0e", value)])
    data = message(sid=der.tlv(0x80, b"12345678"), bag=(CA, named))
    assert str(signed.verify(data)[2]) == "CN=named"
    data = message(sid=der.tlv(0x80, b"12345679"), bag=(CA, named))
    check.raises(NotTrusted, signed.verify, data)


def test_what_is_not_signed_so():
    good = (attribute("3", oid(DATA)), attribute("4", der.octets(bytes(32))))
    for wrong in (
        message(key=KEY),
        message(digest=bytes(32)),
        message(size=20),
        message(signers=0),
        message(attributes=()),
        message(attributes=good[:1]),
        message(attributes=(attribute("3", oid(DATA + ".1")), message_digest(b"content"))),
        message(attributes=(message_digest(b"content"),)),
        message(algorithm=der.sequence(oid("1.2.840.10045.4.1"))),
        message(bag=(CA,)),
        message(bag=(CA, certificate("CN=signer", "CN=ca", KEY, KEY))),
    ):
        check.raises(NotTrusted, signed.verify, wrong)
    digest = message_digest(b"content")
    for malformed in (
        message(content=None, digest=bytes(32)),
        message(signers=2),
        message(attributes=good[:1] + (digest, digest)),
        message(attributes=good[:1] + (attribute("4"),)),
        message(attributes=[attribute(str(number), b"\5\0") for number in range(10, 30)]),
        message() + b"\0",
    ):
        check.raises(der.DerError, signed.verify, malformed)


def test_signed_attributes_are_demanded():
    # Without, the signature of `message` would be one over the octets of its own attributes too.
    check.raises(der.DerError, signed.verify, message(bare=True))


def test_of_bouncy_castle():
    for name, kind, size in (("revoke-request", 2, 138), ("response-success", 3, 100)):
        data = check.vector("cmc/%s.signed.der" % name)
        found, content, signer, bag = signed.verify(data)
        assert asn1.oid_text(found) == "1.3.6.1.5.5.7.12.%d" % kind
        assert len(content) == size
        assert signer.der == check.vector("cmc/signer-cert.der")
        assert len(bag) == 1


def test_malformed():
    data = check.vector("cmc/response-success.signed.der")
    check.truncated(signed.verify, data)
    check.mutated(signed.verify, data, 100)
    # Whatever is changed of content, attributes or signature does not verify.
    for at in (data.find(b"\x30\x62"), len(data) - 1, len(data) - 100):
        changed = bytearray(data)
        changed[at] ^= 1
        check.raises((NotTrusted, der.DerError), signed.verify, bytes(changed))

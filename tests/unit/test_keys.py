"""Private keys: their forms, which kind a request is made with, secure elements, own requests."""

import hashlib

import check
from est import (
    asn1,
    csr,
    der,
    ec_key,
    element,
    hashes,
    key_forms,
    key_types,
    keys,
    own_request,
    run,
    x509,
)
from est.curves import P384
from est.ec import P256
from est.errors import UsageError
from test_pbes2 import _OPENSSL as ENCRYPTED
from test_rsa_key import KEY as RSA

# As every version has stored it: RFC 6979 A.2.5's key.
STORED = bytes.fromhex(
    "30770201010420c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721a00a06082a8648"
    "ce3d030107a1440342000460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb67903fe"
    "1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
)
P256_OID = bytes.fromhex("2a8648ce3d030107")
P384_OID = bytes.fromhex("2b81040022")
EC_PUBLIC_KEY = bytes.fromhex("2a8648ce3d0201")
# RFC 6979 A.2.6's.
SCALAR = bytes.fromhex(
    "6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba9aa47740787137d896d5724e4c70a825f872c9ea60d2"
    "edf5"
)
POINT = bytes.fromhex(
    "04ec3a4e415b4e19a4568618029f427fa5da9a8bc4ae92e02e06aae5286b300c64def8f0ea9055866064a2545154"
    "80bc138015d9b72d7d57244ea8ef9ac0c621896708a59367f9dfb9f54ca84b3f1c9db1288b231c3ae0d4fe7344fd"
    "2533264720"
)


def wrapped(kind, parameters, inner, version=0, *more):
    """PrivateKeyInfo."""
    algorithm = der.sequence(der.tlv(asn1.OID, kind), parameters)
    return der.sequence(asn1.integer(version), algorithm, der.octets(inner), *more)


def sec1(private, oid=None, public=None, version=1):
    return der.sequence(
        asn1.integer(version),
        der.octets(private),
        der.tlv(0xA0, der.tlv(asn1.OID, oid)) if oid else b"",
        der.tlv(0xA1, der.bits(public)) if public else b"",
    )


def refused(data, text, password=None):
    error = check.raises(UsageError, keys.load, data, password)
    assert text in str(error), error


def test_what_older_versions_stored():
    assert keys.load(STORED).der() == STORED
    assert keys.load(bytearray(STORED)).der() == STORED


def test_p384():
    key = ec_key.EcKey(P384_OID, SCALAR)
    assert key.spki()[-97:] == POINT
    for data in (
        key.der(),
        sec1(SCALAR, P384_OID),
        key_forms.pkcs8(key),
        wrapped(EC_PUBLIC_KEY, der.tlv(asn1.OID, P384_OID), sec1(SCALAR)),
    ):
        assert keys.load(data).der() == key.der()
    algorithm, signature = key.sign(b"message")
    assert algorithm[-1] == 3
    assert P384.verify(POINT, hashes.new(48, b"message").digest(), signature)
    assert x509.verify(key.spki(), algorithm, b"message", signature)
    new = ec_key.EcKey(P384_OID)
    assert new.der() != ec_key.EcKey(P384_OID).der()


def test_p256_with_other_hashes():
    key = ec_key.EcKey(P256_OID, STORED[7:39])
    assert key.der() == STORED
    for size in (32, 48, 64):
        key.hash_size = size
        algorithm, signature = key.sign(b"message")
        assert algorithm[-1] == size // 16
        assert x509.verify(key.spki(), algorithm, b"message", signature)


def test_p256_in_other_forms():
    private = STORED[7:39]
    public = STORED[-65:]
    curve = der.tlv(asn1.OID, P256_OID)
    for data in (
        sec1(private, P256_OID),
        key_forms.pkcs8(keys.load(STORED)),
        wrapped(EC_PUBLIC_KEY, curve, sec1(private)),
        wrapped(EC_PUBLIC_KEY, curve, sec1(private, None, public)),
        wrapped(EC_PUBLIC_KEY, curve, sec1(private, P256_OID, public)),
        # With attributes, and as version 2 with the public key.
        wrapped(EC_PUBLIC_KEY, curve, sec1(private), 0, b"\xa0\x00"),
        wrapped(EC_PUBLIC_KEY, curve, sec1(private), 1, der.tlv(0x81, b"\0" + public)),
    ):
        assert keys.load(data).der() == STORED
    # Some writers drop leading zeros.
    one = keys.load(sec1(b"\1", P256_OID)).der()
    assert one == keys.P256Key(bytes(31) + b"\1").der()


def test_rsa():
    key = keys.load(RSA)
    assert key.der() == RSA
    assert keys.load(key_forms.pkcs8(key)).der() == RSA
    for size in (32, 48, 64):
        key.hash_size = size
        algorithm, signature = key.sign(b"message")
        assert x509.verify(key.spki(), algorithm, b"message", signature)
        assert not x509.verify(key.spki(), algorithm, b"", signature)


def test_under_a_password():
    assert keys.load(ENCRYPTED[2], b"secret").der()[7:39] == bytes(31) + b"\1"
    refused(ENCRYPTED[2], "no password")
    refused(ENCRYPTED[2], "", b"Secret")


def test_what_is_refused_is_named():
    private = STORED[7:39]
    p521 = bytes.fromhex("2b81040023")
    ed25519 = bytes.fromhex("2b6570")
    for data, text in (
        (sec1(private, p521), "1.3.132.0.35"),
        (sec1(private), "no curve"),
        (wrapped(EC_PUBLIC_KEY, der.tlv(asn1.OID, P384_OID), sec1(private, P256_OID)), "or two"),
        (wrapped(ed25519, b"", private), "1.3.101.112"),
        (wrapped(EC_PUBLIC_KEY, der.tlv(asn1.OID, P256_OID), sec1(private, version=0)), "version"),
        (wrapped(EC_PUBLIC_KEY, der.tlv(asn1.OID, P256_OID), sec1(private), 2), "form"),
        (sec1(private, P256_OID, version=2), "form"),
        (sec1(private, P256_OID, POINT), "public half"),
        (sec1(bytes(32), P256_OID), "range"),
        (sec1(b"", P256_OID), "range"),
        (sec1(b"\1" + private, P256_OID), "range"),
        (sec1(b"\xff" * 32, P256_OID), "range"),
        (STORED[:-1] + b"\0", "public half"),
        (STORED + b"\0", ""),
        (b"", ""),
        (der.sequence(), ""),
        ("RSA-2048", "est.key_types"),
    ):
        refused(data, text)


def test_a_key_is_in_no_message():
    # Text where bytes belong, as of a PEM file.
    text = "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n"
    for call in (keys.load, lambda key: run(key_types.choose(key, None, demands(), print))):
        error = check.raises(UsageError, call, text)
        assert "secret" not in str(error)


def test_public_keys():
    key = keys.P256Key(STORED[7:39])
    refused(key.spki(), "public key")
    refused(keys.load(RSA).spki(), "public key")
    compressed = bytes((2 + (POINT[-1] & 1),)) + POINT[1:49]
    refused(sec1(SCALAR, P384_OID, compressed), "compressed")


def test_malformed():
    for data in (
        STORED,
        sec1(SCALAR, P384_OID, POINT),
        wrapped(EC_PUBLIC_KEY, der.tlv(asn1.OID, P256_OID), sec1(STORED[7:39])),
    ):
        check.truncated(keys.load, data)
        check.mutated(keys.load, data, 100)
    check.truncated(keys.load, RSA)
    check.truncated(lambda data: keys.load(data, b"secret"), ENCRYPTED[2][:40])


_NOTHING = ((), (), None, None)


def demands(key=None, signature=None, digest=None):
    return [key] if key else [], (), signature, digest


def chosen(key=None, asked=_NOTHING, renewed=None):
    """(type, last octet of the signature algorithm's OID) of the key that is made or taken."""
    found = run(key_types.choose(key, renewed, asked, lambda text: None))
    algorithm = der.Reader(found.sign(b"")[0]).enter().oid()
    return key_types._type(found.spki()), algorithm[-1]


def test_which_key_is_made():
    assert chosen() == ("P-256", 2)
    assert chosen("P-384") == ("P-384", 3)
    for key, asked, expected in (
        (None, ("P-256",), ("P-256", 2)),
        (None, ("EC",), ("P-256", 2)),
        (None, ("P-384",), ("P-384", 3)),
        (None, ("P-384", "ecdsa-with-SHA256"), ("P-384", 2)),
        (None, (None, "ecdsa-with-SHA512"), ("P-256", 4)),
        (None, ("EC", None, "SHA-384"), ("P-256", 3)),
        (None, ("EC", "ecdsa-with-SHA256", "SHA-384"), ("P-256", 2)),
        ("P-384", ("EC",), ("P-384", 3)),
        ("P-256", ("P-256", "ecdsa-with-SHA384"), ("P-256", 3)),
        (STORED, ("P-256", "ecdsa-with-SHA384"), ("P-256", 3)),
        (STORED, ("EC", "ecdsa-with-SHA256"), ("P-256", 2)),
        (RSA, ("RSA",), ("RSA-2048", 11)),
        (RSA, ("RSA-2048", "sha512WithRSAEncryption"), ("RSA-2048", 13)),
        (RSA, (None, None, "SHA-384"), ("RSA-2048", 12)),
    ):
        assert chosen(key, demands(*asked)) == expected, (key, asked)


def test_several_keys():
    """The strongest that a board makes well, of those that the caller did not exclude."""
    p384 = ec_key.EcKey(P384_OID, SCALAR).spki()
    for keys_named, signature, renewed, expected in (
        (("P-384", "P-256"), None, None, "P-384"),
        (("P-256", "P-384"), None, None, "P-384"),
        (("RSA-2048", "P-256"), None, None, "P-256"),
        (("P-256", "RSA-4096"), None, None, "P-256"),
        (("P-521", "P-256"), None, None, "P-256"),
        (("P-384", "P-256"), "ecdsa-with-SHA256", None, "P-384"),
        (("P-256", "P-384"), None, p384, "P-384"),
        (("P-256", "RSA-2048"), None, p384, "P-256"),
    ):
        found = run(key_types.choose(None, renewed, (keys_named, (), signature, None), print))
        assert key_types._type(found.spki()) == expected, (keys_named, expected)
    opened = key_types._open
    assert opened(["RSA-2048", "RSA-3072"], None, None) == "RSA-3072"
    assert opened(["P-384", "RSA-2048"], "sha256WithRSAEncryption", None) == "RSA-2048"
    assert opened(["P-521", "1.3.101.112"], None, None) == "P-521"
    both = (("P-384", "RSA-2048"), (), None, None)
    assert chosen("P-384", both) == ("P-384", 3)
    assert chosen(RSA, both) == ("RSA-2048", 11)
    error = check.raises(UsageError, chosen, "P-256", both)
    assert "P-384 or RSA-2048, not P-256" in str(error)


def test_hints():
    """What stands there without a value is followed where nobody wants another key, but for a
    curve."""
    for key, hints, digest, expected, noted in (
        ("P-256", ("RSA",), None, ("P-256", 2), True),
        ("P-256", ("P-384",), "SHA-384", ("P-256", 3), True),
        ("P-384", ("EC",), None, ("P-384", 3), False),
        (RSA, ("RSA",), None, ("RSA-2048", 11), False),
        (STORED, ("RSA", "EC"), None, ("P-256", 2), False),
        (None, ("P-384",), "SHA-384", ("P-256", 3), True),
        (None, ("EC",), None, ("P-256", 2), False),
    ):
        said = []
        found = run(key_types.choose(key, None, ((), hints, None, digest), said.append))
        algorithm = der.Reader(found.sign(b"")[0]).enter().oid()
        assert (key_types._type(found.spki()), algorithm[-1]) == expected, (key, hints)
        assert bool(said) == noted, said
        if said:
            assert hints[0] in said[0] and expected[0] in said[0]
    assert key_types._open(("RSA",), None, None) == "RSA-2048"


def test_what_the_board_cannot_make():
    for key, asked, texts in (
        ("P-256", ("P-384",), ("P-384", "P-256")),
        ("P-256", ("RSA",), ("RSA", "P-256")),
        ("RSA-2048", ("RSA-4096",), ("RSA-4096", "RSA-2048")),
        ("RSA-2048", ("EC",), ("EC", "RSA-2048")),
        (STORED, ("P-384",), ("P-384", "P-256")),
        (RSA, ("EC",), ("EC", "RSA-2048")),
        (None, ("P-521",), ("P-521",)),
        (None, ("RSA-1024",), ("RSA-1024",)),
        (None, ("1.3.101.112",), ("1.3.101.112",)),
        ("P-521", (), ("P-521",)),
        ("P-256", (None, "sha256WithRSAEncryption"), ("sha256WithRSAEncryption", "P-256")),
        (RSA, (None, "ecdsa-with-SHA256"), ("ecdsa-with-SHA256", "RSA-2048")),
        ("P-256", ("P-256", "sha384WithRSAEncryption"), ("sha384WithRSAEncryption",)),
    ):
        error = check.raises(UsageError, chosen, key, demands(*asked))
        for text in texts:
            assert text in str(error), (error, asked)


def test_a_renewal_keeps_the_type():
    old = ec_key.EcKey(P384_OID, SCALAR).spki()
    rsa = keys.load(RSA).spki()
    assert chosen(None, demands(), old) == ("P-384", 3)
    assert chosen(None, demands("EC"), old) == ("P-384", 3)
    assert chosen(None, demands("P-256"), old) == ("P-256", 2)
    assert chosen("P-256", demands(), old) == ("P-256", 2)

    def opened(named, *rest):
        return key_types._open([named] if named else [], *rest)

    assert opened(None, None, rsa) == "RSA-2048"
    assert opened("RSA", None, rsa) == "RSA-2048"
    assert opened("EC", None, rsa) == "P-256"
    assert opened("RSA", None, old) == "RSA-2048"
    assert opened(None, "sha256WithRSAEncryption", old) == "RSA-2048"
    assert opened(None, "ecdsa-with-SHA256", old) == "P-384"


class Context:
    """Stands for a tls.SSLContext that can call back."""

    ecdsa_sign_callback = None


def test_secure_element():
    private = STORED[7:39]
    seen = []

    def sign(digest):
        seen.append(digest)
        return P256.sign(private, digest)

    key = element.ElementKey(b"slot 1", STORED[-65:], sign)
    assert key.spki() == keys.load(STORED).spki()
    assert private not in key.der()
    assert b"slot 1" in key.der()
    assert keys.load(key.der()) is key
    algorithm, signature = key.sign(b"message")
    assert x509.verify(key.spki(), algorithm, b"message", signature)
    assert seen == [hashlib.sha256(b"message").digest()]
    request = csr.build(key, "CN=a")
    assert own_request.check(request, key.der()) == (key.der(), request)
    # TLS may hash to more or fewer bytes than the curve has.
    context = Context()
    element.attach(context, STORED)
    element.attach(context, None)
    assert context.ecdsa_sign_callback is None
    element.attach(context, key.der())
    for size in (20, 32, 48):
        digest = bytes(range(1, size + 1))
        signature = context.ecdsa_sign_callback(bytearray(b"slot 1"), bytearray(digest))
        assert seen[-1] == (bytes(12) + digest if size == 20 else digest[:32])
        assert P256.verify(STORED[-65:], seen[-1], signature)
    error = check.raises(UsageError, element.attach, object(), key.der())
    assert "cannot sign" in str(error)


def test_secure_element_on_p384():
    def sign(digest):
        # r and s side by side, as secure elements give them.
        pair = der.Reader(P384.sign(SCALAR, digest)).enter()
        return b"".join([pair.integer().to_bytes(48, "big") for _ in range(2)])

    key = element.ElementKey(b"\7" * 47, POINT, sign)
    algorithm, signature = key.sign(b"message")
    assert x509.verify(key.spki(), algorithm, b"message", signature)
    assert chosen(key.der()) == ("P-384", 3)
    assert chosen(key.der(), demands("P-384", "ecdsa-with-SHA512")) == ("P-384", 4)


def test_secure_element_misused():
    public = STORED[-65:]
    for handle in (b"", b"\0a", bytes(32), b"\1" * 32):
        check.raises(UsageError, element.ElementKey, handle, public, None)
    for point in (b"", public[:-1], POINT + b"\0"):
        check.raises(UsageError, element.ElementKey, b"a", point, None)
    stuck = element.ElementKey(b"stuck", public, lambda digest: P256.sign(STORED[7:39], bytes(32)))
    assert "not by the public key" in str(check.raises(UsageError, stuck.sign, b"message"))
    mute = element.ElementKey(b"mute", public, lambda digest: b"")
    check.raises(UsageError, mute.sign, b"message")
    # A handle that nobody knows after a reset is no private key.
    data = stuck.der().replace(b"stuck", b"stack")
    refused(data, "secure element")


def test_own_request():
    for data in (STORED, sec1(SCALAR, P384_OID)):
        key = keys.load(data)
        request = csr.build(key, "CN=a,O=b")
        assert own_request.check(request, data) == (key.der(), request)
        check.raises(UsageError, own_request.check, request, RSA)
        check.raises(UsageError, own_request.check, request + b"\0", data)
        check.raises(UsageError, own_request.check, request, None)
        check.raises(UsageError, own_request.check, request, "P-256")
        check.raises(UsageError, own_request.check, request.replace(b"\x0c\1a", b"\x0c\1b"), data)
    request = csr.build(keys.load(STORED), "CN=a,O=b")
    check.truncated(lambda data: own_request.check(data, STORED), request)
    random = check.numbers(1)
    for _ in range(max(100 // check.SAMPLE, 20)):
        at = next(random) % len(request)
        changed = request[:at] + bytes((request[at] ^ 1 << next(random) % 8,)) + request[at + 1 :]
        check.raises(UsageError, own_request.check, changed, STORED)


def test_own_request_of_other_versions():
    key = keys.load(STORED)
    parts = (csr.name("CN=a"), key.spki())
    for version, rest, good in ((0, b"\xa0\0", True), (0, b"", True), (1, b"", False)):
        info = der.sequence(asn1.integer(version), *parts, rest)
        algorithm, signature = key.sign(info)
        request = der.sequence(info, algorithm, der.bits(signature))
        if good:
            assert own_request.check(request, STORED)[1] == request
        else:
            check.raises(UsageError, own_request.check, request, STORED)


def test_keys_with_a_changed_bit():
    """A key damaged in storage is refused; of PKCS #8's version two numbers are as good."""
    for one, every in ((keys.P256Key(), 7), (ec_key.EcKey(P384_OID), 41)):
        for data in (one.der(), key_forms.pkcs8(one)):
            for at in range(0, 8 * len(data), every * check.SAMPLE):
                changed = bytearray(data)
                changed[at >> 3] ^= 1 << (at & 7)
                try:
                    assert key_forms.load(bytes(changed)).der() == one.der(), at
                except UsageError:
                    pass

import check
from est import asn1, curves, der, hashes, rsa_key, rsa_pss, signatures, steps, x509
from est.ec import P256
from est.errors import NotTrusted, PeerError, Unsupported, UsageError
from est.keys import P256Key
from test_messages import NOW, certificate
from test_rsa_key import KEY

KEY_OF_ROOT = P256Key(bytes(31) + b"\x0d")
_ECDSA_SHA3_256 = b"\x60\x86\x48\x01\x65\x03\x04\x03\x0a"
_ED25519 = b"\x2b\x65\x70"
_PKCS1 = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01"


def _ecdsa(size):
    return der.sequence(der.tlv(asn1.OID, b"\x2a\x86\x48\xce\x3d\x04\x03" + bytes((size // 16,))))


def _rsa(last, *parameters):
    return der.sequence(der.tlv(asn1.OID, _PKCS1 + bytes((last,))), *parameters)


def _check_ecdsa(name, size):
    for group, test in check.wycheproof(name, sample=check.SAMPLE):
        spki = bytes.fromhex(group["publicKeyDer"])
        message = bytes.fromhex(test["msg"])
        good = signatures.verify(spki, _ecdsa(size), message, bytes.fromhex(test["sig"]))
        assert good == (test["result"] == "valid"), test


def test_wycheproof_ecdsa_p256():
    _check_ecdsa("ecdsa_secp256r1_sha256", 32)


def test_wycheproof_ecdsa_p256_sha512():
    _check_ecdsa("ecdsa_secp256r1_sha512", 64)


def test_wycheproof_ecdsa_p384():
    _check_ecdsa("ecdsa_secp384r1_sha384", 48)


def test_wycheproof_rsa():
    note = "DigestInfo without NULL (RFC 8017 9.2)"
    for group, test in check.wycheproof("rsa_signature_2048_sha384", note):
        spki = der.sequence(_rsa(1, b"\5\0"), der.bits(bytes.fromhex(group["publicKeyAsn"])))
        message = bytes.fromhex(test["msg"])
        signature = bytes.fromhex(test["sig"])
        good = signatures.verify(spki, _rsa(0x0C, b"\5\0"), message, signature)
        assert good == (test["result"] == "valid"), test
        if good:
            assert not signatures.verify(spki, _rsa(0x0B, b"\5\0"), message, signature)


def test_algorithm_confusion():
    ours = P256Key()
    algorithm, signature = ours.sign(b"x")
    assert signatures.verify(ours.spki(), algorithm, b"x", signature)
    assert x509.verify(ours.spki(), algorithm, b"x", signature)
    # ECDSA's signature with RSA's name, RSA's with ECDSA's, SHA-1, MD5.
    sha1 = der.sequence(der.tlv(asn1.OID, b"\x2a\x86\x48\xce\x3d\x04\x01"))
    for name in (_rsa(0x0B), _rsa(0x05), _rsa(0x04), sha1):
        check.raises(NotTrusted, signatures.verify, ours.spki(), name, b"x", signature)
    # SHA-224, SHA3-256, Ed25519.
    others = [der.sequence(der.tlv(asn1.OID, oid)) for oid in (_ECDSA_SHA3_256, _ED25519)]
    for name in [_ecdsa(16), _ecdsa(80)] + others:
        error = check.raises(Unsupported, signatures.verify, ours.spki(), name, b"x", signature)
        assert str(error).endswith("is not supported"), str(error)
    body = der.sequence(asn1.integer((1 << 2047) + 1), asn1.integer(65537))
    rsa_key = der.sequence(_rsa(1, b"\5\0"), der.bits(body))
    for name in (_ecdsa(32), _rsa(0x05, b"\5\0"), _rsa(0x0A, b"\x30\0")):
        check.raises(NotTrusted, signatures.verify, rsa_key, name, b"x", bytes(256))
    check.raises(Unsupported, signatures.verify, rsa_key, _rsa(0x0E), b"x", bytes(256))
    pss_key = der.sequence(_rsa(10), der.bits(body))
    check.raises(NotTrusted, signatures.verify, pss_key, _rsa(0x0B), b"x", bytes(256))
    strange = ours.spki().replace(b"\x3d\x03\x01\x07", b"\x3d\x03\x01\x06")
    error = check.raises(Unsupported, signatures.verify, strange, _ecdsa(32), b"x", signature)
    assert "curve 1.2.840.10045.3.1.6 is not supported" in str(error)


def test_forms_of_a_key():
    """Named by what they are; not as malformed, and not as a wrong signature (RFC 5480 2)."""
    ours = P256Key()
    algorithm, signature = ours.sign(b"x")
    point = ours.spki()[26:]
    names = ours.spki()[4:23]
    spelt_out = der.sequence(names[:9], der.sequence(asn1.integer(1)))
    compressed = bytes((2 + (point[-1] & 1),)) + point[1:33]
    for kind, public, word in (
        (der.sequence(names), compressed, "a compressed point"),
        (der.sequence(names), bytes((6 + (point[-1] & 1),)) + point[1:], "a hybrid point"),
        (spelt_out, point, "a curve that is not named"),
        (der.sequence(names[:9], b"\5\0"), point, "a curve that is not named"),
    ):
        spki = der.sequence(kind, der.bits(public))
        for verify in (signatures.verify, x509.verify):
            error = check.raises(Unsupported, verify, spki, algorithm, b"x", signature)
            assert word in str(error) and "not supported" in str(error), str(error)
    for public in (b"", b"\0", b"\5" + point[1:]):
        spki = der.sequence(der.sequence(names), der.bits(public))
        check.raises(PeerError, x509.verify, spki, algorithm, b"x", signature)
    for form in (compressed, bytes((7,)) + point[1:]):
        error = check.raises(Unsupported, P256.ecdh, bytes(31) + b"\7", form)
        assert "not supported" in str(error)
    check.raises(PeerError, P256.ecdh, bytes(31) + b"\7", b"")


def test_a_path_that_cannot_be_judged():
    """Is not one that is not trusted, and is not trusted either."""
    strange = bytes.fromhex("2b6570")
    leaf = certificate("CN=leaf", "CN=root", P256Key(), Signer(strange))
    root = certificate("CN=root", "CN=root", P256Key(), P256Key(), 0)
    error = check.raises(Unsupported, x509.verify_path, leaf, [], [root], NOW)
    assert "signature algorithm 1.3.101.112 is not supported" in str(error), str(error)
    # Another issuer of the name, by which it can be judged, has the last word.
    good = certificate("CN=leaf", "CN=root", P256Key(), KEY_OF_ROOT)
    real = certificate("CN=root", "CN=root", KEY_OF_ROOT, KEY_OF_ROOT, 0)
    odd = certificate("CN=root", "CN=root", Odd(), KEY_OF_ROOT, 0)
    assert x509.verify_path(good, [], [odd, real], NOW) == [good, real]
    assert x509.verify_path(good, [], [real, odd], NOW) == [good, real]
    check.raises(Unsupported, x509.verify_path, good, [], [odd], NOW)


class Signer(P256Key):
    """Signs by the algorithm of that OID."""

    def __init__(self, oid):
        super().__init__()
        self.algorithm = der.sequence(der.tlv(asn1.OID, oid))

    def sign(self, message):
        return self.algorithm, bytes(64)


class Odd(P256Key):
    """A key on a curve that nobody knows."""

    def spki(self):
        return super().spki().replace(b"\x3d\x03\x01\x07", b"\x3d\x03\x01\x06")


def test_parameters():
    ours = P256Key()
    algorithm, signature = ours.sign(b"x")
    name = algorithm[2:]
    key_name, curve = ours.spki()[4:13], ours.spki()[13:23]
    bits = ours.spki()[23:]
    null = b"\5\0"
    assert x509.verify(
        der.sequence(der.sequence(key_name, curve), bits), algorithm, b"x", signature
    )
    # ECDSA's algorithm has none, its key a named curve and no more (RFC 5758 3.2, RFC 5480 2.1.1).
    for verify in (signatures.verify, x509.verify):
        for bad in (der.sequence(name, null), der.sequence(name, der.sequence())):
            check.raises(der.DerError, verify, ours.spki(), bad, b"x", signature)
        for parameters in ((), (curve, null)):
            spki = der.sequence(der.sequence(key_name, *parameters), bits)
            check.raises(der.DerError, verify, spki, algorithm, b"x", signature)
        for spki in (ours.spki() + null, der.sequence(ours.spki()[2:], null)):
            check.raises(der.DerError, signatures.verify, spki, algorithm, b"x", signature)
    # RSA's have a NULL (RFC 3279 2.3.1); of signatures nothing is taken for it (RFC 4055 5).
    key = rsa_key.load(KEY)
    signature = steps.run(key.signature(hashes.new(32, b"x").digest()))
    bits = key.spki()[19:]
    for good in (_rsa(0x0B, null), _rsa(0x0B)):
        assert signatures.verify(key.spki(), good, b"x", signature)
    for bad in (_rsa(0x0B, b"\5\1\0"), _rsa(0x0B, null, null), _rsa(0x0B, der.sequence())):
        check.raises(der.DerError, signatures.verify, key.spki(), bad, b"x", signature)
    for bad in (_rsa(1), _rsa(1, null, null), _rsa(1, der.sequence())):
        spki = der.sequence(bad, bits)
        check.raises(der.DerError, signatures.verify, spki, _rsa(0x0B, null), b"x", signature)
    # A key for RSASSA-PSS: with which hash, and how much salt at least (RFC 4055 3.3).
    signature = steps.run(key.pss_signature(hashes.new(32, b"x").digest()))
    algorithm = rsa_pss.algorithm(32)
    for spki in (key.spki(), der.sequence(_rsa(10), bits), der.sequence(algorithm, bits)):
        assert signatures.verify(spki, algorithm, b"x", signature)
    for bad in (rsa_pss.algorithm(48), algorithm.replace(b"\2\1\x20", b"\2\1\x21")):
        spki = der.sequence(bad, bits)
        check.raises(NotTrusted, signatures.verify, spki, algorithm, b"x", signature)
    for bad in (_rsa(10), _rsa(10, null), _rsa(10, algorithm[13:], null)):
        check.raises(der.DerError, signatures.verify, key.spki(), bad, b"x", signature)


def test_sha1_of_listed_anchors():
    key = rsa_key.load(KEY)
    anchor = certificate("CN=old", "CN=old", key, key, 1)
    other = certificate("CN=old", "CN=old", P256Key(), key, 1)
    signature = steps.run(key.signature(hashes.new(20, b"x").digest()))
    sha1 = _rsa(0x05, b"\5\0")
    arguments = key.spki(), sha1, b"x", signature
    check.raises(NotTrusted, x509.verify, *arguments)
    try:
        signatures.allow_sha1(other.der)
        check.raises(NotTrusted, x509.verify, *arguments)
        signatures.allow_sha1(anchor.der)
        assert x509.verify(*arguments)
        assert not x509.verify(key.spki(), sha1, b"y", signature)
        for last, kind in ((0x04, NotTrusted), (0x0E, Unsupported)):  # MD5 and SHA-224
            check.raises(kind, x509.verify, key.spki(), _rsa(last, b"\5\0"), b"x", signature)
        check.raises(NotTrusted, x509.verify, other.spki, sha1, b"x", signature)
    finally:
        signatures._sha1.clear()


def test_malformed():
    ours = P256Key()
    algorithm, signature = ours.sign(b"x")

    def verify(spki):
        signatures.verify(spki, algorithm, b"x", signature)

    check.truncated(verify, ours.spki())
    check.mutated(verify, ours.spki(), 200)


def test_curves():
    # A nonce shorter than n would give the key away.
    check.raises(UsageError, curves.P521.sign, curves.P521.generate(), bytes(64))
    for curve in (curves.P384, curves.P521):
        private = curve.generate()
        public = curve.public(private)
        assert len(public) == 2 * curve.size + 1
        other = curve.generate()
        assert curve.ecdh(private, curve.public(other)) == curve.ecdh(other, public)
    digest = hashes.new(48, b"x").digest()
    private = curves.P384.generate()
    signature = curves.P384.sign(private, digest)
    assert curves.P384.verify(curves.P384.public(private), digest, signature)
    assert not curves.P384.verify(curves.P384.public(private), bytes(48), signature)

import check
from est import asn1, der, hashes, rsa
from est.errors import NotTrusted, Unsupported, UsageError


def _public(n, e=65537):
    return der.sequence(asn1.integer(n), asn1.integer(e))


def _vectors(name):
    """(key, digest size, test) of each test in a Wycheproof file."""
    for group, test in check.wycheproof(name, "DigestInfo without NULL (RFC 8017 9.2)"):
        key = rsa.load(bytes.fromhex(group["publicKeyAsn"]))
        yield key, int(group["sha"][4:]) // 8, test


def test_wycheproof():
    for name in (
        "rsa_signature_2048_sha256",
        "rsa_signature_2048_sha384",
        "rsa_signature_4096_sha256",
    ):
        for key, size, test in _vectors(name):
            digest = hashes.new(size, bytes.fromhex(test["msg"])).digest()
            good = key.verify(digest, bytes.fromhex(test["sig"]))
            assert good == (test["result"] == "valid"), test


def test_weak_keys():
    good = (1 << 2047) + 1
    assert rsa.load(_public(good)).bits == 2048
    assert rsa.load(_public(good, 3)).size == 256
    for bits in (2049, 2055, 2056, 3072, 4095, 4096):
        key = rsa.load(_public((1 << bits) - 1))
        assert key.bits == bits
        assert key.size == (bits + 7) // 8
    for n, e in (((1 << 4096) + 1, 65537), (good, (1 << 32) + 1), (good, good)):
        assert "not supported" in str(check.raises(Unsupported, rsa.load, _public(n, e)))
    for n, e in (
        ((1 << 2047) - 1, 65537),
        ((1 << 1024) - 1, 65537),
        (1, 65537),
        (0, 65537),
        (good + 1, 65537),
        (good, 0),
        (good, 1),
        (good, 2),
        (good, 65536),
    ):
        check.raises(NotTrusted, rsa.load, _public(n, e))


def test_malformed_keys():
    data = _public((1 << 2047) + 1)
    check.raises(der.DerError, rsa.load, b"")
    check.truncated(rsa.load, data)
    check.mutated(rsa.load, data)
    for bad in (data + b"\0", der.sequence(data), der.sequence(asn1.integer(1) * 3)):
        check.raises(der.DerError, rsa.load, bad)


def test_malformed_signatures():
    for key, size, test in _vectors("rsa_signature_2048_sha256"):
        if test["result"] == "valid" and key.e == 65537:
            break
    digest = hashes.new(size, bytes.fromhex(test["msg"])).digest()
    signature = bytes.fromhex(test["sig"])
    assert key.verify(digest, signature)
    for cut in range(len(signature)):
        assert not key.verify(digest, signature[:cut])
    assert not key.verify(digest, signature + b"\0")
    assert not key.verify(digest, b"\0" + signature)
    more = int.from_bytes(signature, "big") + key.n
    if not more >> 2048:
        assert not key.verify(digest, more.to_bytes(256, "big"))
    random = check.numbers(1)
    for _ in range(max(60 // check.SAMPLE, 10)):
        changed = bytearray(signature)
        changed[next(random) % 256] ^= 1 << next(random) % 8
        assert not key.verify(digest, bytes(changed))
    for other in (20, 48, 64):
        assert not key.verify(bytes(other), signature)
    check.raises(UsageError, key.verify, digest[:31], signature)

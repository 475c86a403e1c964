import check
from est import hashes
from est.errors import UsageError


def test_sizes():
    for size in (20, 32, 48, 64):
        assert len(hashes.new(size).digest()) == size
        state = hashes.new(size)
        state.update(b"abc")
        assert state.digest() == hashes.new(size, b"abc").digest()
    for size in (0, 16, 28, 65):
        check.raises(UsageError, hashes.new, size)


def test_equal():
    assert hashes.equal(b"", b"")
    assert hashes.equal(b"abc", b"abc")
    for other in (b"", b"ab", b"abcd", b"abe", b"bbc"):
        assert not hashes.equal(b"abc", other)
        assert not hashes.equal(other, b"abc")


def test_hmac_with_a_long_key():
    # RFC 4231, case 6.
    message = b"Test Using Larger Than Block-Size Key - Hash Key First"
    key = b"\xaa" * 131
    assert hashes.hmac(32, key, message) == bytes.fromhex(
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
    )
    assert hashes.hmac(48, key, message[:20], message[20:]) == bytes.fromhex(
        "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c6"
        "0c2ef6ab4030fe8296248df163f44952"
    )
    assert hashes.hmac(64, key, message) == bytes.fromhex(
        "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352"
        "6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598"
    )


def test_wycheproof():
    for name, size in (("hmac_sha256", 32), ("hmac_sha384", 48)):
        for _, test in check.wycheproof(name):
            key, message, tag = (bytes.fromhex(test[part]) for part in ("key", "msg", "tag"))
            good = hashes.equal(hashes.hmac(size, key, message)[: len(tag)], tag)
            assert good == (test["result"] == "valid"), test

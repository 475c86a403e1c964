import check
from est import keywrap
from est.errors import PeerError, UsageError

KEK = bytes(range(32))
KEY = bytes(range(0xE0, 0x100))


def test_rfc3394():
    # 4.6: 256 bits of key data with a 256-bit KEK.
    key = bytes.fromhex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f")
    wrapped = bytes.fromhex(
        "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21"
    )
    assert keywrap.wrap(KEK, key) == wrapped
    assert keywrap.unwrap(KEK, wrapped) == key


def test_lengths():
    for size in (16, 24, 504, 512):
        assert keywrap.unwrap(KEK, keywrap.wrap(KEK, bytes(size))) == bytes(size)
    for size in (0, 1, 8, 15, 17, 23, 520):
        check.raises(UsageError, keywrap.wrap, KEK, bytes(size))
        check.raises(PeerError, keywrap.unwrap, KEK, bytes(size + 8))
    check.raises(PeerError, keywrap.unwrap, KEK, b"")
    for size in (0, 15, 17, 24, 33):
        check.raises(UsageError, keywrap.wrap, bytes(size), KEY)
        check.raises(UsageError, keywrap.unwrap, bytes(size), bytes(40))


def test_changed():
    wrapped = keywrap.wrap(KEK, KEY)
    check.raises(PeerError, keywrap.unwrap, KEY, wrapped)
    check.truncated(lambda data: keywrap.unwrap(KEK, data), wrapped)
    for at in range(len(wrapped)):
        changed = bytearray(wrapped)
        changed[at] ^= 1 << at % 8
        check.raises(PeerError, keywrap.unwrap, KEK, bytes(changed))


def test_wycheproof():
    note = "AES-192, which cryptolib lacks; keys of 8 bytes, which RFC 3394 2 does not have"
    for group, test in check.wycheproof("aes_wrap", note):
        kek, key, wrapped = (bytes.fromhex(test[part]) for part in ("key", "msg", "ct"))
        if group["keySize"] == 192:
            check.raises(UsageError, keywrap.wrap, kek, bytes(16))
        elif test["result"] == "valid":
            assert keywrap.wrap(kek, key) == wrapped, test
            assert keywrap.unwrap(kek, wrapped) == key, test
        else:
            check.raises(PeerError, keywrap.unwrap, kek, wrapped)

import check
from est import cbc
from est.errors import PeerError, UsageError

KEY = bytes(range(16))
IV = bytes(range(16, 32))


def test_lengths():
    for size in range(34):
        data = bytes(size)
        encrypted = cbc.encrypt(KEY, IV, data)
        assert len(encrypted) == size // 16 * 16 + 16
        assert cbc.decrypt(KEY, IV, encrypted) == data
    for size in (0, 1, 15, 17, 31):
        check.raises(PeerError, cbc.decrypt, KEY, IV, bytes(size))
    for size in (0, 15, 24, 33):
        check.raises(UsageError, cbc.decrypt, bytes(size), IV, bytes(16))
    for size in (0, 15, 17):
        check.raises(PeerError, cbc.decrypt, KEY, bytes(size), bytes(16))


def test_changed():
    encrypted = cbc.encrypt(KEY, IV, bytes(20))
    check.truncated(lambda data: cbc.decrypt(KEY, IV, data), encrypted)
    # The padding, 12 times 12, is the end of the last block.
    for at in range(4, 16):
        changed = bytearray(encrypted)
        changed[at] ^= 0x40
        check.raises(PeerError, cbc.decrypt, KEY, IV, bytes(changed))


def test_wycheproof():
    note = "AES-192, which cryptolib lacks"
    for group, test in check.wycheproof("aes_cbc_pkcs5", note):
        key, iv, data, encrypted = (
            bytes.fromhex(test[part]) for part in ("key", "iv", "msg", "ct")
        )
        if group["keySize"] == 192:
            check.raises(UsageError, cbc.encrypt, key, iv, data)
        elif test["result"] == "valid":
            assert cbc.encrypt(key, iv, data) == encrypted, test
            assert cbc.decrypt(key, iv, encrypted) == data, test
        else:
            check.raises(PeerError, cbc.decrypt, key, iv, encrypted)

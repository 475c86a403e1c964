import check
from est import asn1, der, hashes, rsa_decrypt, rsa_key, rsa_pss, steps
from est.errors import PeerError, Unsupported, UsageError
from test_rsa_key import KEY


def _encrypt(key, block):
    return pow(int.from_bytes(block, "big"), key.e, key.n).to_bytes(key.size, "big")


def _pkcs1(key, encrypted, size):
    return steps.run(rsa_decrypt.pkcs1(key, encrypted, size))


def _oaep(key, encrypted, *args):
    return steps.run(rsa_decrypt.oaep(key, encrypted, *args))


def _oaep_block(key, message, size, mask_size, label=b"", before=b"", top=0):
    # RFC 8017 7.1.1, with what a wrong encoder might do.
    data = hashes.new(size, label).digest()
    room = key.size - size - 1
    data += bytes(room - len(data) - len(before) - len(message)) + before + message
    seed = bytes(range(size))
    masked = int.from_bytes(data, "big") ^ rsa_pss.mgf1(mask_size, seed, room)
    masked = masked.to_bytes(room, "big")
    seed = int.from_bytes(seed, "big") ^ rsa_pss.mgf1(mask_size, masked, size)
    return bytes((top,)) + seed.to_bytes(size, "big") + masked


def test_pkcs1():
    key = rsa_key.load(KEY)
    secret = bytes(range(1, 33))
    good = b"\0\2" + b"\x55" * (key.size - 35) + b"\0" + secret
    assert _pkcs1(key, _encrypt(key, good), 32) == secret
    seen = set()
    for at, value in ((0, 1), (1, 1), (2, 0), (100, 0), (key.size - 34, 0), (key.size - 33, 9)):
        block = bytearray(good)
        block[at] = value
        encrypted = _encrypt(key, block)
        other = _pkcs1(key, encrypted, 32)
        assert len(other) == 32 and other != secret
        assert other == _pkcs1(key, encrypted, 32)
        seen.add(other)
    # Another number of bytes than there are: as if the padding were wrong.
    for size in (0, 16, 31, 33, 64):
        other = _pkcs1(key, _encrypt(key, good), size)
        assert len(other) == size and other != secret[-size:] or not size
    assert len(seen) == 6
    for size in (-1, key.size - 10):
        check.raises(UsageError, _pkcs1, key, _encrypt(key, good), size)


def test_oaep():
    key = rsa_key.load(KEY)
    for size, mask_size in ((20, 20), (32, 32), (48, 20), (64, 64)):
        for message in (b"", b"\0", b"\1" * 32, bytes(key.size - 2 * size - 2)):
            label = message[:1]
            block = _oaep_block(key, message, size, mask_size, label, b"\1")
            encrypted = _encrypt(key, block)
            assert _oaep(key, encrypted, size, mask_size, label) == message
    encrypted = _encrypt(key, _oaep_block(key, b"secret", 32, 32, b"", b"\1"))
    texts = set()
    for bad in (
        (encrypted, 32, 32, b"label"),
        (encrypted, 32, 20),
        (encrypted, 20, 20),
        (_encrypt(key, _oaep_block(key, b"", 32, 32)), 32, 32),
        (_encrypt(key, _oaep_block(key, b"", 32, 32, b"", b"\2")), 32, 32),
        (_encrypt(key, _oaep_block(key, b"secret", 32, 32, b"", b"\3")), 32, 32),
        (_encrypt(key, _oaep_block(key, b"secret", 32, 32, b"", b"\1", 1)), 32, 32),
        (_encrypt(key, bytes(key.size)), 32, 32),
    ):
        texts.add(str(check.raises(PeerError, _oaep, key, *bad)))
    assert len(texts) == 1
    check.raises(UsageError, _oaep, key, encrypted, 31, 32)


def test_no_ciphertext():
    key = rsa_key.load(KEY)
    for bad in (
        b"",
        bytes(key.size - 1),
        bytes(key.size + 1),
        key.n.to_bytes(key.size, "big"),
        b"\xff" * key.size,
    ):
        check.raises(PeerError, _pkcs1, key, bad, 32)
        check.raises(PeerError, _oaep, key, bad, 32, 32)


def test_parameters():
    def parse(data):
        return rsa_decrypt.parameters(der.Reader(data))

    assert parse(der.sequence()) == (20, 20, b"")
    pss = der.Reader(rsa_pss.algorithm(32)).enter()
    pss.skip()
    pss = pss.enter()
    functions = pss.element() + pss.element()
    assert parse(der.sequence(functions)) == (32, 32, b"")
    specified = bytes.fromhex("2a864886f70d010109")
    label = der.tlv(0xA2, der.sequence(der.tlv(asn1.OID, specified), der.octets(b"label")))
    assert parse(der.sequence(functions, label)) == (32, 32, b"label")
    assert parse(der.sequence(label)) == (20, 20, b"label")
    check.truncated(parse, der.sequence(functions, label))
    check.mutated(parse, der.sequence(functions, label))
    other = der.sequence(der.tlv(asn1.OID, specified[:-1] + b"\x0a"), der.octets(b"label"))
    check.raises(Unsupported, parse, der.sequence(der.tlv(0xA2, other)))
    check.raises(der.DerError, parse, der.sequence(label, functions))


def test_wycheproof():
    for group, test in check.wycheproof("rsa_pkcs1_2048"):
        key = rsa_key.load(bytes.fromhex(group["privateKeyPkcs8"]))
        message, encrypted = bytes.fromhex(test["msg"]), bytes.fromhex(test["ct"])
        if test["result"] == "valid":
            assert _pkcs1(key, encrypted, len(message)) == message, test
        elif "InvalidCiphertextFormat" in test["flags"]:
            check.raises(PeerError, _pkcs1, key, encrypted, len(message))
        else:
            assert _pkcs1(key, encrypted, len(message)) != message, test

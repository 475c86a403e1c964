import check
from est import asn1, cbc, der, kdf, keys, pbes2, steps
from est.errors import UsageError

# The P-256 key 1, as `openssl pkcs8 -topk8` writes it under the password "secret":
_OPENSSL = (
    # -v2 aes-256-cbc
    bytes.fromhex(
        "3081ec305706092a864886f70d01050d304a302906092a864886f70d01050c301c040861f013a037"
        "58b42802020800300c06082a864886f70d02090500301d060960864801650304012a0410a094d65b"
        "639b0df7549d4be67b3e811e0481907de74764ee1e3d9b496da6887d6192842b15e609b70178db92"
        "5db4598fb64fd9e6b0684f51bf53609d0fa7c7ef7d0be06205b6c133360920d0010a5f86f725d51f"
        "2d132b13f6b04669e887285ea8746eb460c409481f6b7fd92463638aa885d50d1b17fc320c2324b9"
        "c9cc9102caece854b957d289ed6876a2b55710655844603ad6b0b2d578f508dcd1f38771f193a4"
    ),
    # -v2 aes-128-cbc -v2prf hmacWithSHA1
    bytes.fromhex(
        "3081de304906092a864886f70d01050d303c301b06092a864886f70d01050c300e04084820b28a70"
        "1fb79d02020800301d060960864801650304010204102a952b3d034ff8f74bd9cd808f1e44550481"
        "90d114efa43a6d9f08334d709dd0c23852521282ad84f1a20c1ab1b79389da894f362a2a778ca454"
        "d116724ac5ef133c28efd0225d6d85c0cbbbd73281d958f9a7bd2c62eca85ff0e722659d7503178e"
        "6470dd839680ae45092304c1060e18d6d9546443e6de434c3f5d35642889e155440952e44bf00138"
        "63ec434f86b2bb663b384352cee732c61a3d08f40d239d4284"
    ),
    # -v2 aes-256-cbc -v2prf hmacWithSHA512 -iter 100
    bytes.fromhex(
        "3081eb305606092a864886f70d01050d3049302806092a864886f70d01050c301b04087d4ed41414"
        "07d946020164300c06082a864886f70d020b0500301d060960864801650304012a041023741a1c75"
        "aca4ae642fc5c3d6854e2b048190ddce8a4ec171ed3973296539290f6a28148cfe313e3ca345cb2d"
        "9ef3faf5005a1ab308eb0d0a586ddde57fb5d74ebf451f540dd16186a93cc0834e758f8d168af13c"
        "56300061971a99bddf8418ee084cc903f0d12fa68e8582b2bb0c21bcf07bbf5b19ef0b7efc94e8c7"
        "05b5aa36f9bf6028f0a5a7fa06ff63125b945f7aa6c9202c19a749390333cf56e03fc0b484dd"
    ),
)
_PBES2 = bytes.fromhex("2a864886f70d01050d")
_PBKDF2 = bytes.fromhex("2a864886f70d01050c")
_AES = bytes.fromhex("608648016503040100")
_HMAC = bytes.fromhex("2a864886f70d0200")


def _decrypt(data, password=b"secret"):
    return steps.run(pbes2.content(data, password))


def _algorithm(oid, *parameters):
    return der.sequence(der.tlv(asn1.OID, oid), *parameters)


def _encrypted(
    encrypted, iv, salt, iterations, scheme=_PBES2, derivation=_PBKDF2, aes=2, prf=9, more=b""
):
    prf = _algorithm(_HMAC[:-1] + bytes((prf,)), b"\5\0") if prf else b""
    inner = der.sequence(der.octets(salt), asn1.integer(iterations), more, prf)
    cipher = _algorithm(_AES[:-1] + bytes((aes,)), der.octets(iv))
    parameters = der.sequence(_algorithm(derivation, inner), cipher)
    return der.sequence(_algorithm(scheme, parameters), der.octets(encrypted))


def test_openssl():
    for data in _OPENSSL:
        key = keys.load(steps.run(pbes2.decrypt(data, b"secret")))
        assert key.der()[7:39] == bytes(31) + b"\1"
        for wrong in (b"", b"Secret", b"secret "):
            error = check.raises(UsageError, lambda: steps.run(pbes2.decrypt(data, wrong)))
            assert "wrong key" in str(error)


def test_a_padding_that_is_right_by_chance():
    key = steps.run(kdf.pbkdf2(32, b"secret", b"salt", 1, 16))
    for found in (b"", b"\x11" * 40, b"\x30", b"\x30\1", b"\x31\0", b"\x30\0\0"):
        data = _encrypted(cbc.encrypt(key, bytes(16), found), bytes(16), b"salt", 1)
        assert _decrypt(data) == found
        error = check.raises(UsageError, lambda: steps.run(pbes2.decrypt(data, b"secret")))
        assert "wrong key" in str(error)
        assert "wrong key" in str(check.raises(UsageError, keys.load, data, b"secret"))
    data = _encrypted(cbc.encrypt(key, bytes(16), b"\x30\0"), bytes(16), b"salt", 1)
    assert steps.run(pbes2.decrypt(data, b"secret")) == b"\x30\0"


def test_steps():
    assert len(list(pbes2.decrypt(_OPENSSL[0], b"secret"))) >= 2048 // 16


def test_malformed():
    # Work that is refused takes no time; a few iterations do neither.
    key = kdf.pbkdf2(32, b"secret", b"salt", 1, 16)
    good = _encrypted(cbc.encrypt(steps.run(key), bytes(16), b"data"), bytes(16), b"salt", 1)
    assert _decrypt(good) == b"data"
    check.raises(UsageError, _decrypt, b"")
    check.truncated(_decrypt, good)
    check.mutated(_decrypt, good)
    check.raises(UsageError, _decrypt, good + b"\0")


def test_unsupported():
    good = (bytes(16), bytes(16), b"salt")
    for changed in (
        {"scheme": _PBKDF2},
        {"derivation": _PBES2},
        {"aes": 1},
        {"aes": 22},
        {"prf": 8},
        {"more": asn1.integer(32)},
        {"more": asn1.integer(1 << 30)},
    ):
        error = check.raises(UsageError, _decrypt, _encrypted(*(good + (1,)), **changed))
        assert "only PBES2" in str(error)
    for iterations in (0, 2000001, 1 << 64):
        error = check.raises(UsageError, _decrypt, _encrypted(*(good + (iterations,))))
        assert "iterations" in str(error)
    for bad in (
        (bytes(16), bytes(15), b"salt", 1),
        (bytes(15), bytes(16), b"salt", 1),
        (b"", bytes(16), b"salt", 1),
    ):
        check.raises(UsageError, _decrypt, _encrypted(*bad))


def _lengthen(data, path):
    # DER with a NULL more at the end of an inner SEQUENCE, told by the indices that lead to it.
    elements = []
    fields = der.Reader(data).enter()
    while fields.more():
        elements.append(fields.element())
    if path:
        elements[path[0]] = _lengthen(elements[path[0]], path[1:])
    else:
        elements.append(b"\5\0")
    return der.sequence(*elements)


def test_more_than_there_should_be():
    key = steps.run(kdf.pbkdf2(32, b"secret", b"salt", 1, 16))
    good = _encrypted(cbc.encrypt(key, bytes(16), b"data"), bytes(16), b"salt", 1)
    assert _decrypt(good) == b"data"
    for path in ((), (0,), (0, 1), (0, 1, 0), (0, 1, 1), (0, 1, 0, 1), (0, 1, 0, 1, 2)):
        check.raises(UsageError, _decrypt, _lengthen(good, path))


def test_wycheproof():
    for _, test in check.wycheproof("pbes2_hmacsha256_aes_128"):
        password, salt, iv, message, encrypted = (
            bytes.fromhex(test[part]) for part in ("password", "salt", "iv", "msg", "ct")
        )
        data = _encrypted(encrypted, iv, salt, test["iterationCount"])
        assert _decrypt(data, password) == message, test

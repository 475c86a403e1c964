import check
from est import asn1, cbc, der, envelope, keywrap, rsa_key, steps
from est.curves import P384
from est.ec import P256
from est.errors import EstError, PeerError, Unsupported, UsageError
from test_rsa_key import KEY

_TEXT = b"the private key"
_S16, _S32 = bytes(range(16)), bytes(range(32))
_PRIVATE = 0x1234567
# What `openssl cms -encrypt` makes of _TEXT.
_OPENSSL = {
    # -aes-128-cbc -secretkey ... -secretkeyid 6964
    "kek128": (
        "30818406092a864886f70d010703a07730750201023132a230020104300404026964300b0609608648016503"
        "0401050418f72a397c8ced6d8e9f75bac34450a7c634adee872626c58b303c06092a864886f70d010701301d"
        "060960864801650304010204106e63456421f77154124066779a90537a8010b9a8c76e3175c2530c274ab6f5"
        "19c94e"
    ),
    # -aes-256-gcm -secretkey ... -secretkeyid 6964
    "kek256": (
        "3081aa060b2a864886f70d0109100117a0819a3081970201003142a240020104300404026964300b06096086"
        "4801650304012d042879435b622956eb215a7996af748c10515bc040b894f2c71374bd5e40ba5d70d2d9dc57"
        "51a27f7f56303c06092a864886f70d010701301e060960864801650304012e3011040c2792a80408542b9a57"
        "f99244020110800f6668a8f1a999302c820d12f30eefa004107b3811e1dd1e15462faefb1359ab73b6"
    ),
    # -aes-256-cbc -recip
    "rsa15": (
        "3082019806092a864886f70d010703a082018930820185020100318201403082013c0201003024300c310a30"
        "0806035504030c0172021433be9f8021c7ada641738ef176da17799e9c1dca300d06092a864886f70d010101"
        "050004820100ab7f4741a5b4981ee6b72eac4e6559ca219211b5e5702d76102b7b15b2b6ac9363ef8c393f7e"
        "a8214253f2e443d2a7028660ca39a55e4d6dfd37e700d356380be1889e04e91eec893b25c648f7afe8955a84"
        "b2a31b4de537237d5957ec4139ceeac382cc6ef88149138e12e6f5a528eedf0ebd7f574ad8d3e4dc7f648147"
        "e18203175aa8d4910173310de7bade0ce481fd1e9b7e93b03d1b1ce7521b17839ab645e62f704e5fdb2ffdec"
        "4589fc7c9e418e017cb3d2a4f76d48cd48c1e265c3500013d438f4edda70a0acc8ae93105fddbe20c8e6d6f3"
        "8ad808b0c729ca9dd58a451115c53e5b64a5465bfb6441392796b76d0532e3cb4d570490d763caeb5394303c"
        "06092a864886f70d010701301d060960864801650304012a04106ba8f21803d254e1bc73445021a6771b8010"
        "571736e0d2e0eb8f1c5e5d68b25b7b1f"
    ),
    # -aes-128-cbc -recip, with RSA-OAEP and SHA-256
    "oaep256": (
        "308201c306092a864886f70d010703a08201b4308201b00201003182016b308201670201003024300c310a30"
        "0806035504030c0172021433be9f8021c7ada641738ef176da17799e9c1dca303806092a864886f70d010107"
        "302ba00d300b0609608648016503040201a11a301806092a864886f70d010108300b06096086480165030402"
        "0104820100af02240e9c0e39da4dd8756c1d17ff0d1f0ca5bd6f955ff54d29914b13921731595d78e60bd3ee"
        "1441aaf796a3a1c38cbb291a7c670fab7a163682470798ab2ffb48100df074a1e5f8aeb3fdc65cb97bd48f4c"
        "903f04a67c477e3d880f96e5e792ec4dad860dfee3e14c774dfdaf60c9d4937fda3855b700f3ea0459741fc6"
        "1d9da489438cd9a84c776286a33b563b57a82b26fa2c03ac72797081b144d98b09e9302ae84aebfae36eff67"
        "529269f6f375f522ead6a84c47a46e64737198778fdece0d29f13ee86532eac64633e354b03d085362fbf41a"
        "2b59ac8ba133fd198a83274ac8e51921a40663493dac0d37cf29a2727d32abee23445b97623b509e80303c06"
        "092a864886f70d010701301d060960864801650304010204100297517e5248efbb345b1dcb120fedc9801012"
        "cb5dac6ac985b551ac0fc7b8b5de52"
    ),
    # -aes-128-cbc -recip on P-256: KDF with SHA-1
    "ec256": (
        "3082010c06092a864886f70d010703a081fe3081fb0201023181b7a181b4020103a051a14f300906072a8648"
        "ce3d020103420004f6bd7717005b5594d6794e88c8e7b57acfaf4d2d1aec96f02efd7759ecd9ae37f6953981"
        "54a05b1ab0fca55849e0576d1efeb68c738cce204e1f67b485fd5942301806092b81051086483f0002300b06"
        "09608648016503040105304230403024300c310a300806035504030c01720214666217e09fe8f4d5507cde76"
        "a856a5b10bd311c704188c134b268f417d51dd34cc8630bd18e22f9cc4356eaf2045303c06092a864886f70d"
        "010701301d060960864801650304010204109e3223f78063654a6b5683202be7f9fe80104f2ee7e1c6ebfd71"
        "a6214aa71d5aa8e8"
    ),
    # -aes-256-gcm -aes256-wrap -recip on P-256: KDF with SHA-256
    "ec256k": (
        "3082012f060b2a864886f70d0109100117a082011e3082011a0201003181c4a181c1020103a051a14f300906"
        "072a8648ce3d020103420004c9b134b886e503b37c9f00a4edc168792517e58d83b961f566f202e5e5bd67c7"
        "b14e15d4d72e9914f21f6557cdf1e26503f8a08309808f561e283f68fa35bda8301506062b8104010b01300b"
        "060960864801650304012d305230503024300c310a300806035504030c01720214666217e09fe8f4d5507cde"
        "76a856a5b10bd311c70428d3dd19ecfcbe114da5c6a58cb56bd36c6eaa4ec45f32ada74cff0df7ef241c648f"
        "bb2a588d3847a8303c06092a864886f70d010701301e060960864801650304012e3011040cd2c3954646d23d"
        "b3aa32bbaf020110800fa85f4a289f53842280223141eaefbf04106b1b716160983b3e6cb164a1a6c635d9"
    ),
    # -aes-256-cbc -aes256-wrap -keyid -recip on P-384: KDF with SHA-384
    "ec384": (
        "3082012d06092a864886f70d010703a082011e3082011a0201023181d6a181d3020103a071a16f300906072a"
        "8648ce3d020103620004600bc5fa9d5c794b005bf41b19e17f96a517518659c7742161247cdfeb9703ccedd1"
        "f477dcae31f9af6ce90deacb08f7282006f9c6a7cb030ace1e83ad62c80049f4db09c10684c5d8eab60929f7"
        "8b8a73ec56a8025fadfb6a01c9ee21d2653d301506062b8104010b02300b060960864801650304012d304430"
        "42a01604143af747aca40e6d28183e1281e74ae37b362b07a1042820ac1f1c7138d93a3920a94578ca32ca6a"
        "168f0082c9b9e2c240f5cdf6b61afc769e6970f3cabd78303c06092a864886f70d010701301d060960864801"
        "650304012a04102f74109e34668c905b0146c95da0688d80108006cf0cb7960851478c350c74459b06"
    ),
    # -EncryptedData_encrypt -aes-128-cbc
    "ed": (
        "305006092a864886f70d010706a0433041020100303c06092a864886f70d010701301d060960864801650304"
        "010204105c683c31501a4d5d4aa63cfc4dddf7c0801039bd5b9502b4dcb19c0eb781a6d53220"
    ),
}
_DATA = bytes.fromhex("2a864886f70d010701")
_AES = bytes.fromhex("608648016503040100")
_GIVEN = {
    "kek128": {"secret": _S16, "identifier": b"id"},
    "kek256": {"secret": _S32},
    "rsa15": {"private": KEY},
    "oaep256": {"private": KEY},
    "ed": {"secret": _S16},
}


def _sec1(curve, oid):
    private = _PRIVATE.to_bytes(curve.size, "big")
    named = der.tlv(0xA0, der.tlv(asn1.OID, bytes.fromhex(oid)))
    return der.sequence(asn1.integer(1), der.octets(private), named)


def _given(name):
    if name[:2] != "ec":
        return _GIVEN[name]
    if name == "ec384":
        return {"private": _sec1(P384, "2b81040022")}
    return {"private": _sec1(P256, "2a8648ce3d030107")}


def _decrypt(data, **given):
    kind, content = steps.run(envelope.decrypt(data, **given))
    assert kind == _DATA
    return content


def _algorithm(last, *parameters):
    return der.sequence(der.tlv(asn1.OID, _AES[:-1] + bytes((last,))), *parameters)


def _kek(wrapped, name=b"id", wrap=5):
    return der.tlv(
        0xA2,
        asn1.integer(4),
        der.sequence(der.octets(name)),
        _algorithm(wrap),
        der.octets(wrapped),
    )


def _info(oid, *fields):
    outer = der.tlv(asn1.OID, bytes.fromhex("2a864886f70d0107") + bytes((oid,)))
    return der.sequence(outer, der.tlv(0xA0, der.sequence(*fields)))


def _content(algorithm, content):
    return der.sequence(der.tlv(asn1.OID, _DATA), algorithm, content)


_KEY, _IV = bytes(range(50, 66)), bytes(16)
_CBC = _algorithm(2, der.octets(_IV))
_ENCRYPTED = cbc.encrypt(_KEY, _IV, _TEXT)


def _enveloped(*recipients, algorithm=_CBC, encrypted=None):
    content = encrypted or der.tlv(0x80, _ENCRYPTED)
    inner = _content(algorithm, content)
    return _info(3, asn1.integer(2), der.tlv(asn1.SET, *recipients), inner)


def test_openssl():
    for name in _OPENSSL:
        data = bytes.fromhex(_OPENSSL[name])
        assert _decrypt(data, **_given(name)) == _TEXT, name
        check.raises(EstError, lambda: _decrypt(data + b"\0", **_given(name)))


def test_nothing_given():
    for name, words in (
        ("kek128", "shared secret 6964"),
        ("kek256", "shared secret 6964"),
        ("rsa15", "RSA"),
        ("ec256", "EC"),
        ("ed", "shared secret"),
    ):
        data = bytes.fromhex(_OPENSSL[name])
        error = check.raises(UsageError, lambda: _decrypt(data))
        assert words in str(error), error
    # Of another kind than what is asked for.
    data = bytes.fromhex(_OPENSSL["rsa15"])
    for given in (_given("ec256"), _given("kek128")):
        error = check.raises(UsageError, lambda: _decrypt(data, **given))
        assert "RSA" in str(error)
    data = bytes.fromhex(_OPENSSL["kek128"])
    error = check.raises(UsageError, lambda: _decrypt(data, secret=_S16, identifier=b"other"))
    assert "6964" in str(error)


def test_wrong_key():
    secret = bytes(reversed(_S16))
    for name in ("kek128", "ed"):
        data = bytes.fromhex(_OPENSSL[name])
        error = check.raises(PeerError, lambda: _decrypt(data, secret=secret))
        assert "wrong key" in str(error)
    data = bytes.fromhex(_OPENSSL["kek256"])
    check.raises(PeerError, lambda: _decrypt(data, secret=_S16))
    error = check.raises(UsageError, lambda: _decrypt(bytes.fromhex(_OPENSSL["ed"]), secret=_S32))
    assert "16 bytes" in str(error)
    data = bytes.fromhex(_OPENSSL["ec256"])
    check.raises(PeerError, lambda: _decrypt(data, **_given("ec384")))
    other = _sec1(P256, "2a8648ce3d030107").replace(b"\x23\x45\x67", b"\x23\x45\x68")
    check.raises(PeerError, lambda: _decrypt(data, private=other))


def test_implicit_rejection():
    # A padding that is wrong shows as a wrong key of the content does, and in no other way.
    key = rsa_key.load(KEY)
    texts = set()
    for block in (
        b"\0\2" + b"\x55" * (key.size - 19) + b"\0" + bytes(reversed(_KEY)),
        b"\0\1" + b"\x55" * (key.size - 19) + b"\0" + _KEY,
        b"\0\2" + b"\x55" * (key.size - 18) + _KEY,
        b"\0\2" + b"\x55" * (key.size - 18) + b"\0" + _KEY[1:],
    ):
        encrypted = pow(int.from_bytes(block, "big"), key.e, key.n).to_bytes(key.size, "big")
        algorithm = der.sequence(der.tlv(asn1.OID, bytes.fromhex("2a864886f70d010101")), b"\5\0")
        to = der.sequence(asn1.integer(2), der.tlv(0x80, b"id"), algorithm, der.octets(encrypted))
        error = check.raises(PeerError, lambda: _decrypt(_enveloped(to), private=KEY))
        texts.add(str(error))
    assert len(texts) == 1, texts


def test_recipients():
    good = _kek(keywrap.wrap(_S16, _KEY))
    wrong = _kek(keywrap.wrap(bytes(16), _KEY))
    unwrapped = _kek(keywrap.wrap(_S16, bytes(16)))
    named = _kek(keywrap.wrap(_S16, _KEY), b"other")
    unknown = der.tlv(0xA3, asn1.integer(0))
    for recipients in (
        (good,),
        (wrong, good),
        (unwrapped, good),
        (named, good, wrong),
        (unknown, good),
        (good, unknown, wrong, wrong),
    ):
        given = {"secret": _S16, "identifier": b"id"}
        assert _decrypt(_enveloped(*recipients), **given) == _TEXT
    check.raises(PeerError, lambda: _decrypt(_enveloped(*[good] * 5), secret=_S16))
    check.raises(UsageError, lambda: _decrypt(_enveloped(), secret=_S16))
    error = check.raises(UsageError, lambda: _decrypt(_enveloped(unknown), secret=_S16))
    assert "0xa3" in str(error)
    check.raises(PeerError, lambda: _decrypt(_enveloped(wrong), secret=_S16))
    for wrap, kind in ((25, Unsupported), (45, PeerError), (2, Unsupported)):
        to = _kek(keywrap.wrap(_S16, _KEY), b"id", wrap)
        check.raises(kind, lambda: _decrypt(_enveloped(to), secret=_S16))


def test_chunks():
    to = _kek(keywrap.wrap(_S16, _KEY))
    for cut in (0, 1, 7, 16):
        pieces = der.octets(_ENCRYPTED[:cut]), der.octets(_ENCRYPTED[cut:])
        data = _enveloped(to, encrypted=der.tlv(0xA0, *pieces))
        assert _decrypt(data, secret=_S16) == _TEXT
    many = der.tlv(0xA0, *[der.octets(_ENCRYPTED)] * 65)
    check.raises(PeerError, lambda: _decrypt(_enveloped(to, encrypted=many), secret=_S16))


def test_unsupported():
    to = _kek(keywrap.wrap(_S16, _KEY))
    for algorithm in (
        _algorithm(22, der.octets(_IV)),
        _algorithm(1, der.octets(_IV)),
        der.sequence(der.tlv(asn1.OID, bytes.fromhex("2a864886f70d0307")), der.octets(bytes(8))),
    ):
        error = check.raises(
            Unsupported, lambda: _decrypt(_enveloped(to, algorithm=algorithm), secret=_S16)
        )
        assert "not supported" in str(error)
    # Not what is encrypted at all.
    for oid in (1, 2, 5):
        check.raises(PeerError, lambda: _decrypt(_info(oid, asn1.integer(0)), secret=_S16))


def test_gcm_of_go():
    # As Go's pkcs7 packs it: a wrong tag around the parameters, [4] for the nonce, the tag last.
    key, nonce = b"pseudohistorical", bytes(range(12))
    sealed = bytes.fromhex("2dc643f6325aeb6d8e84e6b78305b4850d4df15c8161143406752068d36c45")
    parameters = der.sequence(der.tlv(0x84, nonce), asn1.integer(16))
    for wrapped, length in (
        (der.tlv(0x10, parameters), 16),
        (der.sequence(der.octets(nonce), asn1.integer(16)), 16),
    ):
        inner = _content(_algorithm(6, wrapped), der.tlv(0x80, sealed))
        data = _info(6, asn1.integer(0), inner)
        assert _decrypt(data, secret=key) == _TEXT
        check.raises(PeerError, lambda: _decrypt(data, secret=_S16))
        check.truncated(lambda part: _decrypt(part, secret=key), data)
        check.mutated(lambda part: steps.run(envelope.decrypt(part, secret=key)), data)
    short = der.sequence(der.octets(nonce), asn1.integer(4))
    inner = _content(_algorithm(6, short), der.tlv(0x80, sealed))
    check.raises(PeerError, lambda: _decrypt(_info(6, asn1.integer(0), inner), secret=key))


def test_malformed():
    for name, count in (("kek128", 400), ("kek256", 400), ("ed", 400), ("ec256", 80)):
        data = bytes.fromhex(_OPENSSL[name])
        given = _given(name)

        def parse(part):
            return steps.run(envelope.decrypt(part, **given))

        check.truncated(parse, data)
        check.mutated(parse, data, count)
    for name in ("rsa15", "oaep256", "ec256k", "ec384"):
        given = _given(name)
        check.truncated(lambda part: _decrypt(part, **given), bytes.fromhex(_OPENSSL[name]))


def test_authenticated():
    # Whatever is changed in what the code vouches for is noticed.
    data = bytearray(bytes.fromhex(_OPENSSL["kek256"]))
    for at in range(len(data) - 33, len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        check.raises(PeerError, lambda: _decrypt(bytes(changed), secret=_S32))

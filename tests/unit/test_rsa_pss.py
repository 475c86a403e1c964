import check
from est import asn1, der, hashes, rsa, rsa_pss
from est.errors import Unsupported

# Made with the cryptography package.
_VECTORS = (
    (
        int(
            "c0bae900cca643598be9ea18d1a5d61aae54b7333732ae9de14ce7ebc6ffabf9488c72e9d570c1e2"
            "8605d3b70465b2b91ec7da558af2ffb8a19bc12f7910ec4b01385e7218797d679044242b13447781"
            "ccfec3c608e465d89c52c5e2d72ff40f1c2d846e58727bccab0813eaa05bc49f0cb2f9d6cfe06039"
            "a2478a53ed4ab61063c8e99f7c2d6457e29881f01944d73f5a15d4c036ede599b28a8e245eaec36c"
            "5edbaa9a66cc3722cea71ec184921c1a475022d40038e836f8adf1823e44e31a69f4dc85d5236c15"
            "96d348e669d914244247ebf17ce16ecb7347b276a12e970c418ca71cf7f56ff2bcd83efc5dc101a0"
            "ea5f8f1ee312a9b344aa146349c9f7ab",
            16,
        ),
        (
            (
                32,
                bytes.fromhex(
                    "3cd820e5650e41687ee5aa8bc545a11d8a0df4246b42e8d9c3e5287f7c45e2d35776ea44bb97a306"
                    "11d1cc32b16fa13eb0c4a974ddc8330aeec022077589bd3aece6424f139c3a5ed25bccccfbfe1d21"
                    "6dccc3488293dfa13a17af456ddf1db3cf44072671ca10e3ffe73df9374376b9e2715d513aec06ab"
                    "46426c6d27cc448b24e4f6cc19c7c3c061d6b780f6d18730ca543c26b201a3db85c9f238b1d37f77"
                    "467ac4a4c329505e0db588c8cf9876c342eb7d77f547c48360fdaf609aab69f1f9fe5c6f2eea2f46"
                    "881cc4e684ced04102ded8ebe18ec46b4a96ccb927db8af8a20f43c1fab2a6de3aa9fed49226704d"
                    "485c4d276846ac21f04cda80d16876c2"
                ),
            ),
            (
                64,
                bytes.fromhex(
                    "b2656ddcea72c7bbaa8a11671821bab80cfdf4d92163c77b22d348e0824df1194a30e6cf91b62a0a"
                    "3c4241a11cfe5d70f1c2f22fef1a68fd405396ce6cf4b02d314ea63405769f5af1a88d7aa7dce22b"
                    "1f5e8178647818d547ee2c6a25b44a02a26b240fbdb92ee75ca944b6a47d2e5d8fd25e4c5c3fe03b"
                    "477d9fa62e574910e7a90a576b77998462e8eacc47e999d1a71ca5f79aa3ca64e6cada0b3e6b6b70"
                    "2ee40083874daee23aaf5b42976174a26e41a9b68ef2ac8d9b8f2082882e5688f4016e65446b64b5"
                    "a92a749bd397e218e6e2e2d6acd1bae9b937baa1c30d6d5a40cff46a3cdbbe22579b22b31feb5c0f"
                    "833725e44bdf964b551c2ccd6e1d0c79"
                ),
            ),
        ),
    ),
    (
        int(
            "00cffd5b851e2af56346d0f691bd7d7afe01245725de85f2f3ad2980a2f1b01cc23f3258652fd586"
            "e364ebf94b60544b652a9d105f65bd83499750085ef9b89bcf6c94d47c1fd67159407a41c7d7582e"
            "6f938083ef8c6209ae6ab2df0b39a8ffde4024d700385275415f289c8853fb76b6cb750b745bc712"
            "ae1de68cf078a968e08bf1a10cbc26c60b2d0d56dfe0a68b10b5ec3ae0034b8315d470e3cfa0b789"
            "55762ce1b66d2a89ccbef7e4d6889c96f477f12eab1666563479551f2d2a87540f54da5bb6352438"
            "a5166dcd3824832002926f1d69e0a5f18bf88fa27b47eb4566073e7dc281fd34c0bb468e385e07af"
            "e4c496e6776eb9b106c2cc5cedbf6959cb",
            16,
        ),
        (
            (
                32,
                bytes.fromhex(
                    "0c5f7a6ca293936ca605926aae166dfaa09f1b7bd8673c15f5cb97a4a46d3d852959b3f39906c477"
                    "032172818b442fb4a19738d0b828b890f12eb047ebcc107ddc9c628363bcc8d932324434ffe49223"
                    "8897c545fda40ac598119a376643858755538e806e9bf302bf5ff4f688fdc65fd2c7624ee5e19ac4"
                    "87c395d96c81889b810ac02489d440184611dfd447528c5acd04bf3f70dff855ba3c535437267347"
                    "5ec971481f83ec7ad5e963cf06b6e5c98996c9155a8a3bebbf82c54a839439f784cc0acdac1d2e62"
                    "cf11b3ea529b138ce31048532b82eb2444686a98201bafd0a95a7ab133472cbab2c02bf43b923dd0"
                    "fe0ecbdcc7db994499be7ec48a7812df"
                ),
            ),
            (
                64,
                bytes.fromhex(
                    "45e114a2fc9d136e33dab4c068149d913c15a66eb6b09b30dcfb76054284b7c8eac03efcb06fc40c"
                    "c06443c179874197d24ecae115fb2b4d8603125f587d62f43ea38ce3f58c1b71df80cf53dff63aff"
                    "dad7a7ad3f6e8efa8287376a1435df0cea9c812418eff5b5a4a9a75db14cd8e40aea1b1c42207bc7"
                    "3d18ceeb9549d35e138edfc09598d917985e1cdac5ccc4686c91609aad9528c23c9b02581864f612"
                    "2fb14d21e3eeb6780c3dbef56c54c9bb7b3187bd5172cc97ccc41c6094d290b8e32d7775aaede962"
                    "82e7c66ccec683d99c2947ac103ebd4037ccaefdd71cbcbb5220e0cb67851066760383a8b2df0492"
                    "84821d62ea26f107c4b0e0d2e37123c1"
                ),
            ),
        ),
    ),
)

_MGF1 = bytes.fromhex("2a864886f70d010108")


def _digest(size):
    return hashes.new(size, b"message").digest()


def test_known_answers():
    for n, signatures in _VECTORS:
        key = rsa.PublicKey(n, 65537)
        for size, signature in signatures:
            assert rsa_pss.verify(key, _digest(size), signature, size)
            assert not rsa_pss.verify(key, _digest(size), signature, size - 1)
            assert not rsa_pss.verify(key, _digest(size), signature, size + 1)
            assert not rsa_pss.verify(key, _digest(size), signature, 1 << 40)
            assert not rsa_pss.verify(key, _digest(96 - size), signature, size)
            assert not key.verify(_digest(size), signature)


def test_malformed():
    for n, signatures in _VECTORS:
        key = rsa.PublicKey(n, 65537)
        size, signature = signatures[0]
        digest = _digest(size)
        for cut in range(len(signature)):
            assert not rsa_pss.verify(key, digest, signature[:cut], size)
        assert not rsa_pss.verify(key, digest, signature + b"\0", size)
        assert not rsa_pss.verify(key, digest, b"\xff" * len(signature), size)
        random = check.numbers(1)
        for _ in range(max(60 // check.SAMPLE, 10)):
            changed = bytearray(signature)
            changed[next(random) % len(changed)] ^= 1 << next(random) % 8
            assert not rsa_pss.verify(key, digest, bytes(changed), size)


class _Opened:
    # A key whose signatures are what they sign.
    def __init__(self, bits):
        self.bits = bits

    def open(self, signature):
        return int.from_bytes(signature, "big")


def test_encodings():
    # Each deviation from the one encoding of RFC 8017 9.1.1 is refused.
    for bits in (2048, 2049, 2050, 2055):
        key = _Opened(bits)
        for size, salt in ((32, b""), (32, b"salt"), (64, b"s" * 64)):
            digest = _digest(size)
            encoded = rsa_pss.encode(digest, bits, salt)
            assert not encoded >> (bits - 1)
            for changed in range(bits + 7):
                other = (encoded ^ 1 << changed).to_bytes(260, "big")
                if changed % 7 == 0 or changed > bits - 10 or changed < 10:
                    assert not rsa_pss.verify(key, digest, other, len(salt))
            assert rsa_pss.verify(key, digest, encoded.to_bytes(260, "big"), len(salt))


def test_parameters():
    def parse(data):
        return rsa_pss.parameters(der.Reader(data))

    for size in (20, 32, 48, 64):
        fields = der.Reader(rsa_pss.algorithm(size)).enter()
        assert fields.oid() == _MGF1[:-1] + b"\x0a"
        assert rsa_pss.parameters(fields) == (size, size)
        check.truncated(parse, rsa_pss.algorithm(size)[13:])
        check.mutated(parse, rsa_pss.algorithm(size)[13:])
    # All default to SHA-1, with 20 bytes of salt.
    assert parse(der.sequence()) == (20, 20)
    no_null = der.sequence(der.tlv(asn1.OID, hashes.oid(32)))
    mask = der.tlv(0xA1, der.sequence(der.tlv(asn1.OID, _MGF1), no_null))
    assert parse(der.sequence(der.tlv(0xA0, no_null), mask)) == (32, 20)
    trailer = der.tlv(0xA3, asn1.integer(1))
    assert parse(der.sequence(der.tlv(0xA0, no_null), mask, trailer)) == (32, 20)
    sha224 = der.sequence(der.tlv(asn1.OID, hashes.oid(32)[:-1] + b"\4"))
    for bad in (
        (der.tlv(0xA0, no_null),),
        (mask,),
        (der.tlv(0xA3, asn1.integer(2)),),
        (der.tlv(0xA0, sha224), mask),
        (
            der.tlv(0xA0, no_null),
            der.tlv(0xA1, der.sequence(der.tlv(asn1.OID, _MGF1[:-1] + b"\x09"), no_null)),
        ),
    ):
        check.raises(Unsupported, parse, der.sequence(*bad))
    for bad in (
        (mask, der.tlv(0xA0, no_null)),
        (der.tlv(0xA2, asn1.integer(20), asn1.integer(20)),),
        (der.tlv(0xA0, no_null, no_null), mask),
        (der.tlv(0xA0, der.sequence(der.tlv(asn1.OID, hashes.oid(32)), asn1.integer(0))), mask),
    ):
        check.raises(der.DerError, parse, der.sequence(*bad))

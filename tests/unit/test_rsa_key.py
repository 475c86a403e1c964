import check
from est import asn1, der, hashes, rsa, rsa_key, rsa_pss, steps
from est.errors import UsageError
from est.numbers import inverse

# Made with the cryptography package: 2048 bits, and for PSS the case of one bit more.
KEY = bytes.fromhex(
    "308204a50201000282010100e390eae50d2b334c1e86be9564d043995ff31cbe51d65b29224b491557b8f7c2"
    "2e38e0ef26153eabca6a5509b92f8e3d09da96125f94250e14b6f9f29f08c605c3043cd2f92e08b7976c75c3"
    "41eabe4458071fb76d2b46cfc8906579658a958444b25f0a0e5449e4535c41ad897fd36e7879e2a8d1efe16f"
    "00e5787a56ca0b4b7bf69e94ddc66319afb910574ccd8e153ca0fa707833722db770f52b759d17be81b3c1f3"
    "5769c0f60b4b0567d7821c0d22883ae730bfdf269942b089f07347cf76aa07ff280112d57d42cc8415698913"
    "b77212ed3d81b9c1965c8d567f672cff5e08247661c0685f669b24775add6d87162e22511cdd600bd718721a"
    "ca6189c10203010001028201003495874dbbcc047bbd9f0db97834eeb5e977c427cf41ccc955c117476d0093"
    "11a5fc232fe7b92784eb4e444dada2c9479df80a4eff127cb882fd6006da0c5d33b6234bc9c566078222e59f"
    "55a9ecec1fdf46702402c02a09f7f2b3dc08246c95c6890010930c939184d8afdd81850dce7c5ccfcd0a4bd7"
    "a7fe8947dc5f232b560ba42d6a01bc3774f4b2d026284131380352d7d1d9044cdc6dffc6dd945760df07ba95"
    "ac521da2c7a2695c5fcd5c39316cfe62ebed04367e8891010cb22dc6d20925b3ed80abf3dc6c40c4da0de794"
    "8c44ca824dc8b34ad4c26c42a9dcfb90859ecde7932602e8e5c33c10bfb01b611a8866831b010241185d9217"
    "cae488325502818100f5807141bc843a6df84f51635bf419e3d4f3a8e67f9f804577841f48d465e4a4287bc1"
    "22c0219df1680229b1b15c640f92054a124f0bd0ff5a77d23f9c197addc0ebe4bdff76a87b4a67d509f8eea6"
    "901e85958453471859f387b1bc592285cccc058b611d307e479f8e19cbc1b4f50a6d383569d3455e8ae63557"
    "cd386e1bdd02818100ed4c2146ec16e8c5bf3c420eb941bb121e32f90a3100d023f7c17189928e46b381de49"
    "9dc887affa3115d17800e5c139f2f35534c8695fe1038a7d3a954a5eef9f6cae6b2f973747fea00908001c99"
    "9084fbf9133df7096271293815e1757ead9c127d8b634068bb337e37fbb301121e36ad084b007e5f56e57180"
    "61ced7093502818100b447b3e3b009f1d65ba7f37e614229d8f2c2535fa08c826780d2971ea64a84d23fa051"
    "3db1957e248e5a383ff29c842622f69b644283cce0179131e5e03d9dca462773fc4a22daaa5f034ca05c1af4"
    "5994f047d1ba4dd506091db65937a37059e9e0906faa3db81de47f37563753293694e9d7df7473d66f6d89f2"
    "8613505849028181009ba6d03d212775d0203c7a680604a39ca2ca74a8c6b3edd369f42d713bfcaf4b97e823"
    "09a83bb8a6b803c3be9f781562d985db6220035eacce11cd4adc1a48638d83507566661e10cf685204396e89"
    "1c4edea8e68242c49919f91b9cdea29f51698a876722d760db4a4f8491493d6e90faf44cf8457e9f32f4959a"
    "cc8d4c67f102818100836774bac4f8c77aa7c7f7ba7df34c4c264af703db9c546600544f436c2dd30b08dc8f"
    "d22ed8017fe6255d3d3bdc447b0bead8ec6bd87b86354aea3dde87a74ec64f6910e8811e5ad69bf1e5a2cccc"
    "f3e48b1b3be4eb9348f76ea0b22a55f97dd29f3ea799e3e25d20c017e7c931ffbb7c033024d4be7d033b44bb"
    "afe1a2c979"
)
KEY_2049 = bytes.fromhex(
    "308204a50201000282010100c6a8874e21e82b4c9c08f2ce31b0d33a0fefa8f2ca27c3d136b9ccff79f92a37"
    "e9affe22c24d0af2efbd5e4ea1eedd4eaf5a326512cdadcf960d10086082c40e596567d4fe999c1685aa261b"
    "71b59f3fa2a5d4401157f0d0775b3e47d15eb3b5863a2a5a2053a16015505c666b49dad59d8876e7436a6189"
    "0bcea7da928cdbb91afddea30583f0856a156ff7724ce6e63ec872fa14a2bf87c2ead50a9c9e3c931018e81a"
    "3380f32fbfe0be667c97ab39d74b3fc49f1a189227d91147c8a979fe43bbf73c7b8ece641184de43bbae599d"
    "3b9cbdd17b91f427ddd0784509d553a20bcab1408370302b05d0a6b89c93f48dc34293c438222db0bd1b1692"
    "b335497902030100010282010045679eb200ed9ca70cc2a195c14d8e567437de5648a360e9e88d3c5e2b4e8e"
    "5def7271bed21459956b85c4fb82deb189ea808027c8cc7c0390e06a700acbd4d4508e399af40255c2969b4d"
    "e9fbada0fffa02a6a76587cc5600c52b7aaadec3b9513664128dc5ba15180d35e3006bd29d1c070fc7974984"
    "defcf58bb634ca2a7f21182c6388a4c9b610fdafd5bd430938e7c304bb8918a985c1e59d44f33d30f3fdb08d"
    "ab4f1cf83de37afe15a0b9021bfcb2b3a6020fe37dd37c918f0663203effd9b6564df7b2b7c056ebb4a4fe87"
    "0fa973747997bb20cf6001b1fdedf3220f0dfd5fce598b37cb235be079744f3e6fe15e0898e464c14e51f2f1"
    "e91a654d9302818100e7e16f5fdc4872734127850c803eedfeb1bcbaa6bd3926b893d4da01527d9e851b0c2b"
    "315943c03674bbc00b47a49650b63fd253cab1c77494a486e6842b6ff464d6ef7e6409752d70808e38b9e2e5"
    "170dff54b32e3703522be1cd59c3fccab11fd68d7df601857f425f4532aa9e10fe64006f2cef4c0347b6efeb"
    "cf5a0a7b8302818100db52718350da764347bd9cf8d4b803ce6eff95589203a08d897d3e800d26d0a25a23d6"
    "c43fc8fb81f858c836500163aafba8e1d19d0eeff6aedb3d49a33c7f057573c5d3859f8f4749a32b1149d1b7"
    "3ccf5ab227f45655762130ee2ce8fa5421e04544fc950d1c62e8720694b63557ad232f67867c4cc7ad852539"
    "de23b96a5302818100ce43a967d3329aa44d6bd31d68a311dfc2c9081bb42cb775ef02a31e13fbec5ba8d0ad"
    "474b8949dce6ffeff7d8b5de845369f8355313cb41b7cb96b84d0fba99e26d934291c81bf4dca36e5fa572e0"
    "a81e6a6734b0427d70c5da2969d53df42b950fac7344b6dbc2750efc25f2c1828a57f84eece0bc741a81ef6f"
    "8ad62486f3028181008bd41128ee8889b3b56e6f40b9a6244f1db7774903b6aa4af2a8560b9fd6ea5747eee7"
    "8331437b0e4efe938f050d0db53a435ecd9c3ba4c3fa912e8edf32b7ad0c47e68d47f9058926aa8fcfb2e7b0"
    "d26544e6a6d081a674ed0e5c1b67e209779b9bae32f6f867ebab54df5b3a9be1ad31ec8c2d52dc44c61d4831"
    "8fade90d9f02818100857957d64b32fe10db969782bb3264968b48b2d8d478dcb44b6efbba8c2930d03fd277"
    "1ce852e54f0797a7798d81a9dc908b1cfbc2248df15d84d12fc17baeb3389e175228d5c46c7e6f31271642f5"
    "ef13b5bcec405858723f9f50be92a08a9014d687edb3d5c0861709c57089294105309173f352a240439077e1"
    "1496996f43"
)

_NUMBERS = ("n", "e", "d", "p", "q", "dp", "dq", "inverse_q")


def _numbers(data):
    fields = der.Reader(data).enter()
    fields.integer()
    return [fields.integer() for _ in _NUMBERS]


def _digest(size):
    return hashes.new(size, b"message").digest()


def test_signatures():
    for data in (KEY, KEY_2049):
        key = rsa_key.load(data)
        public = rsa.PublicKey(key.n, key.e)
        for size in (32, 48, 64):
            signature = steps.run(key.signature(_digest(size)))
            assert public.verify(_digest(size), signature)
            assert signature == steps.run(key.signature(_digest(size)))
            first = steps.run(key.pss_signature(_digest(size)))
            assert rsa_pss.verify(public, _digest(size), first, size)
            assert first != steps.run(key.pss_signature(_digest(size)))


def test_as_a_key_of_a_request():
    key = rsa_key.load(KEY)
    calls = []
    key.between = lambda: calls.append(1)
    algorithm, signature = key.sign(b"message")
    assert algorithm == bytes.fromhex("300d06092a864886f70d01010b0500")
    assert key.verify(_digest(32), signature)
    assert len(calls) > 500
    spki = der.Reader(key.spki()).enter()
    assert spki.element() == bytes.fromhex("300d06092a864886f70d0101010500")
    assert rsa.load(spki.bit_string()).n == key.n


def test_forms():
    assert rsa_key.load(KEY).der() == KEY
    for version in (0, 1):
        algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
        wrapped = (asn1.integer(version), algorithm, der.octets(KEY))
        assert rsa_key.load(der.sequence(*wrapped)).der() == KEY
        attributes = der.tlv(0xA0, b"")
        assert rsa_key.load(der.sequence(*(wrapped + (attributes,)))).der() == KEY
    ec = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
    numbers = b"".join([asn1.integer(number) for number in _numbers(KEY)])
    for bad in (
        asn1.integer(2) + algorithm + der.octets(KEY),
        asn1.integer(0) + algorithm[:-2] + b"\0\0" + der.octets(KEY),
        asn1.integer(0) + ec + der.octets(KEY),
        asn1.integer(0) + algorithm + der.octets(der.sequence(*wrapped)),
        asn1.integer(1) + numbers,
        asn1.integer(0) + numbers + asn1.integer(1),
        asn1.integer(0) + numbers[: -len(asn1.integer(_numbers(KEY)[-1]))],
    ):
        check.raises(UsageError, rsa_key.load, der.sequence(bad))


def test_malformed():
    check.raises(UsageError, rsa_key.load, b"")
    check.raises(UsageError, rsa_key.load, KEY + b"\0")
    check.truncated(rsa_key.load, KEY)
    # No changed key is taken: each number is held to the others.
    random = check.numbers(1)
    for _ in range(max(400 // check.SAMPLE, 40)):
        changed = bytearray(KEY)
        changed[next(random) % len(KEY)] ^= 1 << next(random) % 8
        check.raises(UsageError, rsa_key.load, bytes(changed))


def test_corrupted_numbers():
    numbers = _numbers(KEY)
    rsa_key.RsaKey(*numbers)
    for at in range(len(numbers)):
        for value in (0, 1, numbers[at] + 1, numbers[at] - 1, numbers[at] + 2, numbers[at] << 1):
            changed = asn1.integer(0)
            for other in range(len(numbers)):
                changed += asn1.integer(value if other == at else numbers[other])
            check.raises(UsageError, rsa_key.load, der.sequence(changed))
    # What fits, but is longer than its modulus.
    for at, more in ((5, numbers[3] - 1), (6, numbers[4] - 1), (7, numbers[3])):
        changed = list(numbers)
        changed[at] += more
        check.raises(UsageError, rsa_key.RsaKey, *changed)
    # The primes must be the way round that the coefficient says.
    n, e, d, p, q, dp, dq, inverse_q = numbers
    check.raises(UsageError, rsa_key.RsaKey, n, e, d, q, p, dq, dp, inverse_q)


def _made_of(p, q, e=65537):
    d = inverse(e, (p - 1) * (q - 1))
    inverse_q = inverse(q, p)
    return (p * q, e, d, p, q, d % (p - 1), d % (q - 1), inverse_q)


def test_weak_primes():
    _, _, _, p, q, _, _, _ = _numbers(KEY)
    assert list(_made_of(p, q))[3:] == _numbers(KEY)[3:]
    rsa_key.RsaKey(*_made_of(p, q))
    # Nothing here looks whether they are primes.
    for bad in ((p, p + 2), (p, p + (1 << 900)), (p * p + 2, 65539), (65539, p * p + 2)):
        error = check.raises(Exception, rsa_key.RsaKey, *_made_of(*bad))
        assert "weak" in str(error) or "modulus" in str(error), error
    for e in (3, 17, 257):
        if (p - 1) % e and (q - 1) % e:
            check.raises(UsageError, rsa_key.RsaKey, *_made_of(p, q, e))


def test_faults():
    # A prime or exponent that changed in memory must not give a signature away.
    for at in range(3, 8):
        key = rsa_key.load(KEY)
        numbers = list(key._numbers)
        numbers[at] ^= 1 << 77
        key._numbers = tuple(numbers)
        error = check.raises(UsageError, steps.run, key.signature(_digest(32)))
        assert "fault" in str(error)


def test_steps_do_not_depend_on_the_key():
    _, _, _, p, q, _, _, _ = _numbers(KEY)
    counts = set()
    for exponent in (1, p, (1 << 1088) - 1):
        counts.add(len(list(rsa_key.power(2, exponent, p, 136))))
    assert counts == {1 + 2 * 136}
    for base, exponent in ((0, 1), (1, 0), (2, 5), (p - 1, 3), (p + 1, 7), (3, p - 1), (5, q)):
        found = steps.run(rsa_key.power(base, exponent, p, 136))
        assert found == pow(base, exponent, p)


def test_wycheproof():
    for group, test in check.wycheproof("rsa_pkcs1_2048_sig_gen", "exponent 3, SHA-224"):
        data = bytes.fromhex(group["privateKeyPkcs8"])
        size = {"SHA-1": 20}.get(group["sha"]) or int(group["sha"][4:]) // 8
        if group["privateKey"]["publicExponent"] == "03":
            check.raises(UsageError, rsa_key.load, data)
            continue
        key = rsa_key.load(data)
        if size == 28:
            check.raises(UsageError, key.signature, bytes(28))
            continue
        digest = hashes.new(size, bytes.fromhex(test["msg"])).digest()
        assert steps.run(key.signature(digest)) == bytes.fromhex(test["sig"]), test
        assert key.verify(digest, bytes.fromhex(test["sig"])), test

import check
from est import kdf, steps
from est.errors import UsageError


def _pbkdf2(*args):
    return steps.run(kdf.pbkdf2(*args))


def test_x963():
    # NIST's CAVS 12.0 for ANSI X9.63, the first with SHA-256 of each length.
    secret = bytes.fromhex("96c05619d56c328ab95fe84b18264b08725b85e33fd34f08")
    assert kdf.x963(32, secret, 16) == bytes.fromhex("443024c3dae66b95e6f5670601558f71")
    long = kdf.x963(64, secret, 200, b"info")
    assert len(long) == 200
    for length in (0, 1, 63, 64, 65, 128):
        assert kdf.x963(64, secret, length, b"info") == long[:length]
    assert kdf.x963(64, secret, 64, b"other") != long[:64]
    check.raises(UsageError, kdf.x963, 32, secret, 257)


def test_pbkdf2():
    # RFC 6070.
    assert _pbkdf2(20, b"password", b"salt", 2, 20) == bytes.fromhex(
        "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957"
    )
    assert _pbkdf2(20, b"pass\0word", b"sa\0lt", 4096, 16) == bytes.fromhex(
        "56fa6aa75548099dcc37d7f03425e0c3"
    )
    for bad in ((0, 20), (-1, 20), (2000001, 20), (1 << 70, 20), (1, 257)):
        check.raises(UsageError, _pbkdf2, 32, b"", b"", *bad)


def test_steps():
    assert len(list(kdf.pbkdf2(32, b"password", b"salt", 64, 33))) == 2 * 64 // 16


def test_wycheproof():
    for _, test in check.wycheproof("pbkdf2_hmacsha256"):
        password, salt, expected = (
            bytes.fromhex(test[part]) for part in ("password", "salt", "dk")
        )
        assert _pbkdf2(32, password, salt, test["iterationCount"], len(expected)) == expected, test

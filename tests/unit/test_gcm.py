import check
from est import gcm, steps
from est.errors import PeerError, UsageError

_KEY = "feffe9928665731c6d6a8f9467308308"
_TEXT = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
)
_MORE = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
# Test cases 1, 2, 4, 5, 6 and 16 of McGrew and Viega's specification, which NIST took over:
# key, nonce, text, associated data, encrypted, tag.
_CASES = (
    ("00" * 16, "00" * 12, "", "", "", "58e2fccefa7e3061367f1d57a4e7455a"),
    (
        "00" * 16,
        "00" * 12,
        "00" * 16,
        "",
        "0388dace60b6a392f328c2b971b2fe78",
        "ab6e47d42cec13bdf53a67b21257bddf",
    ),
    (
        _KEY,
        "cafebabefacedbaddecaf888",
        _TEXT,
        _MORE,
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
        "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
        "5bc94fbc3221a5db94fae95ae7121a47",
    ),
    (
        _KEY,
        "cafebabefacedbad",
        _TEXT,
        _MORE,
        "61353b4c2806934a777ff51fa22a4755699b2a714fcdc6f83766e5f97b6c7423"
        "73806900e49f24b22b097544d4896b424989b5e1ebac0f07c23f4598",
        "3612d2e79e3b0785561be14aaca2fccb",
    ),
    (
        _KEY,
        "9313225df88406e555909c5aff5269aa6a7a9538534f7da1e4c303d2a318a728"
        "c3c0c95156809539fcf0e2429a6b525416aedbf5a0de6a57a637b39b",
        _TEXT,
        _MORE,
        "8ce24998625615b603a033aca13fb894be9112a5c3a211a8ba262a3cca7e2ca7"
        "01e4a9a4fba43c90ccdcb281d48c7c6fd62875d2aca417034c34aee5",
        "619cc5aefffe0bfa462af43c1699d050",
    ),
    (
        _KEY * 2,
        "cafebabefacedbaddecaf888",
        _TEXT,
        _MORE,
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
        "76fc6ece0f4e1768cddf8853bb2d551b",
    ),
)


def _decrypt(*args):
    return steps.run(gcm.decrypt(*args))


def _cases():
    for case in _CASES:
        yield [bytes.fromhex(part) for part in case]


def test_specification():
    for key, nonce, text, more, encrypted, tag in _cases():
        assert _decrypt(key, nonce, encrypted, tag, more) == text
        assert _decrypt(key, nonce, encrypted, tag[:12], more) == text


def test_changed():
    for case in _cases():
        key, nonce, _, more, encrypted, tag = case
        good = [key, nonce, encrypted, tag, more]
        for which in range(5):
            for at in range(0, len(good[which]), 7):
                bad = list(good)
                bad[which] = bytearray(good[which])
                bad[which][at] ^= 0x80 >> at % 8
                bad[which] = bytes(bad[which])
                check.raises(PeerError, _decrypt, *bad)
        for bad in (encrypted + b"\0", encrypted[:-1] if encrypted else b"\0", b"\0" + encrypted):
            check.raises(PeerError, _decrypt, key, nonce, bad, tag, more)
        check.raises(PeerError, _decrypt, key, nonce, encrypted, tag, more + b"\0")


def test_lengths():
    key, nonce, _, more, encrypted, tag = list(_cases())[2]
    for short in range(12):
        check.raises(PeerError, _decrypt, key, nonce, encrypted, tag[:short], more)
    check.raises(PeerError, _decrypt, key, nonce, encrypted, tag + b"\0", more)
    check.raises(PeerError, _decrypt, key, b"", encrypted, tag, more)
    for size in (0, 15, 24, 33):
        check.raises(UsageError, _decrypt, bytes(size), nonce, encrypted, tag, more)


def test_steps():
    key, nonce, _, more, encrypted, tag = list(_cases())[2]
    assert len(list(gcm.decrypt(key, nonce, encrypted, tag, more))) >= 3

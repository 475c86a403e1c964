import hashlib
import sys
from binascii import hexlify

from est import sha512


def _data(size):
    return bytes([at * 7 & 0xFF for at in range(size)])


def _paths(test):
    # On whatever this machine chooses, then on plain integers.
    sha512.sha512()
    chosen = sha512._compress, sha512._K
    test()
    sha512._compress = sha512._compress_plain
    sha512._K = sha512.array("Q", sha512._K)
    try:
        test()
    finally:
        sha512._compress, sha512._K = chosen


def _known_answers():
    # FIPS 180-4's examples.
    for data, small, large in (
        (
            b"abc",
            b"cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
            b"8086072ba1e7cc2358baeca134c825a7",
            b"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            b"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
        (
            b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
            b"hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
            b"09330c33f71147e83d192fc782cd1b4753111b173b3b05d22fa08086e3b0f712"
            b"fcc7c71a557e2db966c3e9fa91746039",
            b"8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018"
            b"501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909",
        ),
    ):
        assert hexlify(sha512.sha384(data).digest()) == small
        assert hexlify(sha512.sha512(data).digest()) == large


def _lengths():
    # Around each boundary of block and padding, in one piece and in two.
    digests = hashlib.sha256()
    for size in (
        0,
        1,
        63,
        64,
        110,
        111,
        112,
        113,
        119,
        120,
        127,
        128,
        129,
        239,
        240,
        255,
        256,
        257,
    ):
        data = _data(size)
        digest = sha512.sha512(data).digest()
        digests.update(digest)
        digests.update(sha512.sha384(data).digest())
        if hasattr(hashlib, "sha512"):
            assert digest == hashlib.sha512(data).digest()
            assert sha512.sha384(data).digest() == hashlib.sha384(data).digest()
        for cut in (1, 5, 112, 128):
            state = sha512.sha512(data[:cut])
            state.digest()
            other = state.copy()
            state.update(memoryview(data)[cut:])
            other.update(b"else")
            assert state.digest() == state.digest() == digest
    # What hashlib gives, which the lines above hold CPython to.
    assert (
        hexlify(digests.digest())
        == b"f3e0a924b6578ea85c833ab009fe8a6f1b657d33ac77f175ada0acd9bd1b5528"
    )


def test_known_answers():
    _paths(_known_answers)


def test_lengths():
    _paths(_lengths)


def test_the_fast_path_is_taken():
    sha512.sha512()
    plain = sys.maxsize >> 31 or sys.implementation.name == "cpython"
    assert (sha512._compress is sha512._compress_plain) == bool(plain)


def test_alignment():
    if sys.implementation.name == "micropython":
        from est.sha512_viper import aligned

        assert aligned(bytearray(8))
        for at in (1, 2, 3):
            assert not aligned(memoryview(bytearray(8))[at:])


def _without(error):
    # As on a board where importing est.sha512_viper raises `error`.
    class Missing:
        def __getattr__(self, name):
            raise error

    chosen = sha512._compress, sha512._K
    found = sys.modules.get("est.sha512_viper")
    sys.modules["est.sha512_viper"] = Missing()
    sha512._compress = None
    try:
        _known_answers()
        assert sha512._compress is sha512._compress_plain
    finally:
        del sys.modules["est.sha512_viper"]
        if found:
            sys.modules["est.sha512_viper"] = found
        sha512._compress, sha512._K = chosen


def test_without_the_fast_path():
    sha512.sha512()
    for error in (ImportError(), SyntaxError(), ValueError(), MemoryError()):
        _without(error)


def test_constants():
    # FIPS 180-4 5.3.4, 5.3.5 and 4.2.3.
    for table, degree, skipped in (
        (sha512.sha512()._state, 2, 0),
        (sha512.sha384()._state, 2, 8),
        (sha512.array("Q", sha512._K), 3, 0),
    ):
        primes = []
        at = 2
        while len(primes) < skipped + len(table):
            if all(at % prime for prime in primes):
                primes.append(at)
            at += 1
        for word, prime in zip(table, primes[skipped:]):
            whole = 1
            while (whole + 1) ** degree <= prime:
                whole += 1
            root = whole << 64 | word
            assert root**degree <= prime << 64 * degree < (root + 1) ** degree

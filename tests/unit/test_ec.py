import hashlib

import check
from est import der
from est.comb import Comb, find
from est.ec import P256
from est.errors import PeerError, UsageError

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
GX = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
GY = 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5
KEY = bytes.fromhex("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721")


def _scalar(value):
    return value.to_bytes(32, "big")


def _point(x, y):
    return b"\4" + _scalar(x) + _scalar(y)


def _signature(r, s):
    return der.sequence(der.integer(r), der.integer(s))


def test_rfc6979():
    public = P256.public(KEY)
    assert public == bytes.fromhex(
        "0460FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6"
        "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299"
    )
    for message, r, s in (
        (
            b"sample",
            0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
            0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
        ),
        (
            b"test",
            0xF1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367,
            0x019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083,
        ),
    ):
        digest = hashlib.sha256(message).digest()
        signature = P256.sign(KEY, digest, lambda count: b"")
        assert signature == _signature(r, s)
        assert P256.verify(public, digest, signature)


def test_scalars():
    g = _point(GX, GY)
    minus_g = _point(GX, P - GY)
    assert P256.public(_scalar(1)) == g
    assert P256.public(_scalar(N - 1)) == minus_g
    assert P256.ecdh(_scalar(1), g) == _scalar(GX)
    assert P256.ecdh(_scalar(N - 1), g) == _scalar(GX)
    for private in (_scalar(0), _scalar(N), b"\xff" * 32, bytes(31), b"\0" + _scalar(1), b""):
        check.raises(UsageError, P256.public, private)
        check.raises(UsageError, P256.sign, private, bytes(32))
        check.raises(UsageError, P256.ecdh, private, g)
    for value in (2, 3, 15, 16, 17, N - 2, N - 16, N >> 1, (N >> 1) + 1, 1 << 255):
        private = _scalar(value)
        assert P256.ecdh(private, g) == P256.public(private)[1:33]


def test_bad_points():
    for public in (
        b"",
        b"\0",
        bytes(65),
        b"\4" + bytes(64),
        _point(GX, GY + 1),
        _point(GY, GX),
        _point(GX, GY)[:-1],
        _point(GX, GY) + b"\0",
        b"\2" + _scalar(GX),
        b"\6" + _point(GX, GY)[1:],
        _point(P, GY),
        b"\4" + b"\xff" * 64,
    ):
        check.raises(PeerError, P256.ecdh, KEY, public)
        assert not P256.verify(public, bytes(32), _signature(1, 1))


def test_round_trips():
    for seed in range(max(8 // check.SAMPLE, 2)):
        ours = P256.generate()
        theirs = P256.generate()
        assert ours != theirs
        public = P256.public(ours)
        digest = hashlib.sha256(bytes((seed,))).digest()
        signature = P256.sign(ours, digest)
        assert signature != P256.sign(ours, digest)
        assert P256.verify(public, digest, signature)
        assert not P256.verify(P256.public(theirs), digest, signature)
        assert not P256.verify(public, bytes(32), signature)
        assert P256.ecdh(ours, P256.public(theirs)) == P256.ecdh(theirs, public)


def test_zero_digest():
    # u1 = 0: the generator takes no part.
    signature = P256.sign(KEY, bytes(32))
    assert P256.verify(P256.public(KEY), bytes(32), signature)
    assert P256.verify(P256.public(KEY), _scalar(N), signature)
    assert not P256.verify(P256.public(KEY), _scalar(1), signature)


def test_equal_and_opposite_points():
    # u1 * G and u2 * Q meet (a doubling) or cancel (infinity), for Q = G, -G and d * G.
    for d in (1, N - 1, 2, 5, N - 5):
        public = P256.public(_scalar(d))
        r = int.from_bytes(P256.public(_scalar(2 * d % N))[1:33], "big") % N
        # With s = r: u2 = 1 and u1 = d, hence 2 * d * G, whose x is r.
        assert P256.verify(public, _scalar(d * r % N), _signature(r, r))
        # u1 = -d: infinity.
        assert not P256.verify(public, _scalar((N - d) * r % N), _signature(r, r))


def test_bad_signatures():
    public = P256.public(KEY)
    digest = hashlib.sha256(b"sample").digest()
    good = P256.sign(KEY, digest)
    for r, s in ((0, 1), (1, 0), (0, 0), (N, 1), (1, N), (N + 1, 1), (1, 1 << 300)):
        assert not P256.verify(public, digest, _signature(r, s))
    for size in range(len(good)):
        assert not P256.verify(public, digest, good[:size])
    assert not P256.verify(public, digest, good + b"\0")
    random = check.numbers(1)
    for _ in range(max(60 // check.SAMPLE, 10)):
        changed = bytearray(good)
        changed[next(random) % len(good)] ^= 1 << next(random) % 8
        assert not P256.verify(public, digest, bytes(changed))


def _with(multiplier):
    P256._fast = multiplier
    try:
        test_rfc6979()
        test_scalars()
        test_round_trips()
        test_zero_digest()
        test_equal_and_opposite_points()
        test_bad_signatures()
    finally:
        P256._fast = None


def test_without_a_table():
    _with(P256)


def test_the_small_table():
    _with(Comb(P256, find(P256, 5, 2)))

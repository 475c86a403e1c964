"""Every curve that signs, every way to multiply on it: known answers, edges, malformed input."""

import check
from est import asn1, curves, der, hashes
from est.comb import Comb, find
from est.ec import P256
from est.errors import EstError, UsageError
from est.windows import Windows

_P384 = curves.P384
# Curve and multiplier.
_PATHS = (
    (P256, Windows(P256)),
    (P256, Comb(P256, find(P256, 5, 2))),
    (P256, Comb(P256, find(P256, 7, 2))),
    (_P384, Windows(_P384)),
)
_SMALL = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16)


def _on_each_path(test):
    for curve, multiplier in _PATHS:
        before = curve._fast
        curve._fast = multiplier
        try:
            test(curve)
        finally:
            curve._fast = before


def _octets(curve, value):
    return value.to_bytes(curve.size, "big")


def _point(curve, x, y):
    return b"\4" + _octets(curve, x) + _octets(curve, y)


def _signature(r, s):
    return der.sequence(asn1.integer(r), asn1.integer(s))


def _multiples(curve, count):
    """[None, G, 2 * G, ...] as (x, y), by the formulas of schoolbooks."""
    p = curve.p
    x, y = gx, gy = curve.generator
    found = [None, (x, y)]
    while len(found) <= count:
        if len(found) == 2:
            slope = (3 * x * x - 3) * pow(2 * y, p - 2, p)
        else:
            slope = (y - gy) * pow(x - gx, p - 2, p)
        x, y = (slope * slope - x - gx) % p, (slope * (gx - slope * slope + x + gx) - gy) % p
        found.append((x, y))
    return found


def _multiple(curve, multiples, k):
    """k * G for a small, perhaps negative k."""
    if k >= 0:
        return multiples[k]
    x, y = multiples[-k]
    return x, curve.p - y


def test_private_keys():
    def test(curve):
        n = curve.n
        g = _point(curve, *curve.generator)
        top = (1 << 8 * curve.size) - 1
        for value in (0, n, n + 1, curve.p, top):
            private = _octets(curve, value)
            check.raises(UsageError, curve.public, private)
            check.raises(UsageError, curve.sign, private, bytes(32))
            check.raises(UsageError, curve.ecdh, private, g)
        for private in (b"", bytes(curve.size - 2) + b"\1", b"\0" + _octets(curve, 1)):
            check.raises(UsageError, curve.public, private)
        for value in (1, n - 1, n >> 1):
            private = _octets(curve, value)
            public = curve.public(private)
            assert curve.ecdh(private, g) == public[1 : curve.size + 1]
            assert curve.verify(public, b"x" * 32, curve.sign(private, b"x" * 32))

    _on_each_path(test)


def test_points():
    def test(curve):
        p = curve.p
        x, y = curve.generator
        # The least x of a point: plus p it still fits, and would be the same point.
        low = 0
        while True:
            square = (low * low * low - 3 * low + curve.b) % p
            root = pow(square, (p + 1) // 4, p)
            if root * root % p == square:
                break
            low += 1
        private = _octets(curve, 5)
        assert len(curve.ecdh(private, _point(curve, low, root))) == curve.size
        for public in (
            b"",
            b"\0",
            bytes(2 * curve.size + 1),
            _point(curve, 0, 0),
            _point(curve, low + p, root),
            _point(curve, p, root),
            _point(curve, x, p),
            _point(curve, x, y + 1),
            _point(curve, x + 1, y),
            _point(curve, y, x),
            _point(curve, x, y)[:-1],
            _point(curve, x, y) + b"\0",
            b"\2" + _octets(curve, x),
            bytes((6 + (y & 1),)) + _point(curve, x, y)[1:],
            b"\4" + b"\xff" * 2 * curve.size,
        ):
            check.raises(EstError, curve.ecdh, private, public)
            assert not curve.verify(public, bytes(32), _signature(1, 1))
            assert not curve.verify(public, bytes(32), _signature(curve.n - 1, curve.n - 1))

    _on_each_path(test)


def test_signature_values():
    def test(curve):
        n = curve.n
        private = _octets(curve, 7)
        public = curve.public(private)
        digest = b"\x5a" * 32
        pair = der.Reader(curve.sign(private, digest)).enter()
        r, s = pair.integer(), pair.integer()
        # Both are ECDSA's signatures; nothing here relies on there being one.
        assert curve.verify(public, digest, _signature(r, s))
        assert curve.verify(public, digest, _signature(r, n - s))
        top = (1 << 8 * curve.size) - 1
        for bad in (0, 1, n - 1, n, n + 1, curve.p, top, 1 << 600, r + n, s + n, n - r):
            assert not curve.verify(public, digest, _signature(bad, s))
            if bad != n - s:
                assert not curve.verify(public, digest, _signature(r, bad))
            assert not curve.verify(public, digest, _signature(bad, bad))
        assert not curve.verify(public, digest, _signature(s, r))

    _on_each_path(test)


def test_signature_forms():
    """One encoding for each r and s: no BER, no sign, no more and no less."""

    def test(curve):
        private = _octets(curve, 7)
        public = curve.public(private)
        digest = b"\x5a" * 32
        signature = curve.sign(private, digest)
        pair = der.Reader(signature).enter()
        r, s = pair.element(), pair.element()
        both = r + s

        def tlv(tag, content):
            return bytes((tag, len(content))) + content

        assert curve.verify(public, digest, tlv(0x30, both))
        for bad in (
            b"\x30\x81" + signature[1:],
            b"\x30\x82\0" + signature[1:],
            b"\x30\x80" + both + b"\0\0",
            tlv(0x30, both) + b"\0",
            tlv(0x30, both + b"\0"),
            tlv(0x30, both + b"\5\0"),
            tlv(0x30, both + s),
            tlv(0x30, tlv(0x30, both)),
            tlv(0x31, both),
            tlv(0x10, both),
            tlv(0x70, both),
            tlv(0x30, r),
            tlv(0x30, b""),
            tlv(0x30, tlv(2, b"") + s),
            tlv(0x30, r + tlv(2, b"")),
            tlv(0x30, tlv(2, b"\0" + r[2:]) + s),
            tlv(0x30, r + tlv(2, b"\0" + s[2:])),
            tlv(0x30, tlv(2, b"\xff" + r[2:]) + s),
            tlv(0x30, r + tlv(2, b"\x80" + s[3:])),
            tlv(0x30, b"\2\x81" + r[1:] + s),
            tlv(0x30, r + b"\2\x81" + s[1:]),
            tlv(0x30, tlv(4, r[2:]) + s),
            tlv(0x30, tlv(10, r[2:]) + s),
            r[2:] + s[2:],
            both,
            b"",
        ):
            assert not curve.verify(public, digest, bad), bad

    _on_each_path(test)


def test_additions_that_meet():
    """Equal and opposite points, and infinity, at the start, on the way and at the end."""

    def test(curve):
        n = curve.n
        multiples = _multiples(curve, 64)
        fast = curve.multiplier()
        signed = _SMALL + tuple([-k for k in _SMALL])
        for k in signed:
            assert fast.base(k % n, None) == _multiple(curve, multiples, k)
        at = 0
        for k in signed:
            for u in (0,) + signed:  # noqa: RUF005
                for d in (1, 2, 3, -1, -2, -3):
                    at += 1
                    if at % (17 * check.SAMPLE):
                        continue
                    point = _multiple(curve, multiples, d) + (1,)
                    # Of the sum the x coordinate is all that anybody asks for.
                    x, _, z = fast.both(k % n, point, u % n)
                    expected = _multiple(curve, multiples, k * d + u)
                    if expected is None:
                        assert not z, (k, u, d)
                    else:
                        assert z and (x - expected[0] * z * z) % curve.p == 0, (k, u, d)

    _on_each_path(test)


def test_combs_that_meet_themselves():
    """Twice an entry of the table: for these k its last point is added to itself."""
    for width, parts, k in (
        (5, 2, 0x80000000000008000000000000800000000000080000000000008000000),
        (7, 2, 0x3FFFFFFFFE0000000010000000007FFFFFFFFC000000001FFFFFFFFF00000),
    ):
        comb = Comb(P256, find(P256, width, parts))
        for scalar in (k, P256.n - k):
            assert comb.base(scalar, None) == Windows(P256).base(scalar, None)


def test_sums_that_meet():
    """As above within a signature: u1 * G and u2 * Q, for Q = G, -G and d * G."""

    def test(curve):
        n = curve.n
        for d in (1, n - 1, 2, 5, n - 5):
            public = curve.public(_octets(curve, d))
            double = curve.public(_octets(curve, 2 * d % n))
            r = int.from_bytes(double[1 : curve.size + 1], "big") % n
            # With s = r: u2 = 1 and u1 = d, hence 2 * d * G, whose x is r.
            assert curve.verify(public, _octets(curve, d * r % n), _signature(r, r))
            # u1 = -d: infinity.
            assert not curve.verify(public, _octets(curve, (n - d) * r % n), _signature(r, r))

    _on_each_path(test)


def test_zero_digest():
    # u1 = 0: the generator takes no part.
    def test(curve):
        private = _octets(curve, 1 << 200 | 7)
        public = curve.public(private)
        zero = bytes(curve.size)
        signature = curve.sign(private, zero)
        assert curve.verify(public, zero, signature)
        assert curve.verify(public, _octets(curve, curve.n), signature)
        assert not curve.verify(public, _octets(curve, 1), signature)

    _on_each_path(test)


def test_round_trips():
    def test(curve):
        for seed in range(max(8 // check.SAMPLE, 2)):
            ours = curve.generate()
            theirs = curve.generate()
            assert ours != theirs
            public = curve.public(ours)
            digest = hashes.new(32, bytes((seed,))).digest()
            signature = curve.sign(ours, digest)
            assert signature != curve.sign(ours, digest)
            assert curve.verify(public, digest, signature)
            assert not curve.verify(curve.public(theirs), digest, signature)
            assert not curve.verify(public, bytes(32), signature)
            assert curve.ecdh(ours, curve.public(theirs)) == curve.ecdh(theirs, public)

    _on_each_path(test)


def test_too_few_random_bytes():
    for curve in (P256, _P384):
        for short in (0, 1, curve.size + 7):
            check.raises(UsageError, curve.generate, lambda count, short=short: bytes(short))


def test_damaged_signatures():
    private = _octets(P256, 7)
    public = P256.public(private)
    good = P256.sign(private, b"x" * 32)
    for size in range(len(good)):
        assert not P256.verify(public, b"x" * 32, good[:size])
    random = check.numbers(1)
    for _ in range(max(60 // check.SAMPLE, 10)):
        changed = bytearray(good)
        changed[next(random) % len(good)] ^= 1 << next(random) % 8
        assert not P256.verify(public, b"x" * 32, bytes(changed))


def test_other_kinds_of_bytes():
    private = _octets(P256, 7)
    for kind in (bytearray, memoryview):
        public = P256.public(kind(private))
        signature = P256.sign(kind(private), kind(b"x" * 32))
        assert P256.verify(kind(public), kind(b"x" * 32), kind(signature)), kind
        assert P256.ecdh(kind(private), kind(public)) == P256.ecdh(private, public)


def test_damaged_tables():
    """What a table says wrong is done without it."""
    private = _octets(P256, 7)
    before = P256._fast
    public = P256.public(private)
    good = P256.sign(private, bytes(32))
    try:
        for width, parts in ((5, 2), (7, 2)):
            table, at = find(P256, width, parts)[2:]
            if isinstance(table, str):
                continue
            for flip in range(1, 256, 127):
                changed = bytes([octet ^ flip for octet in table])
                P256._fast = Comb(P256, (width, parts, changed, at))
                assert P256.public(private) == public
                assert P256.verify(public, bytes(32), good)
                assert not P256.verify(public, b"x" * 32, good)
                P256.sign(private, bytes(32))
                assert P256.verify(public, bytes(32), P256.sign(private, bytes(32)))
    finally:
        P256._fast = before


def test_tables_of_one_good_entry():
    """What was cut off reads as zeros: the point (0, 0), added twice, must not go unnoticed."""
    k = 0x314F04B30F62E0056BD059354A5536FB2E302107EED143B5FA2AA0BBBA07F608
    table, at = find(P256, 7, 2)[2:]
    if isinstance(table, str):
        with open(table, "rb") as file:
            file.seek(at)
            table = file.read(64)
    else:
        table = table[:64]
    expected = Windows(P256).base(k, None)
    for rest in (b"\0", b"\xff", bytes(64), b"\7" + bytes(63)):
        comb = Comb(P256, (7, 2, table + rest * (127 * 64 // len(rest)), 0))
        assert comb.base(k, None) == expected, rest
        point = P256.generator + (1,)
        assert Windows(P256).affine(*comb.both(3, point, k - 3)) == expected, rest


def test_faults():
    """A generator that changed in memory gives no key and no signature away."""
    for curve in (P256, _P384):
        before, generator = curve._fast, curve.generator
        curve._fast = Windows(curve)
        curve.generator = generator[0] ^ 1, generator[1]
        try:
            for error in (
                check.raises(UsageError, curve.public, _octets(curve, 7)),
                check.raises(UsageError, curve.sign, _octets(curve, 7), bytes(32)),
            ):
                assert "fault" in str(error)
        finally:
            curve._fast, curve.generator = before, generator


# RFC 6979 A.2.5 with SHA-256 and A.2.6 with SHA-384: private key; message, r, s.
_RFC6979 = (
    (
        P256,
        32,
        "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721",
        (
            (
                b"sample",
                "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
                "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
            ),
            (
                b"test",
                "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367",
                "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083",
            ),
        ),
    ),
    (
        _P384,
        48,
        "6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba"
        "9aa47740787137d896d5724e4c70a825f872c9ea60d2edf5",
        (
            (
                b"sample",
                "94edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa7"
                "3d64c4ea95ad133c81a648152e44acf96e36dd1e80fabe46",
                "99ef4aeb15f178cea1fe40db2603138f130e740a19624526"
                "203b6351d0a3a94fa329c145786e679e7b82c71a38628ac8",
            ),
            (
                b"test",
                "8203b63d3c853e8d77227fb377bcf7b7b772e97892a80f36"
                "ab775d509d7a5feb0542a7f0812998da8f1dd3ca3cf023db",
                "ddd0760448d42d8a43af45af836fce4de8be06b485e9b61b"
                "827c2f13173923e06a739f040649a667bf3b828246baa5a5",
            ),
        ),
    ),
)
# NIST's test vectors for ECC CDH (SP 800-56A 5.7.1.2), the first of each curve: the other's public
# key, our private and public key, shared secret.
_NIST_CDH = (
    (
        P256,
        "700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287"
        "db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac",
        "7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534",
        "ead218590119e8876b29146ff89ca61770c4edbbf97d38ce385ed281d8a6b230"
        "28af61281fd35e2fa7002523acc85a429cb06ee6648325389f59edfce1405141",
        "46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b",
    ),
    (
        _P384,
        "a7c76b970c3b5fe8b05d2838ae04ab47697b9eaf52e764592efda27fe7513272"
        "734466b400091adbf2d68c58e0c50066ac68f19f2e1cb879aed43a9969b91a08"
        "39c4c38a49749b661efedf243451915ed0905a32b060992b468c64766fc8437a",
        "3cc3122a68f0d95027ad38c067916ba0eb8c38894d22e1b1"
        "5618b6818a661774ad463b205da88cf699ab4d43c9cf98a1",
        "9803807f2f6d2fd966cdd0290bd410c0190352fbec7ff6247de1302df86f25d3"
        "4fe4a97bef60cff548355c015dbb3e5fba26ca69ec2f5b5d9dad20cc9da71138"
        "3a9dbe34ea3fa5a2af75b46502629ad54dd8b7d73a8abb06a3a3be47d650cc99",
        "5f9d29dc5e31a163060356213669c8ce132e22f57c9a04f4"
        "0ba7fcead493b457e5621e766c40a2e3d4d6a04b25e533f1",
    ),
)


def test_rfc6979():
    def test(curve):
        for of, size, private, answers in _RFC6979:
            if of is curve:
                private = bytes.fromhex(private)
                for message, r, s in answers:
                    digest = hashes.new(size, message).digest()
                    signature = curve.sign(private, digest, lambda count: b"")
                    assert signature == _signature(int(r, 16), int(s, 16))
                    assert curve.verify(curve.public(private), digest, signature)

    _on_each_path(test)


def test_nist_cdh():
    def test(curve):
        for of, theirs, private, public, shared in _NIST_CDH:
            if of is curve:
                private = bytes.fromhex(private)
                assert curve.public(private).hex() == "04" + public
                assert curve.ecdh(private, b"\4" + bytes.fromhex(theirs)).hex() == shared

    _on_each_path(test)

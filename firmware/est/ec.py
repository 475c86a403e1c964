"""P-256: key generation, ECDSA (FIPS 186-5, RFC 6979) and ECDH (SP 800-56A), in plain integers.

Private keys are 32 big-endian bytes, points uncompressed SEC 1 bytes, signatures DER.

Scalar multiplication, of est.windows or, where that is installed, est.comb, runs one sequence of
field operations whatever the secret is. Integers themselves are not constant time on MicroPython:
projective coordinates and inversions are blinded against that, which makes measuring harder, not
impossible.
"""

import hashlib

from micropython import const

from est.entropy import random, usage_error
from est.numbers import inverse

# One retry fails with probability 2^-32; more than a few mean a broken hash or scalar field.
_MAX_TRIES = const(8)


def _hmac(key, *parts):
    # HMAC-SHA256 (RFC 2104) for keys of at most one block.
    key = int.from_bytes(key + bytes(64 - len(key)), "big")
    for pad in (b"\x36", b"\x5c"):
        state = hashlib.sha256((key ^ int.from_bytes(pad * 64, "big")).to_bytes(64, "big"))
        for part in parts:
            state.update(part)
        parts = (state.digest(),)
    return parts[0]


def _number(entropy, count, m):
    # 1 to m - 1, from `count` random bytes.
    data = (entropy or random)(count)
    if len(data) < count:
        raise usage_error("too few random bytes")
    return int.from_bytes(data, "big") % (m - 1) + 1


class Curve:
    """A short Weierstrass curve with a = -3.

    name: begins the names of its modules for est.comb; without those all works, more slowly.
    values: p, b, n and the generator's x and y, each `size` big-endian bytes.
    """

    _fast = None

    def __init__(self, name, size, values):
        self.name = name
        self.size = size
        self.p, self.b, self.n, x, y = [
            int.from_bytes(values[at : at + size], "big") for at in range(0, 5 * size, size)
        ]
        self.generator = x, y

    def generate(self, entropy=None):
        """New private key. `entropy(count)` gives random bytes; est.entropy by default."""
        # FIPS 186-5 A.2.1: 64 bits more than n needs leave no measurable bias.
        return _number(entropy, self.size + 8, self.n).to_bytes(self.size, "big")

    def public(self, private):
        """Public point of `private`."""
        x, y = self._base(self.scalar(private), None)
        return b"\4" + x.to_bytes(self.size, "big") + y.to_bytes(self.size, "big")

    def sign(self, private, digest, entropy=None, public=None):
        """DER signature of `digest`, with fresh randomness mixed into RFC 6979's nonce.

        With a broken random source it degrades to deterministic ECDSA, which leaks nothing.
        A fault while computing may give a wrong signature that leaks `private`: it is found only
        with `public`, the public point, by which the signature is verified before it is returned.
        The keys of est.keys do that. Raises UsageError.
        """
        n = self.n
        size = self.size
        d = self.scalar(private)
        e = int.from_bytes(digest[:size], "big")
        extra = (entropy or random)(size)
        # RFC 6979 3.2 with additional data as of 3.6.
        hmac = _hmac
        if size > 32:
            from est.hashes import hmac384 as hmac
        k = bytes(min(size, 48))
        v = b"\1" * len(k)
        seed = d.to_bytes(size, "big") + (e % n).to_bytes(size, "big") + extra
        for step in (b"\0", b"\1"):
            k = hmac(k, v, step, seed)
            v = hmac(k, v)
        for _ in range(_MAX_TRIES):
            # As long as n, or it would give the key away: with P-521 this never ends well.
            v = hmac(k, v)
            nonce = int.from_bytes(v, "big")
            if 0 < nonce < n and len(v) == size:
                # From the same state, in a step that no nonce takes.
                mask = hmac(k, v, b"\2")

                def blinded(_):
                    return mask

                r = self._base(nonce, blinded)[0] % n
                blind = _number(blinded, size, n)
                s = inverse(nonce * blind, n) * (blind * e % n + blind * d % n * r) % n
                if r and s:
                    signature = self._der(r, s)
                    if not public or self.verify(public, digest, signature):
                        return signature
                    break
            k = hmac(k, v, b"\0")
            v = hmac(k, v)
        raise usage_error("EC: computation fault")

    def verify(self, public, digest, signature):
        """True when `signature` (DER) by `public` is good for `digest`; False for any other."""
        n = self.n
        if not 8 <= len(signature) < 2 * self.size + 10:
            return False
        # Read as if it were right, and only right when it is written the same.
        at = 3 + (signature[1] >> 7)
        middle = at + signature[at] + 1
        r = int.from_bytes(signature[at + 1 : middle], "big")
        s = int.from_bytes(signature[middle + 2 :], "big")
        if not (0 < r < n and 0 < s < n) or self._der(r, s) != bytes(signature):
            return False
        point = self.point(public)
        if not point:
            return False
        w = inverse(s, n)
        u = int.from_bytes(digest[: self.size], "big") * w % n
        x, y, z = self.multiplier().both(r * w % n, point + (1,), u)
        if not z:
            return False
        # x/z^2 = r mod n without inverting: x/z^2 is r, or r + n where that is below p.
        p = self.p
        z = z * z % p
        return not (r * z - x) % p or r + n < p and not ((r + n) * z - x) % p

    def ecdh(self, private, public):
        """Shared secret: the x coordinate as big-endian bytes. PeerError for an invalid point."""
        from est.ecdh import shared

        return shared(self, private, public)

    def _base(self, k, entropy):
        x, y = self.multiplier().base(k, entropy)
        # A fault would give the key away, or make one that nobody can use.
        if (y * y - (x * x - 3) * x - self.b) % self.p:
            raise usage_error("EC: computation fault")
        return x, y

    def scalar(self, private):
        """The number that a private key is. Raises UsageError."""
        k = int.from_bytes(private, "big")
        if len(private) != self.size or not 0 < k < self.n:
            raise usage_error("private key out of range")
        return k

    def _der(self, r, s):
        # SEQUENCE of two INTEGERs.
        body = b""
        for value in (r, s):
            value = value.to_bytes(self.size + 1, "big")
            while not (value[0] or value[1] & 0x80):
                value = value[1:]
            body += bytes((2, len(value))) + value
        size = len(body)
        return bytes((0x30, size) if size < 0x80 else (0x30, 0x81, size)) + body

    def point(self, public):
        """(x, y) of a public key, or None where it is no point of the curve."""
        size = self.size
        if len(public) == 2 * size + 1 and public[0] == 4:
            x = int.from_bytes(public[1 : size + 1], "big")
            y = int.from_bytes(public[size + 1 :], "big")
            p = self.p
            if x < p and y < p and not (y * y - (x * x - 3) * x - self.b) % p:
                return x, y

    def blinded(self, point, entropy):
        """(x, y, z) of the point (x/z^2, y/z^3) = `point`, another for every call."""
        x, y = point
        p = self.p
        z = _number(entropy, self.size, p)
        zz = z * z % p
        return x * zz % p, y * zz % p * z % p, z

    def multiplier(self):
        """The fastest installed way to multiply: `base` and `both` as est.windows.Windows."""
        if not self._fast:
            try:
                from est.comb import load

            except ImportError:
                from est.windows import Windows as load
            self._fast = load(self)
        return self._fast


P256 = Curve(
    "p256",
    32,
    b"\xff\xff\xff\xff\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00"
    b"\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
    b"\x5a\xc6\x35\xd8\xaa\x3a\x93\xe7\xb3\xeb\xbd\x55\x76\x98\x86\xbc"
    b"\x65\x1d\x06\xb0\xcc\x53\xb0\xf6\x3b\xce\x3c\x3e\x27\xd2\x60\x4b"
    b"\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff"
    b"\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51"
    b"\x6b\x17\xd1\xf2\xe1\x2c\x42\x47\xf8\xbc\xe6\xe5\x63\xa4\x40\xf2"
    b"\x77\x03\x7d\x81\x2d\xeb\x33\xa0\xf4\xa1\x39\x45\xd8\x98\xc2\x96"
    b"\x4f\xe3\x42\xe2\xfe\x1a\x7f\x9b\x8e\xe7\xeb\x4a\x7c\x0f\x9e\x16"
    b"\x2b\xce\x33\x57\x6b\x31\x5e\xce\xcb\xb6\x40\x68\x37\xbf\x51\xf5",
)

import hashlib

import check
from est import hashes, rsa_generate, rsa_key, steps
from est.entropy import random
from est.errors import UsageError


def _probable_prime(n):
    return steps.run(rsa_generate.probable_prime(n, random))


def test_probable_prime():
    small = [n for n in range(5, 1000, 2) if all(n % d for d in range(3, 32, 2) if d < n)]
    assert [n for n in range(5, 1000, 2) if _probable_prime(n)] == small
    # Mersenne primes, primes after many twos, and what fools weaker tests: Carmichael numbers and
    # a strong pseudoprime to each prime base up to 37.
    for prime in ((1 << 521) - 1, (1 << 607) - 1, 65537, 3 << 189 | 1, 5 << 55 | 1):
        assert _probable_prime(prime), prime
    for composite in (
        561,
        1729,
        65537 * 65537,
        ((1 << 61) - 1) * ((1 << 89) - 1),
        (1 << 523) - 1,
        318665857834031151167461,
        3317044064679887385961981,
    ):
        assert not _probable_prime(composite), composite


class _Stream:
    # Random bytes that are the same in every run.
    def __init__(self, seed):
        self.seed = seed
        self.count = 0

    def __call__(self, count):
        out = b""
        while len(out) < count:
            self.count += 1
            out += hashlib.sha256(b"%d %d" % (self.seed, self.count)).digest()
        return out[:count]


def test_generate():
    tests = []
    key = steps.run(rsa_generate.generate(2048, lambda *args: tests.append(args), _Stream(1)))
    assert key.bits == 2048 and key.e == 65537
    _, _, _, p, q, _, _, _ = key._numbers
    assert p >> 1022 == q >> 1022 == 3
    assert _probable_prime(p) and _probable_prime(q)
    assert rsa_key.load(key.der()).n == key.n
    assert key.verify(hashes.new(32, b"message").digest(), key.sign(b"message")[1])
    # Told before each test, from (0, 0) on.
    found = [primes for primes, _ in tests]
    assert found == sorted(found) and set(found) == {0, 1}
    assert [count for primes, count in tests if primes] == list(range(sum(found)))


def test_candidates():
    # Each start is what entropy gives first; what it gives later are bases of the tests.
    def prime(*starts):
        random = _Stream(1)
        starts = list(starts)

        def entropy(count):
            return starts.pop(0).to_bytes(8, "big") if count == 8 else random(count)

        return steps.run(rsa_generate._prime(64, 0, None, entropy))

    # A prime that 65537 divides less one has no private exponent.
    unfit = 0xD00000000008D009
    assert unfit % 65537 == 1 and _probable_prime(unfit)
    assert prime(unfit) == 0xD00000000008D11B
    # Above 2^64 - 59 there is none of 64 bits.
    assert prime((1 << 64) - 59) == (1 << 64) - 59
    assert prime((1 << 64) - 57, unfit) == prime(unfit)


def test_primes_too_close():
    # A generator that repeats itself gives the same prime twice; another start is needed.
    sources = [_Stream(1), _Stream(1), _Stream(2)]
    starts = []

    def entropy(count):
        if count == 128:
            starts.append(sources[min(len(starts), 2)])
        return starts[-1](count)

    key = steps.run(rsa_generate.generate(2048, None, entropy))
    assert len(starts) == 3
    assert key._numbers[3] != key._numbers[4]


def test_bad_source():
    for source in (lambda count: b"", lambda count: bytes(count - 1), bytes):
        error = check.raises(UsageError, steps.run, rsa_generate.generate(2048, None, source))
        assert "random" in str(error)


def test_sizes():
    for bits in (0, 512, 1024, 2047, 2049, 8192):
        check.raises(UsageError, steps.run, rsa_generate.generate(bits))

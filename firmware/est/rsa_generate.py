"""Making RSA keys (FIPS 186-5 A.1.3), minutes on a board: P-256 is better for almost everything.

Candidates are sought upwards from a random number, for a sieve's sake, so that a prime after a
long gap is a little likelier than others.
"""

from micropython import const

from est import rsa, rsa_key
from est.entropy import random
from est.errors import UsageError
from est.numbers import inverse

_E = const(65537)
# Odd numbers from each random start: three primes of 1024 bits among them on average.
_WIDTH = const(1024)
# About where more dividing costs more than the tests it saves.
_MAX_DIVISOR = const(1 << 15)
# Two are enough unless they lie close to each other, as those of a bad random source do.
_MAX_PRIMES = const(4)
# Divisors in a step.
_STEP = const(64)
# With random bases: a composite of 1024 bits passes less often than once in 2^112 (FIPS 186-5
# table B.1).
_ROUNDS = const(5)


def generate(bits=2048, progress=None, entropy=None):
    """A new est.rsa_key.RsaKey of 2048, 3072 or 4096 bits, in steps for est.steps.

    progress(primes, tests) is called before each test of a candidate with how many of the two
    primes are found, and how many tests were made for the next; for 2048 bits 40 are needed on
    average. entropy(count) gives random bytes; est.entropy by default.
    """
    if bits not in (2048, 3072, 4096):
        raise UsageError("RSA: 2048, 3072 or 4096 bits")
    entropy = entropy or random
    primes = []
    for _ in range(_MAX_PRIMES):
        prime = yield from _prime(bits // 2, len(primes), progress, entropy)
        if not primes or abs(prime - primes[0]) >> (bits // 2 - 100):
            primes.append(prime)
        if len(primes) == 2:
            break
    else:
        raise UsageError("RSA: the same primes again and again: the random source is bad")
    p, q = primes
    d = inverse(_E, (p - 1) * (q - 1))
    inverse_q = inverse(q, p)
    return rsa_key.RsaKey(p * q, _E, d, p, q, d % (p - 1), d % (q - 1), inverse_q)


def _prime(bits, primes, progress, entropy):
    tests = 0
    while True:
        # With the two highest bits set, two primes' product has twice the bits.
        start = entropy(bits // 8)
        if len(start) != bits // 8:
            raise UsageError("RSA: too few random bytes")
        start = int.from_bytes(start, "big") | 3 << (bits - 2) | 1
        composite = bytearray(_WIDTH)
        for divisor in range(3, _MAX_DIVISOR, 2):
            # The first `at` where divisor divides start + 2 * at.
            at = -(start % divisor) * ((divisor + 1) // 2) % divisor
            while at < _WIDTH:
                composite[at] = 1
                at += divisor
            if divisor % (2 * _STEP) == 1:
                yield
        for at in range(_WIDTH):
            candidate = start + 2 * at
            if composite[at] or candidate % _E == 1 or candidate >> bits:
                continue
            if progress:
                progress(primes, tests)
            tests += 1
            if (yield from probable_prime(candidate, entropy)):
                return candidate


def probable_prime(n, entropy):
    """Whether the odd `n` above 3 passes Miller and Rabin's test, in steps (FIPS 186-5 B.3.1)."""
    odd = n - 1
    twos = 0
    while not odd & 1:
        odd >>= 1
        twos += 1
    size = rsa.octets(n)
    base = 2  # cheap to multiply with, and enough for nearly every composite
    for _ in range(_ROUNDS + 1):
        value = yield from rsa_key.power(base, odd, n, size)
        if value not in (1, n - 1):
            for _ in range(twos - 1):
                value = value * value % n
                if value == n - 1:
                    break
            else:
                return False
        base = int.from_bytes(entropy(size + 8), "big") % (n - 3) + 2
    return True

"""Inverses modulo primes and modulo products."""

import check
from est.ec import P256
from est.numbers import inverse


def test_inverse():
    assert inverse(3, 7) == 5
    assert inverse(10, 7) == 5
    assert inverse(-4, 7) == 5
    assert inverse(1, 7) == 1
    assert inverse(65537, 12) == 5
    for a, m in ((0, 7), (7, 7), (2, 4), (6, 9)):
        check.raises(ZeroDivisionError, inverse, a, m)


def test_large_numbers():
    random = check.numbers(5)
    for m in (P256.p, P256.n, P256.p * P256.n):
        for a in (1, 2, m - 1, next(random) << 200 | next(random)):
            found = inverse(a, m)
            assert 0 < found < m
            assert a * found % m == 1

"""Arithmetic that elliptic curves and RSA share."""


def inverse(a, m):
    """1 / a modulo m. Raises ZeroDivisionError if there is none. Callers blind what is secret."""
    # Extended Euclid: 7 times faster here than a^(m-2), for a prime m.
    u, v = a % m, m
    x, y = 1, 0
    divide = divmod
    while u:
        q, r = divide(v, u)
        v, u = u, r
        y, x = x, y - q * x
    if v != 1:
        raise ZeroDivisionError
    return y % m

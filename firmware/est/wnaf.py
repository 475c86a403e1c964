"""k * point + u * G for verifying, by interleaving (Moeller 2001), in variable time.

k is in non-adjacent form of width 5 and takes odd multiples of the point, u takes est.comb's
table.
"""

from micropython import const

from est.numbers import inverse

# A digit: |digit| >> 1 and these.
_NEGATIVE = const(8)
_DIGIT = const(16)
_STEP = const(32)


def both(comb, k, point, u):
    """As comb.both, u not 0; None for a few k and u."""
    curve = comb.curve
    p = curve.p
    # Here y is twice what it is elsewhere, which spares doubling other numbers.
    table = _odd_multiples(p, *point[:2])
    entries = comb.entries(u)
    integer = int.from_bytes
    size = curve.size
    x = y = z = 0
    for digit in reversed(_non_adjacent(k, comb.steps)):
        if z:
            a = z * z % p
            z = y * z % p
            b = y * y % p
            c = x * b % p
            a = 3 * (x - a) * (x + a) % p
            x = (a * a - c - c) % p
            y = ((a + a) * (c - x) - b * b) % p
        if not digit:
            continue
        added = []
        if digit & _STEP:
            for entry, negate in next(entries):
                v = 2 * integer(entry[size:], "little")
                added.append((integer(entry[:size], "little"), -v if negate else v))
        if digit & _DIGIT:
            c, v = table[digit & 7]
            added.append((c, -v if digit & _NEGATIVE else v))
        for c, v in added:
            if not z:
                x = c
                y = v
                z = 1
                continue
            a = z * z % p
            c = (c * a - x) % p
            if not c:
                # Equal or opposite points hardly ever meet, unless somebody wants them to.
                return None
            v = (v * a % p * z - y) % p
            d = c + c
            z = d * z % p
            a = d * d % p
            b = c * a % p
            c = x * a % p
            x = (v * v - b - c - c) % p
            y = 2 * (v * (c - x) - y * b) % p
    return x, y * (p + 1 >> 1) % p, z


def _odd_multiples(p, x, y):
    # (x, 2 * y) of the point and of 3 to 15 times it. Every sum has the z that
    # twice the point is given then, z times h (co-Z, Meloni 2007): one inversion makes all affine.
    b = 2 * y * y % p
    u = 2 * x * b % p
    v = 2 * b * b % p
    a = 3 * (x - 1) * (x + 1) % p
    z = 2 * y
    table = [(u, v, 1)]
    x = (a * a - u - u) % p
    y = (a * (u - x) - v) % p
    for _ in range(7):
        h = x - u
        d = y - v
        z = z * h % p
        c = h * h % p
        x = x * c % p
        c = u * c % p
        y = y * (x - c) % p
        u = (d * d - x - c) % p
        v = (d * (x - u) - y) % p
        table.append((u, v, h))
    z = inverse(z, p)
    for at in range(7, -1, -1):
        u, v, h = table[at]
        a = z * z % p
        table[at] = u * a % p, 2 * (v * a % p * z % p)
        z = z * h % p
    return table


def _non_adjacent(k, steps):
    # The digits, the lowest first. With the lowest go the comb's steps.
    digits = bytearray()
    low = bits = 0
    while k or low:
        # In small integers, which are fast.
        if bits < 5:
            low += (k & 0xFFFF) << bits
            k >>= 16
            bits += 16
        digit = low & 31
        if digit & 1:
            if digit > 16:
                digit -= 32
                digits.append(-digit >> 1 | _DIGIT | _NEGATIVE)
            else:
                digits.append(digit >> 1 | _DIGIT)
            digits.extend(bytes(4))
            low = low - digit >> 5
            bits -= 5
        else:
            digits.append(0)
            low >>= 1
            bits -= 1
    digits.extend(bytes(max(steps - len(digits), 0)))
    for at in range(steps):
        digits[at] |= _STEP
    return digits

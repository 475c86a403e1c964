"""Multiples of a curve's generator from a table: the signed all-bits-set comb.

Hedabou, Pinel, Beneteau 2005. Its rows may be cut in parts (Lim, Lee 1994), which
needs fewer doublings and more table. `load` chooses among what is installed: the larger table, and
machine code where the board's processor has it.
"""

import sys

from est.ec import inverse


def load(curve):
    """The fastest way to multiply on `curve`: a Comb, or the curve itself without a table."""
    for form in ("6x4", "6"):
        try:
            table = __import__("est.%s_comb%s" % (curve.name, form), None, None, ("TABLE",))
            break
        except ImportError:
            pass
    else:
        return curve
    # 3 to 8 are ARM's, 11 is RISC-V; elsewhere the import would fail, slowly.
    arch = getattr(sys.implementation, "_mpy", 0) >> 10 & 15
    if 3 <= arch <= 8 or arch == 11:
        name = "est.%s_%s" % (curve.name, "rv32" if arch == 11 else "thumb")
        try:
            return __import__(name, None, None, ("load",)).load(curve, table)
        except (ImportError, SyntaxError, ValueError):
            pass  # not installed, or not for this firmware
    return Comb(curve, table)


class Comb:
    """Multiplies with `table`, a module such as est.p256_comb6, on est.ec.Curve `curve`."""

    def __init__(self, curve, table):
        self._curve = curve
        self._table = table.TABLE
        self._width = table.WIDTH
        self._columns = (8 * curve.size + self._width) // self._width
        self._steps = -(self._columns // -table.SPLIT)

    def base(self, k, entropy):
        """k * G as (x, y), 0 < k < n; one sequence of field operations for all k."""
        curve = self._curve
        p = curve.p
        points = self._points(k)
        added = next(points)
        x, y, z = curve.blinded(added.pop(0), entropy)
        # As x/a, y/b with a = z^2, b = z^3 (XYZZ, Sutherland): 10 multiplications to add a point.
        a = z * z % p
        b = a * z % p
        while True:
            for u, v in added:
                u = (u * a - x) % p
                v = (v * b - y) % p
                c = u * u % p
                d = u * c % p
                t = x * c % p
                x = (v * v - d - t - t) % p
                y = (v * (t - x) - y * d) % p
                a = a * c % p
                b = b * d % p
            added = next(points, None)
            if not added:
                break
            t = y + y
            c = t * t % p
            d = t * c % p
            m = 3 * (x - a) * (x + a) % p
            t = x * c % p
            x = (m * m - t - t) % p
            y = (m * (t - x) - y * d) % p
            a = a * c % p
            b = b * d % p
        if not b:
            # Two equal or opposite points met, as they do for a few k.
            return curve.base(k, entropy)
        i = inverse(b, p)
        a = a * i % p
        return x * a % p * a % p, y * i % p

    def both(self, k, point, u):
        """k * point + u * G, where 0 < k < n, 0 <= u < n and all points are Jacobian."""
        if not u:
            return self._curve.both(k, point, 0)
        return self._curve.windows(k, point, self._steps, self._points(u))

    def _digits(self, k):
        # For each step, to be doubled from one to the next, the points to add as pairs: offset in
        # the table, whether to negate. k is rows of columns, every digit +1 or -1; the sign of a
        # column is its top row's. Column c is of the part c // steps of the table.
        steps = self._steps
        columns = self._columns
        width = self._width
        size = self._curve.size
        # k is made odd; then digit i is bit i + 1 of k, the top digit +1.
        odd = k & 1
        k = (self._curve.n - k, k)[odd]
        k = k >> 1 | 1 << (width * columns - 1)
        half = 1 << (width - 1)
        # The bits of a column; and 2^columns = 2 modulo `gather`, which brings them together.
        mask = ((1 << width * columns) - 1) // ((1 << columns) - 1)
        gather = (1 << columns) - 2
        for step in range(steps - 1, -1, -1):
            found = []
            part = 0
            for column in range(step, columns, steps):
                index = (k >> column & mask) % gather
                flip = index < half
                found.append((2 * size * (((index ^ -flip) & half - 1) + part), flip ^ odd ^ 1))
                part += half
            yield found

    def _points(self, k):
        for found in self._digits(k):
            yield [self._point(at, negate) for at, negate in found]

    def _point(self, at, negate):
        size = self._curve.size
        y = int.from_bytes(self._table[at : at + 2 * size], "little")
        x = y & (1 << 8 * size) - 1
        y >>= 8 * size
        return x, (y, self._curve.p - y)[negate]

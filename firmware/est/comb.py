"""Multiples of a curve's generator from a table: the signed all-bits-set comb.

Hedabou, Pinel, Beneteau 2005. Its rows may be cut in parts (Lim, Lee 1994), which
needs fewer doublings and more table. `load` chooses among what is installed: the larger table, and
machine code where the board's processor has it.
"""

import sys


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
    # 3 to 8 are ARM's; elsewhere the import would fail, slowly.
    if 3 <= getattr(sys.implementation, "_mpy", 0) >> 10 & 15 <= 8:
        try:
            thumb = __import__("est.%s_thumb" % curve.name, None, None, ("Thumb",))
            return thumb.Thumb(curve, table)
        except (ImportError, SyntaxError, ValueError):
            pass  # not installed, or not for this firmware
    return Comb(curve, table)


class Comb:
    """Multiplies with `table`, a module such as est.p256_comb6, on est.ec.Curve `curve`."""

    def __init__(self, curve, table):
        self._curve = curve
        self._table = table.TABLE
        self._width = table.WIDTH
        self._split = table.SPLIT
        self._steps = -((8 * curve.size + 1) // -(self._width * self._split))

    def base(self, k, entropy):
        """k * G as Jacobian (x, y, z), 0 < k < n; one sequence of field operations for all k."""
        curve = self._curve
        p = curve.p
        split = self._split
        points = self._points(k)
        x, y, z = curve.blinded(next(points), entropy)
        # As x/a, y/b with a = z^2, b = z^3 (XYZZ, Sutherland): 10 multiplications to add a point.
        a = z * z % p
        b = a * z % p
        at = 1
        for u, v in points:
            if at % split == 0:
                t = y + y
                c = t * t % p
                d = t * c % p
                m = 3 * (x - a) * (x + a) % p
                t = x * c % p
                x = (m * m - t - t) % p
                y = (m * (t - x) - y * d) % p
                a = a * c % p
                b = b * d % p
            at += 1
            u = (u * a - x) % p
            v = (v * b - y) % p
            c = u * u % p
            d = u * c % p
            t = x * c % p
            x = (v * v - d - t - t) % p
            y = (v * (t - x) - y * d) % p
            a = a * c % p
            b = b * d % p
        if not b:
            # Two equal or opposite points met, as they do for a few k.
            return curve.base(k, entropy)
        return x * a % p * a % p, y * b % p * b % p, b

    def both(self, k, point, u):
        """k * point + u * G, where 0 < k < n, 0 <= u < n and point is Jacobian."""
        if not u:
            return self._curve.both(k, point, 0)
        return self._curve.windows(k, point, self._steps, self._split, self._points(u))

    def _digits(self, k):
        # (offset in the table, whether to negate that point) in the order they are added: `split`
        # of them after each doubling. k is rows of columns, every digit +1 or -1; the sign of a
        # column is its top row's. Column c is of the part c // steps of the table.
        steps = self._steps
        columns = steps * self._split
        width = self._width
        size = self._curve.size
        # k is made odd; then digit i is bit i + 1 of k, the top digit +1.
        odd = k & 1
        k = (self._curve.n - k, k)[odd]
        bits = (k >> 1 | 1 << (width * columns - 1)).to_bytes((width * columns + 7) // 8, "little")
        top = columns * (width - 1)
        half = 1 << (width - 1)
        for step in range(steps - 1, -1, -1):
            for part in range(self._split):
                index = 0
                for at in range(top + part * steps + step, -1, -columns):
                    index += index + (bits[at >> 3] >> (at & 7) & 1)
                flip = index < half
                yield 2 * size * ((index ^ -flip) & half - 1 | part * half), flip ^ odd ^ 1

    def _points(self, k):
        size = self._curve.size
        table = self._table
        p = self._curve.p
        for at, negate in self._digits(k):
            y = int.from_bytes(table[at + size : at + 2 * size], "little")
            yield int.from_bytes(table[at : at + size], "little"), (y, p - y)[negate]

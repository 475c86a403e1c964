"""Multiples of points where est.comb has no table: odd signed windows (Joye, Tunstall 2009).

One sequence of field operations whatever the scalar is. Points are Jacobian: x/z^2, y/z^3, and
z = 0 at infinity.
"""

from micropython import const

from est.numbers import inverse

_WINDOW = const(4)


class Windows:
    """Multiplies on est.ec.Curve `curve`."""

    def __init__(self, curve):
        self.curve = curve

    def base(self, k, entropy):
        """k * G as (x, y), 0 < k < n."""
        curve = self.curve
        return self.affine(*self.both(k, curve.blinded(curve.generator, entropy), 0))

    def both(self, k, point, u):
        """k * point + u * G, where 0 < k < n and 0 <= u < n."""
        for point in self.steps(k, point):
            pass
        if u:
            for base in self.steps(u, self.curve.generator + (1,)):
                pass
            point = self.add(point + base)
        return point

    def steps(self, k, point):
        """Points of which the last is k * point, k not 0, after about as much work each."""
        table = [point]
        twice = self._double(*point)
        for _ in range((1 << (_WINDOW - 1)) - 1):
            table.append(self.add(table[-1] + twice))
        point = None
        for index, negative in digits(self.curve, k):
            x, y, z = table[index]
            y = (y, self.curve.p - y)[negative]
            if point:
                for _ in range(_WINDOW):
                    point = self._double(*point)
                x, y, z = self.add(point + (x, y, z))
            point = x, y, z
            yield point

    def _double(self, x, y, z):
        p = self.curve.p
        zz = z * z % p
        yy = y * y % p
        s = 4 * x * yy % p
        m = 3 * (x - zz) * (x + zz) % p
        x3 = (m * m - 2 * s) % p
        return x3, (m * (s - x3) - 8 * yy * yy) % p, 2 * y * z % p

    def add(self, points):
        """The sum of two points, (x, y, z, x, y, z).

        Neither is infinity; both may be equal or opposite.
        """
        x1, y1, z1, x2, y2, z2 = points
        p = self.curve.p
        zz = z2 * z2 % p
        x1 = x1 * zz % p
        y1 = y1 * zz % p * z2 % p
        zz = z1 * z1 % p
        h = (x2 * zz - x1) % p
        r = (y2 * zz % p * z1 - y1) % p
        if not h:
            if r:
                return 1, 1, 0
            return self._double(x2, y2, z2)
        hh = h * h % p
        hhh = h * hh % p
        x1 = x1 * hh % p
        x3 = (r * r - hhh - 2 * x1) % p
        return x3, (r * (x1 - x3) - y1 * hhh) % p, h * z1 * z2 % p

    def affine(self, x, y, z):
        """(x, y) of a point that is not infinity."""
        p = self.curve.p
        i = inverse(z, p)
        ii = i * i % p
        return x * ii % p, y * ii % p * i % p


def digits(curve, k):
    """Odd digits of k, the top one first, as |digit| >> 1 and whether it is negative."""
    odd = k & 1
    size = 8 * curve.size
    k = (curve.n - k, k)[odd] | 16 << size
    for at in range(size, -1, -_WINDOW):
        digit = (k >> at & 31 | 1) - 16
        yield abs(digit) >> 1, (digit < 0) ^ 1 - odd

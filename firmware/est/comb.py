"""Multiples of a curve's generator from a table: the signed all-bits-set comb.

Hedabou, Pinel, Beneteau 2005. Its rows may be cut in parts (Lim, Lee 1994), which
needs fewer doublings and more table. `load` chooses among what is installed: the larger table, and
machine code where the board's processor has it.
"""

import sys

from micropython import const

from est.ec import inverse

# Of a .mpy file, what comes before its first constant takes some 60 octets.
_HEAD = const(256)
# That a constant is bytes (MicroPython's persistentcode.h).
_BYTES = const(6)


def load(curve):
    """The fastest way to multiply on `curve`: a Comb, or the curve itself without a table."""
    for width, parts in ((6, 4), (5, 2)):
        try:
            table = find(curve, width, parts)
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


def find(curve, width, parts):
    """The table of `curve` with rows of `width`, cut in `parts`, for Comb. Raises ImportError.

    In a .mpy file it is read where it lies, 64 octets at a time: loaded it would fill the heap.
    """
    name = "%s_comb%dx%d" % (curve.name, width, parts)
    size = 2 * curve.size * parts << width - 1
    try:
        path = "%s/%s.mpy" % (__file__.rpartition("/")[0], name)
        with open(path, "rb") as file:
            at = file.read(_HEAD).find(bytes((_BYTES, 0x80 | size >> 7, size & 0x7F)))
        if at > 0:
            return width, parts, path, at + 3
    except OSError:
        pass  # source, or frozen: then it lies in flash anyway
    return width, parts, __import__("est." + name, None, None, ("TABLE",)).TABLE, 0


class Comb:
    """Multiplies with `table`, of `find`, on est.ec.Curve `curve`."""

    def __init__(self, curve, table):
        self._curve = curve
        self._width, parts, self._table, self._offset = table
        self._columns = (8 * curve.size + self._width) // self._width
        self._steps = -(self._columns // -parts)

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
        """k * point + u * G, where 0 < k < n, 0 <= u < n and all points are Jacobian.

        With u it takes a time that depends on both: for what everybody may know. Then y is twice
        what it should be, and is not needed.
        """
        curve = self._curve
        if not u:
            return curve.both(k, point, 0)
        p = curve.p
        # Odd multiples as (x, 2 * y), made affine with one inversion (Montgomery's trick).
        table = [point]
        twice = curve.double(*point)
        for _ in range(3):
            table.append(curve.add(*(table[-1] + twice)))
        products = [1]
        for _, _, z in table:
            products.append(products[-1] * z % p)
        b = inverse(products.pop(), p)
        for at in (3, 2, 1, 0):
            x, y, z = table[at]
            c = b * products[at] % p
            b = b * z % p
            a = c * c % p
            table[at] = x * a % p, 2 * y * a % p * c % p
        # k in non-adjacent form of width 4, the lowest digit first, each modulo 256.
        digits = bytearray()
        steps = self._steps
        while k or len(digits) < steps:
            if k & 1:
                digit = k & 15
                if digit > 8:
                    digit -= 16
                digits.extend(bytes((digit & 255, 0, 0, 0)))
                k = k - digit >> 4
            else:
                digits.append(0)
                k >>= 1
        points = self._points(u)
        twice = products = None  # room in a small heap
        z = 0
        for at in range(len(digits) - 1, -1, -1):
            # y is twice what it is elsewhere, which spares doubling other numbers.
            if z:
                a = z * z % p
                z = y * z % p
                b = y * y % p
                c = x * b % p
                a = 3 * (x - a) * (x + a) % p
                x = (a * a - c - c) % p
                y = ((a + a) * (c - x) - b * b) % p
            digit = digits[at]
            if not digit and at >= steps:
                continue
            added = [(u, v + v) for u, v in next(points)] if at < steps else []
            if digit > 8:
                u, v = table[(256 - digit) >> 1]
                added.append((u, p - v))
            elif digit:
                added.append(table[digit >> 1])
            for u, v in added:
                if not z:
                    x = u
                    y = v
                    z = 1
                    continue
                a = z * z % p
                u = (u * a - x) % p
                v = (v * a % p * z - y) % p
                if not u:
                    # Opposite points, or equal ones: their y is doubled everywhere.
                    x, y, z = (1, 1, 0) if v else curve.double(4 * x, 4 * y, 2 * z)
                    y += y
                    continue
                c = u + u
                z = c * z % p
                a = c * c % p
                b = u * a % p
                c = x * a % p
                x = (v * v - b - c - c) % p
                y = 2 * (v * (c - x) - y * b) % p
        return x, y, z

    def _entries(self, k):
        # For each step, to be doubled from one to the next, the points to add as pairs: entry of
        # the table, whether to negate. k is rows of columns, every digit +1 or -1; the sign of a
        # column is its top row's. Column c is of the part c // steps of the table.
        table = self._table
        file = open(table, "rb") if isinstance(table, str) else None
        steps = self._steps
        columns = self._columns
        width = self._width
        size = 2 * self._curve.size
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
                at = size * (((index ^ -flip) & half - 1) + part) + self._offset
                if file:
                    file.seek(at)
                    entry = file.read(size)
                else:
                    entry = table[at : at + size]
                found.append((entry, flip ^ odd ^ 1))
                part += half
            if file and not step:
                file.close()
            yield found

    def _points(self, k):
        # The same as pairs (x, y).
        p = self._curve.p
        size = self._curve.size
        integer = int.from_bytes
        for entries in self._entries(k):
            points = []
            for entry, negate in entries:
                y = integer(entry[size:], "little")
                points.append((integer(entry[:size], "little"), (y, p - y)[negate]))
            yield points

"""Multiples of a curve's generator from a table: the signed all-bits-set comb.

Hedabou, Pinel, Beneteau 2005. Its rows may be cut in parts (Lim, Lee 1994), which
needs fewer doublings and more table. `load` chooses among what is installed: the larger table, and
machine code where the board's processor has it.
"""

import sys

from micropython import const

from est.numbers import inverse

# Of a .mpy file, what comes before its first constant takes some 60 octets.
_HEAD = const(256)
# That a constant is bytes (MicroPython's persistentcode.h).
_BYTES = const(6)


def load(curve):
    """The fastest way to multiply on `curve`: a Comb, or Windows without a table."""
    for width, parts in ((7, 2), (5, 2)):
        try:
            table = find(curve, width, parts)
            break
        except ImportError:
            pass
    else:
        return windows(curve)
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
    path = "%s/%s.mpy" % (__file__.rpartition("/")[0], name)
    try:
        with open(path, "rb") as file:
            start = file.tell()  # not 0 where many modules lie in one file
            at = file.read(_HEAD).find(bytes((_BYTES, 0x80 | size >> 7, size & 0x7F)))
            if at < 0 or file.seek(0, 2) < start + at + 3 + size:
                raise ImportError(path)  # damaged: to load it might never end
        return width, parts, path, start + at + 3
    except OSError:
        if __file__[-4:] == ".mpy":
            raise ImportError(path)
        # Source, or frozen: then it lies in flash anyway.
        return width, parts, __import__("est." + name, None, None, ("TABLE",)).TABLE, 0


def contains(curve, x, y, z=1):
    """Whether the Jacobian point is on the curve, where a damaged table does not lead."""
    p = curve.p
    if z == 1:
        return not (y * y - (x * x - 3) * x - curve.b) % p
    zz = z * z % p
    a = zz * zz % p
    return not (y * y - (x * x - 3 * a) * x - curve.b * a % p * zz) % p


def windows(curve):
    """An est.windows.Windows, which is slower, needs no table and takes any points."""
    from est.windows import Windows

    return Windows(curve)


class Comb:
    """Multiplies with `table`, of `find`, on est.ec.Curve `curve`."""

    def __init__(self, curve, table):
        self.curve = curve
        self._width, parts, self._table, self._offset = table
        self._columns = (8 * curve.size + self._width) // self._width
        self.steps = -(self._columns // -parts)

    def base(self, k, entropy):
        """k * G as (x, y), 0 < k < n; one sequence of field operations for all k."""
        curve = self.curve
        p = curve.p
        integer = int.from_bytes
        size = curve.size
        x = y = z = a = b = 0
        for entries in self.entries(k):
            # As x/a, y/b with a = z^2, b = z^3 (XYZZ, Sutherland): 10 multiplications to add.
            if z:
                t = y + y
                c = t * t % p
                d = t * c % p
                m = 3 * (x - a) * (x + a) % p
                t = x * c % p
                x = (m * m - t - t) % p
                y = (m * (t - x) - y * d) % p
                a = a * c % p
                b = b * d % p
            for entry, negate in entries:
                u = integer(entry[:size], "little")
                v = integer(entry[size:], "little")
                v = (v, p - v)[negate]
                if not z:
                    x, y, z = curve.blinded((u, v), entropy)
                    a = z * z % p
                    b = a * z % p
                    continue
                u = (u * a - x) % p
                v = (v * b - y) % p
                c = u * u % p
                d = u * c % p
                t = x * c % p
                x = (v * v - d - t - t) % p
                y = (v * (t - x) - y * d) % p
                a = a * c % p
                b = b * d % p
        # 0 where two equal or opposite points met, as they do for a few k.
        if b:
            i = inverse(b, p)
            a = a * i % p
            x = x * a % p * a % p
            y = y * i % p
            if contains(curve, x, y):
                return x, y
        return windows(curve).base(k, entropy)

    def both(self, k, point, u):
        """k * point + u * G, where 0 < k < n, 0 <= u < n and points are Jacobian.

        With u it takes a time that depends on both: for what everybody may know. Then `point` is
        affine, z = 1.
        """
        if u:
            try:
                from est.wnaf import both
            except ImportError:
                pass  # an optional part
            else:
                added = both(self, k, point, u)
                if added and contains(self.curve, *added):
                    return added
        return windows(self.curve).both(k, point, u)

    def entries(self, k):
        """For each step, to be doubled from one to the next, pairs (entry, whether to negate).

        Entries are bytes of the table, little-endian x and y, that are to be added.
        """
        # k is rows of columns, every digit +1 or -1; the sign of a column is its top row's. Column
        # c is of the part c // steps of the table.
        table = self._table
        file = open(table, "rb") if isinstance(table, str) else None
        steps = self.steps
        columns = self._columns
        width = self._width
        size = 2 * self.curve.size
        # k is made odd; then digit i is bit i + 1 of k, the top digit +1.
        odd = k & 1
        k = (self.curve.n - k, k)[odd]
        k = k >> 1 | 1 << (width * columns - 1)
        half = 1 << (width - 1)
        # The bits of a column; and 2^columns = 2 modulo `gather`, which brings them together.
        mask = ((1 << width * columns) - 1) // ((1 << columns) - 1)
        gather = (1 << columns) - 2
        low = half - 1
        for step in range(steps - 1, -1, -1):
            pairs = []
            first_row = 0
            for column in range(step, columns, steps):
                index = (k >> column & mask) % gather
                flip = index < half
                at = size * (((index ^ -flip) & low) + first_row) + self._offset
                if file:
                    file.seek(at)
                    entry = file.read(size)
                else:
                    entry = table[at : at + size]
                pairs.append((entry, flip ^ odd ^ 1))
                first_row += half
            if file and not step:
                file.close()
            if len(pairs) > 1 and pairs[0][0] == pairs[1][0]:
                pairs.pop()  # damaged; two of (0, 0) would cancel and lead to the curve
            yield pairs

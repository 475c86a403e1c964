"""Multiples of a curve's generator from a table: the signed all-bits-set comb.

Hedabou, Pinel, Beneteau 2005.
"""


class Comb:
    """k as rows of `columns` digits, every one +1 or -1: its columns name points of the table.

    table: a module such as est.p256_comb6. p, n, size: the curve's. 0 < k < n. k * G is the sum of
    the points, the top column first, doubled from each column to the next.
    """

    def __init__(self, table, p, n, size, k):
        self._table = table
        self._p = p
        self._size = size
        width = table.WIDTH
        self.columns = (8 * size + width) // width
        # k is made odd; then digit i is bit i + 1 of k, the top digit +1.
        odd = k & 1
        k = (n - k, k)[odd]
        self._negate = 1 - odd
        self._bits = (k >> 1 | 1 << (width * self.columns - 1)).to_bytes(size + 2, "little")

    def point(self, column):
        """(x, y) of one column, 0 the lowest. Its sign is taken from the top row."""
        table = self._table
        bits = self._bits
        index = 0
        at = column + self.columns * (table.WIDTH - 1)
        flip = 1 - (bits[at >> 3] >> (at & 7) & 1)
        for _ in range(table.WIDTH - 1):
            at -= self.columns
            index = index << 1 | (bits[at >> 3] >> (at & 7) & 1 ^ flip)
        size = self._size
        at = index * 2 * size
        y = int.from_bytes(table.TABLE[at + size : at + 2 * size], "big")
        x = int.from_bytes(table.TABLE[at : at + size], "big")
        return x, (y, self._p - y)[self._negate ^ flip]

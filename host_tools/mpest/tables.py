"""Writes the precomputed comb tables of firmware/est: python -m mpest.tables DIR."""

import sys
from pathlib import Path

_P256_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_P256_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)

Point = tuple[int, int]


def _add(p: int, first: Point, second: Point) -> Point:
    """Sum of two affine points of a curve with a = -3; never infinity for comb tables."""
    (x1, y1), (x2, y2) = first, second
    if first == second:
        slope = 3 * (x1 * x1 - 1) * pow(2 * y1, -1, p)
    else:
        slope = (y2 - y1) * pow(x2 - x1, -1, p)
    x3 = (slope * slope - x1 - x2) % p
    return x3, (slope * (x1 - x3) - y1) % p


def comb_table(p: int, g: Point, size: int, width: int, split: int) -> bytes:
    """Points sum(d_r * 2^(r * columns) * G) of a signed comb, the top row's digit +1.

    With more than one part, `split`, the same follows for 2^(part * ceil(columns / split)) * G.

    Bit r of an entry's index is 1 where d_r = +1. Entries are x then y, `size` little-endian
    bytes each.
    """
    columns = (8 * size + width) // width
    steps = -(columns // -split)
    table = b""
    for _ in range(split):
        rows = [g]
        for _ in range(width - 1):
            rows.append(_doubled(p, rows[-1], columns))
        for index in range(1 << (width - 1)):
            point = rows[-1]
            for row, (x, y) in enumerate(rows[:-1]):
                point = _add(p, point, (x, y if index >> row & 1 else p - y))
            table += b"".join(value.to_bytes(size, "little") for value in point)
        g = _doubled(p, g, steps)
    return table


def _doubled(p: int, point: Point, times: int) -> Point:
    for _ in range(times):
        point = _add(p, point, point)
    return point


def p256_comb(width: int, split: int) -> str:
    """Source of a module of 2^(width + 5) * split bytes for est.comb."""
    table = comb_table(_P256_P, _P256_G, 32, width, split)
    lines = []
    for at in range(0, len(table), 16):
        escaped = "".join(f"\\x{octet:02x}" for octet in table[at : at + 16])
        lines.append(f'    b"{escaped}"')
    return "\n".join(
        [
            '"""Multiples of the P-256 generator for est.comb. Written by mpest.tables."""',
            "",
            "TABLE = (",
            *lines,
            ")",
            "",
        ]
    )


def main() -> None:
    directory = Path(sys.argv[1])
    (directory / "p256_comb5x2.py").write_text(p256_comb(5, 2))
    (directory / "p256_comb7x2.py").write_text(p256_comb(7, 2))


if __name__ == "__main__":
    main()

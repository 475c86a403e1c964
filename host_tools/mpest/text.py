"""Text files as people's editors write them; lines and tables as people read them."""

import codecs
from collections.abc import Sequence


def text_of(data: bytes) -> str:
    """Text in UTF-8, or in UTF-16 where a byte order mark says so; the mark is none of it.

    Raises UnicodeDecodeError.
    """
    utf16 = data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return data.decode("utf-16" if utf16 else "utf-8-sig")


def printable(text: str) -> str:
    """`text` on one line, with escapes for what a terminal would not show as a character: line
    ends, control characters, marks that turn the direction of writing."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns as wide as their text, whatever the terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join(lines)

"""Text files as people's editors write them."""

import codecs


def text_of(data: bytes) -> str:
    """Text in UTF-8, or in UTF-16 where a byte order mark says so; the mark is none of it.

    Raises UnicodeDecodeError.
    """
    utf16 = data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return data.decode("utf-16" if utf16 else "utf-8-sig")

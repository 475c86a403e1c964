"""Dates in HTTP headers (RFC 9110 5.6.7)."""

from micropython import const

from est import clock

_MONTHS = const("JanFebMarAprMayJunJulAugSepOctNovDec")


def unix_time(text):
    """Seconds since 1970 of "Sun, 06 Nov 1994 08:49:37 GMT". Raises ValueError.

    Or as older servers write it: "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994".
    """
    words = text.replace("-", " ").split()
    if len(words) == 5:
        words = words[:1] + [words[2], words[1], words[4], words[3], ""]
    _, day, month, year, hms, _ = words
    if len(year) == 2:
        year = "20" + year  # none that counts is older
    at = _MONTHS.find(month)
    hour, minute, second = [int(part) for part in hms.split(":")]
    if len(month) != 3 or at < 0 or at % 3:
        raise ValueError("no such month: " + month)
    return clock.unix_time(int(year), at // 3 + 1, int(day), hour, minute, second)


def left(text):
    """Seconds from now to that date. Raises ValueError."""
    return unix_time(text) - clock.now()

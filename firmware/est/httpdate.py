"""Dates in HTTP headers (RFC 9110 5.6.7)."""

from micropython import const

from est import clock

_MONTHS = const("JanFebMarAprMayJunJulAugSepOctNovDec")


def unix_time(text):
    """Seconds since 1970 of "Sun, 06 Nov 1994 08:49:37 GMT". Raises ValueError."""
    _, day, month, year, hms, _ = text.split()
    at = _MONTHS.find(month)
    hour, minute, second = [int(part) for part in hms.split(":")]
    if len(month) != 3 or at < 0 or at % 3:
        raise ValueError("no such month: " + month)
    return clock.unix_time(int(year), at // 3 + 1, int(day), hour, minute, second)


def left(text):
    """Seconds from now to that date. Raises ValueError."""
    return unix_time(text) - clock.now()

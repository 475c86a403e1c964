"""The board's clock as X.509 sees it: seconds since 1970, UTC."""

import time

from micropython import const

from est.errors import UsageError

# ESP32 counts from 2000, the others from 1970.
_2000 = const(946684800)
# Boards without a battery wake in 1970, 2000 or 2021: before this code was written.
_EARLIEST = const(1790000000)


def now_or_0():
    """Seconds since 1970-01-01 UTC, or 0 while the clock is not set."""
    seconds = int(time.time())
    if time.gmtime(0)[0] == 2000:
        seconds += _2000
    return seconds if seconds >= _EARLIEST else 0


def now():
    """Seconds since 1970-01-01 UTC. Raises UsageError while the clock is not set."""
    seconds = now_or_0()
    if not seconds:
        raise UsageError(
            "the clock is not set, it says %04d-%02d-%02d: use NTP or an RTC" % time.gmtime()[:3]
        )
    return seconds


def unix_time(*date):
    """Seconds since 1970 of a proleptic Gregorian UTC `date`; any year, unlike time.mktime.

    date: year, month, day, hour, minute, second.
    """
    # Names of arguments stay in a board's heap for good; those of local variables do not.
    year, month, day, hour, minute, second = date
    # Years start in March here, so that the leap day comes last.
    year -= month < 3
    days = 365 * year + year // 4 - year // 100 + year // 400
    days += (153 * ((month + 9) % 12) + 2) // 5 + day - 719469
    return ((days * 24 + hour) * 60 + minute) * 60 + second

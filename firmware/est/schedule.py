"""When a fleet renews, so that its boards do not all come on one day."""

import hashlib

from micropython import const

# Of 65536: 1/24, a half, and 2/3 of a life.
_EARLIEST = const(2731)
_HALF = const(32768)
_LATEST = const(43690)


def share(leaf, first, retried):
    """At which share of its life, in 1/65536, to renew the certificate `leaf` (DER).

    first: boards made on one day spread over the whole of their first life, by the board's unique
    number. Later ones keep their distance. retried: after an outage all that came due meanwhile
    come together, and spread once more.
    """
    drawn = int.from_bytes(hashlib.sha256(first and _unique() or leaf).digest()[:4], "big")
    start = _LATEST - _EARLIEST
    if first:
        start = _EARLIEST
    elif retried:
        start = _HALF
    return start + (drawn * (_LATEST - start) >> 32)


def _unique():
    try:
        import machine

        return machine.unique_id()
    except (ImportError, AttributeError):
        return b""  # a computer: the certificate tells it from others

"""When a fleet renews, so that its boards do not all come on one day."""

import hashlib

from micropython import const

# Of 65536: 1/24 and 2/3 of a life.
_EARLIEST = const(2731)
_LATEST = const(43690)


def share(leaf, first, late, latest=None, spread=None):
    """At which share of its life, in 1/65536, to renew the certificate `leaf` (DER).

    first: boards made on one day spread over the whole of their first life, by the board's unique
    number. Later ones keep their distance, less up to 1/24. late: which share of a life, in
    1/65536, the renewal that brought `leaf` came too late. The next one comes earlier by that: all
    that came due during an outage come at once when it ends, and would do so for ever.
    latest, spread: renew then at the latest, and over how much before that; both in 1/65536.
    """
    drawn = int.from_bytes(hashlib.sha256(first and _unique() or leaf).digest()[:4], "big")
    latest = latest or _LATEST
    start = max(latest - (_EARLIEST if spread is None else spread), _EARLIEST)
    if (first and spread is None) or late > start - _EARLIEST:
        start = _EARLIEST
        late = 0
    return start - late + (drawn * (latest - start) >> 32)


def _unique():
    try:
        import machine

        return machine.unique_id()
    except (ImportError, AttributeError):
        return b""  # a computer: the certificate tells it from others

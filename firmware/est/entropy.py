"""Random bytes fit for keys, whatever the board's os.urandom is worth.

On RP2040 firmware before 1.28 os.urandom is a ring oscillator through an 8-bit LFSR. There many of
its bytes, with when they came and the board's id, are hashed into few; elsewhere the same costs
little. What the source gives is tested all the time as SP 800-90B 4.4 says.
"""

import hashlib
import os
import time

from micropython import const

# A draw: raw bytes hashed into 32, and a window of the tests, which hold each to 4 bits of
# entropy: an eighth of that would do. Their cutoffs refuse a good source once in 2^40: repetition
# count (4.4.1) at 1 + 40 / 4, adaptive proportion (4.4.2) at 1 + CRITBINOM(512, 2^-4, 1 - 2^-40).
_PART = const(128)
_PARTS = const(4)
_REPEATED = const(11)
_FREQUENT = const(78)

_pool = b""
_source = None
_last = None


def use(source):
    """Draw on `source(count)` from now on, not os.urandom: a board's own generator of raw bytes.

    It raises UsageError while it is not ready. None goes back to os.urandom.
    """
    global _source, _last
    _source = source
    _last = None


def add(data):
    """Mix `data` (bytes) in. What is drawn after is as random as without, whatever `data` is."""
    global _pool
    _pool = hashlib.sha256(_pool + data).digest()


def random(count):
    """`count` random bytes. Raises UsageError where there is no source, or it fails its tests."""
    out = b""
    while len(out) < count:
        if _last is None:
            # At the start, and again after a failure, 1024 bytes are tested before any is used
            # (4.3).
            _draw(b"")
            try:
                import machine

                add(machine.unique_id())
            except (ImportError, AttributeError):
                pass  # not on every platform
        out += _draw(_last or b"")
    return out[:count]


def usage_error(text):
    """A UsageError. est.errors takes 1.5 KB of heap: not before there is one."""
    from est.errors import UsageError

    return UsageError(text)


def _draw(last):
    # 32 random bytes. `last` are the raw bytes before those that it draws.
    global _last
    _last = None
    # Its own, for another thread may be drawing.
    state = _pool
    source = _source or getattr(os, "urandom", None)
    if not source:
        raise usage_error("no random source: see est.entropy.use")
    bad = False
    frequent = 0
    first = None
    for _ in range(_PARTS):
        raw = bytes(source(_PART))
        first = first or raw[:1]
        frequent += raw.count(first)
        bad |= len(raw) < _PART or frequent >= _FREQUENT
        last += raw
        # A run that long begins before one of these places and ends behind it.
        for at in range(0, len(last) - 1, _REPEATED - 1):
            if last[at] == last[at + 1]:
                bad |= last[at : at + 1] * _REPEATED in last
        last = last[1 - _REPEATED :]
        state = hashlib.sha256(state + raw + b"%d" % time.ticks_us()).digest()
    if bad:
        raise usage_error("the random source failed")
    _last = last
    add(state)
    return hashlib.sha256(state).digest()

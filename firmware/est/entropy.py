"""Random bytes fit for keys, whatever the board's os.urandom is worth.

On RP2040 firmware before 1.28 os.urandom is a ring oscillator through an 8-bit LFSR. There many of
its bytes, with when they came and the board's id, are hashed into few; elsewhere the same costs
little. What the source gives is tested all the time as SP 800-90B 4.4 says.
"""

import hashlib
import os
import time

from micropython import const

from est.errors import UsageError

# Raw bytes hashed into 32, and a window of the tests, which hold each to 4 bits of entropy: an
# eighth of that would do. Their cutoffs refuse a good source once in 2^40: repetition count
# (4.4.1) at 1 + 40 / 4, adaptive proportion (4.4.2) at 1 + CRITBINOM(512, 2^-4, 1 - 2^-40).
_RAW = const(512)
_REPEATED = const(11)
_FREQUENT = const(78)

_pool = b""
_source = None
_blocks = None


def use(source):
    """Draw on `source(count)` from now on, not os.urandom: a board's own generator of raw bytes.

    It raises UsageError while it is not ready. None goes back to os.urandom.
    """
    global _source, _blocks
    _source = source
    _blocks = None


def add(data):
    """Mix `data` (bytes) in. What is drawn after is as random as without, whatever `data` is."""
    global _pool
    _pool = hashlib.sha256(_pool + data).digest()


def random(count):
    """`count` random bytes. Raises UsageError where there is no source, or it fails its tests."""
    global _blocks
    out = b""
    while len(out) < count:
        raw = _blocks and next(_blocks, None)
        if raw:
            add(raw + b"%d" % time.ticks_us())
            out += hashlib.sha256(_pool).digest()
        else:
            # At the start, and again after a failure: 1024 bytes are tested before any is used
            # (4.3).
            _blocks = _tested(_source or getattr(os, "urandom", None))
            next(_blocks)
    return out[:count]


def _tested(source):
    if not source:
        raise UsageError("no random source: give est.entropy.use one")
    try:
        import machine

        add(machine.unique_id())
    except (ImportError, AttributeError):
        pass  # not on every platform
    joined = b""
    while True:
        raw = source(_RAW)
        bad = len(raw) < _RAW or raw.count(raw[:1]) >= _FREQUENT
        joined = joined[1 - _REPEATED :] + raw
        # A run that long begins before one of these places and ends behind it.
        for at in range(0, len(joined) - 1, _REPEATED - 1):
            if joined[at] == joined[at + 1]:
                bad |= joined[at : at + 1] * _REPEATED in joined
        if bad:
            raise UsageError("the random source is stuck")
        yield raw

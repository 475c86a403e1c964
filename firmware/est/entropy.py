"""Random bytes fit for keys, whatever the board's os.urandom is worth.

On RP2040 firmware before 1.28 os.urandom is a ring oscillator through an 8-bit LFSR; there many of
its bytes, timing jitter and the board's id are hashed into few. Elsewhere the same costs little.
"""

import hashlib
import os
import time

from micropython import const

from est.errors import UsageError

# Bytes of os.urandom hashed into 32 bytes of output: 1 bit of entropy a byte is enough.
_RAW = const(256)

_counter = 0
_source = None


def use(source):
    """Draw on `source(count)` from now on, not os.urandom: a board's own generator of raw bytes.

    None goes back to os.urandom.
    """
    global _source
    _source = source


def random(count):
    """`count` random bytes. Raises UsageError where there is no source, or a visibly stuck one."""
    global _counter
    source = _source or getattr(os, "urandom", None)
    if source is None:
        raise UsageError("this board has no os.urandom: give est.entropy.use its random source")
    out = b""
    while len(out) < count:
        raw = source(_RAW)
        # A source with 1 bit a byte shows fewer than 8 different values once in 2^200.
        if len(set(raw)) < 8:
            raise UsageError("the random source is stuck")
        _counter += 1
        pool = hashlib.sha256(raw)
        pool.update(b"%d %d" % (_counter, time.ticks_us()))
        out += pool.digest()
    return out[:count]

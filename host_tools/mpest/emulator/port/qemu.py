"""Frozen: an emulated board's Board, and what the host that runs it gives it."""

import hashlib
import os

from micropython import const

import bringup
from est import clock, entropy

_SEED = const(32)


def inject(seed):
    """Draw random bytes from `seed`, 32 bytes or more, until the next reset.

    For tests only, unfit for production: whoever knows the seed knows every key made from it.
    """
    if len(seed) < _SEED:
        raise ValueError("the seed must be %d bytes or more" % _SEED)
    state = seed

    def source(count):
        nonlocal state
        out = b""
        while len(out) < count:
            out += hashlib.sha256(b"out" + state).digest()
            state = hashlib.sha256(b"next" + state).digest()
        return out[:count]

    entropy.use(source)


class Board(bringup.Board):
    """No radio, no watchdog; the firmware mounts the storage, the host keeps the time."""

    def wifi(self, ssid=None, password=None, country=None):
        """There is no network: certificates come over the serial port."""

    async def join(self, ssid=None, password=None, country=None):
        pass

    def leave(self):
        pass

    def set_clock(self, server=None):
        """The host's time: est.clock.now()."""
        return clock.now()

    async def set_time(self, server=None):
        return clock.now()

    def unique_id(self):
        """16 hex digits, made on first use and kept in storage; QEMU gives its boards none."""
        path = self.storage + "unique_id"
        try:
            with open(path) as file:
                return file.read()
        except OSError:
            digits = entropy.random(8).hex()
        with open(path + ".new", "w") as file:
            file.write(digits)
        os.rename(path + ".new", path)
        return digits

    def watchdog(self, seconds=None):
        """Nothing to feed: QEMU's boards have none that MicroPython knows."""
        return _Unwatched()


class _Unwatched:
    def feed(self):
        pass

"""Sleeping until the next step is due, and not a moment less.

What ends it early: another process asks (estd.control), SIGHUP, the clock is set or the board
resumes (timerfd), an address or route appears (netlink). Without timerfd it is looked hourly.
"""

import os
import select
import socket
import struct
import time

from micropython import const

from estd import control

_HOUR = const(3600)
_DAY = const(86400)
# Until a network that returns has addresses, routes and name servers.
_SETTLE_MS = const(3000)
# timerfd_create: TFD_NONBLOCK | TFD_CLOEXEC. timerfd_settime: TFD_TIMER_ABSTIME, _CANCEL_ON_SET.
_FLAGS = const(0o2004000)
_ABSOLUTE = const(3)
# AF_NETLINK; RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE.
_NETLINK = const(16)
_GROUPS = const(0x551)
_SIGHUP = const(1)


class Alarm:
    """A timer by the clock of the day, which also goes off when that is set, and after a suspend.

    Raises OSError where the system has none that can be reached.
    """

    def __init__(self):
        try:
            self._calls = _c_library()
        except (ImportError, AttributeError, MemoryError):
            # Such as without memory that is both written to and run, which ctypes may ask for.
            raise OSError(38)  # ENOSYS
        self.number = self._calls[0](0, _FLAGS)
        if self.number < 0:
            raise OSError(38)

    def set(self, seconds):
        """Go off in `seconds`. Returns whether it will."""
        kind, settime = self._calls[1:3]
        when = struct.pack(kind, 0, 0, int(time.time()) + seconds, 0)
        return settime(self.number, _ABSOLUTE, when, None) == 0

    def read(self):
        """Whether it went off because the clock was set. Makes it ready again."""
        return self._calls[3](self.number, bytearray(8), 8) != 8


def _c_library():
    # (timerfd_create, struct's form of itimerspec, timerfd_settime, read).
    try:
        import ffi

        libc = ffi.open(None)
        function = libc.func
    except ImportError:
        import ctypes

        libc = ctypes.CDLL(None)

        def function(result, name, arguments):
            found = getattr(libc, name)
            return lambda *given: found(
                *[bytes_of(value) if isinstance(value, bytearray) else value for value in given]
            )

        def bytes_of(value):
            return (ctypes.c_char * len(value)).from_buffer(value)

    kind = "llll"
    name = "timerfd_settime"
    if struct.calcsize("l") == 4:
        # Seconds beyond 2038 take the newer function.
        name = "__timerfd_settime64"
        kind = "qqqq"
    create = function("i", "timerfd_create", "ii")
    settime = function("i", name, "iipp")
    return create, kind, settime, function("i", "read", "ipi")


def _network():
    # A socket that tells of addresses and routes, None where there is none.
    try:
        sock = socket.socket(_NETLINK, socket.SOCK_RAW, 0)
        if hasattr(os, "fspath"):
            sock.bind((0, _GROUPS))
        else:
            sock.bind(struct.pack("HHII", _NETLINK, 0, 0, _GROUPS))
        sock.setblocking(False)
        return sock
    except OSError:
        return None


class Hangup:
    """SIGHUP as something to wait for. Raises OSError where that cannot be had."""

    def __init__(self):
        if hasattr(os, "fspath"):
            import signal

            self._here, self._there = socket.socketpair()
            for sock in (self._here, self._there):
                sock.setblocking(False)
            signal.set_wakeup_fd(self._there.fileno(), warn_on_full_buffer=False)
            signal.signal(signal.SIGHUP, lambda number, frame: None)
            self.number = self._here.fileno()
            return
        try:
            import ffi
        except ImportError:
            raise OSError(38)
        libc = ffi.open(None)
        self._here = None
        mask = bytearray(128)  # sigset_t
        mask[0] = 1 << (_SIGHUP - 1)
        libc.func("i", "sigprocmask", "ipp")(0, mask, None)
        self.number = libc.func("i", "signalfd", "ipi")(-1, mask, _FLAGS)
        self._read = libc.func("i", "read", "ipi")
        if self.number < 0:
            raise OSError(38)

    def read(self):
        """Make it ready again."""
        if self._here:
            self._here.recv(4096)
        else:
            self._read(self.number, bytearray(128), 128)


class Bed:
    """Where the agent sleeps. listener: the socket of estd.control, or None."""

    def __init__(self, listener=None):
        self.listener = listener
        self.alarm = _or_none(Alarm)
        self.hangup = _or_none(Hangup)
        self._netlink = None

    def sleep(self, seconds, watch_network=False):
        """Sleep for `seconds` at most. Returns why it ended, and what for.

        ("time", None), ("clock", None), ("network", None), ("hangup", None), or ("caller", the
        estd.control.Caller). watch_network: whether a network that returns is worth to wake for.
        """
        seconds = min(seconds, _DAY if self.alarm else _HOUR)
        if self.alarm and not self.alarm.set(seconds):
            self.alarm = None
            seconds = min(seconds, _HOUR)
        poll = select.poll()
        for number in [self.listener and self.listener.fileno()] + [
            source and source.number for source in (self.alarm, self.hangup)
        ]:
            if number is not None:
                poll.register(number, select.POLLIN)
        if watch_network:
            self._netlink = self._netlink or _network()
            if self._netlink:
                poll.register(self._netlink.fileno(), select.POLLIN)
        elif self._netlink:
            self._netlink.close()
            self._netlink = None
        # The alarm goes by the clock of the day; without it the time that is awake counts.
        end = time.time() + seconds
        while True:
            ready = [item[0] for item in _poll(poll, -1 if self.alarm else seconds * 1000)]
            if self.hangup and self.hangup.number in ready:
                self.hangup.read()
                return "hangup", None
            if self.listener and self.listener.fileno() in ready:
                caller = control.accept(self.listener)
                if caller:
                    return "caller", caller
            if self.alarm and self.alarm.number in ready:
                return "clock" if self.alarm.read() else "time", None
            if self._netlink and self._netlink.fileno() in ready:
                self._settle()
                return "network", None
            if not self.alarm and time.time() >= end:
                return "time", None

    def close(self):
        """Close what a program that takes this one's place would inherit from MicroPython."""
        for source in (self.listener, self._netlink):
            if source:
                source.close()
        self.listener = self._netlink = None

    def _settle(self):
        # Wait until the network says nothing new for a moment; what it said is not needed.
        poll = select.poll()
        poll.register(self._netlink.fileno(), select.POLLIN)
        for _ in range(10):
            try:
                while self._netlink.recv(65536):
                    pass
            except OSError:
                pass  # nothing is left; or more came than was kept
            if not _poll(poll, _SETTLE_MS):
                return


def _poll(poll, ms):
    try:
        return poll.poll(ms)
    except OSError as error:
        if error.errno != 4:  # EINTR
            raise
        return []


def _or_none(kind):
    try:
        return kind()
    except OSError:
        return None

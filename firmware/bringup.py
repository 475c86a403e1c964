"""What a board needs before it can enrol: Wi-Fi, the time, randomness, storage; and a watchdog.

`wiring.py` in each folder of boards/ derives its `Board` from the one here.
"""

import os
import time

from micropython import const

from est import clock, entropy, run
from est.errors import PeerError, StorageError, UsageError

_WIFI_TRIES = const(4)
_WIFI_MS = const(15000)
_POLL_MS = const(200)
_NTP = const("pool.ntp.org")
# Name resolution included.
_NTP_MS = const(10000)
# From 1970 to where ESP32's clock begins.
_2000 = const(946684800)


class Board:
    """What this piece of hardware can do; `wiring.py` says what is different about it."""

    storage = "/"  # folder for est.store.Store
    reconnects = False  # the Wi-Fi driver tries for ever unless told otherwise
    radio_random = False  # os.urandom is random only while the radio is on
    watchdog_ms = None  # the longest the hardware's watchdog waits, where that is short

    def __init__(self):
        if self.radio_random:
            entropy.use(_with_radio)

    def wifi(self, ssid, password=None, country=None):
        """Join a Wi-Fi network, unless it is joined. Returns the board's IP address (str).

        password: None for an open network. country: where the board is, two letters (ISO 3166-1);
        channels and power depend on it. Raises PeerError.
        """
        for _ in self._joining(ssid, password, country):
            time.sleep_ms(_POLL_MS)
        return _station().ifconfig()[0]

    async def join(self, ssid=None, password=None, country=None):
        """As `wifi`, beside other tasks of asyncio.

        Without `ssid` the network is the application's: it is only waited for.
        """
        import asyncio

        for _ in self._joining(ssid, password, country):
            await asyncio.sleep(_POLL_MS / 1000)

    def is_up(self):
        """Whether there is a network."""
        return _station().isconnected()

    def leave(self):
        """Leave the Wi-Fi: what joins next begins anew."""
        station = _station()
        try:
            station.disconnect()
        except OSError:
            pass  # some drivers raise where nothing is joined
        station.active(False)

    def _joining(self, ssid, password, country):
        # Yields while it waits.
        if ssid is None:
            for _ in range(_WIFI_TRIES * _WIFI_MS // _POLL_MS):
                if self.is_up():
                    return
                yield
            raise PeerError("the network is down: without ssid the application brings it up")
        import network

        if country:
            network.country(country)
        station = _station()
        station.active(True)
        for _ in range(_WIFI_TRIES):
            if (yield from self._join(station, ssid, password)):
                return
        status = station.status()
        reason = "no answer"
        if status == getattr(network, "STAT_WRONG_PASSWORD", None):
            reason = "the password is wrong"
        elif status == getattr(network, "STAT_NO_AP_FOUND", None):
            reason = "it is not in reach"
        raise PeerError("cannot join the Wi-Fi %s: %s (status %s)" % (ssid, reason, status))

    def _join(self, station, ssid, password):
        if not station.isconnected():
            try:
                station.disconnect()
                if self.reconnects:
                    station.config(reconnects=1)
                station.connect(ssid, password)
            except OSError:
                pass  # some drivers raise while they still try: what counts is whether they join
            start = time.ticks_ms()
            while not station.isconnected():
                if time.ticks_diff(time.ticks_ms(), start) > _WIFI_MS:
                    return False
                yield
            if self.reconnects:
                station.config(reconnects=-1)  # joined: from now on come back by itself
        return True

    def set_clock(self, server=_NTP):
        """Set the clock by NTP, which nothing authenticates. Returns est.clock.now().

        server: None where something else sets it. Raises PeerError, or UsageError where the time
        cannot be.
        """
        return run(self._setting(server))

    async def set_time(self, server=_NTP):
        """As `set_clock`, beside other tasks of asyncio."""
        from est import steps

        return await steps.wait(self._setting(server))

    def _setting(self, server):
        # In steps (est.run).
        if server is None:
            return clock.now()
        import machine

        import ntp

        seconds = yield from ntp.ask(server, _NTP_MS)
        if time.gmtime(0)[0] == 2000:
            seconds -= _2000
        year, month, day, hour, minute, second, weekday = time.gmtime(seconds)[:7]
        machine.RTC().datetime((year, month, day, weekday + 1, hour, minute, second, 0))
        return clock.now()

    def check_entropy(self):
        """Raise UsageError unless keys can be made now."""
        entropy.random(1)

    def check_storage(self):
        """Folder for est.store.Store. Raises StorageError if no file system is mounted there.

        Room is not checked here: its lack stops a new order only (est.room).
        """
        try:
            os.statvfs(self.storage)
        except OSError as error:
            raise StorageError("no file system is mounted at %s: %s" % (self.storage, error))
        return self.storage

    def unique_id(self):
        """The chip's number in hex. Anybody can learn it: fit for a name, not for a secret."""
        import machine

        return "".join("%02x" % octet for octet in machine.unique_id())

    def was_bitten(self):
        """Whether the watchdog, or a reset that works by it, ended what ran before."""
        import machine

        cause = getattr(machine, "reset_cause", None)  # not every port tells
        return bool(cause) and cause() == machine.WDT_RESET

    def watchdog(self, seconds=120):
        """A `Watchdog`; once started it cannot be stopped."""
        return Watchdog(seconds * 1000, self.watchdog_ms)


def _station():
    import network

    return network.WLAN(network.STA_IF)


def _with_radio(count):
    # Source of est.entropy that is not ready before the radio is on.
    if not _station().active():
        raise UsageError("without Wi-Fi this board's random numbers are not: join first")
    return os.urandom(count)


class Watchdog:
    """Resets the board unless `feed` is called at least every `timeout` ms.

    longest: ms that the hardware's watchdog waits at most. An enrolment may take longer: then a
        timer feeds it meanwhile.
    """

    def __init__(self, timeout, longest=None):
        import machine

        self._timeout = timeout
        self._fed = time.ticks_ms()
        self._timer = None
        if longest is None or timeout <= longest:
            self._dog = machine.WDT(timeout=timeout)
        else:
            self._dog = machine.WDT(timeout=longest)
            self._timer = machine.Timer(-1, period=longest // 4, callback=self._tick)

    def _tick(self, _timer):
        if time.ticks_diff(time.ticks_ms(), self._fed) < self._timeout:
            self._dog.feed()

    def feed(self):
        self._fed = time.ticks_ms()
        self._dog.feed()

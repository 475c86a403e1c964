"""A small Linux computer: network, time and watchdog are the system's."""

import os

import bringup
from est import clock
from est.errors import UsageError

_INTERFACES = "/sys/class/net"


class Board(bringup.Board):
    storage = "."

    def wifi(self, ssid=None, password=None, country=None):
        """The system joins networks."""

    async def join(self, ssid=None, password=None, country=None):
        pass

    def is_up(self):
        return True

    def leave(self):
        pass

    def set_clock(self, server=None):
        """The system sets the clock: est.clock.now(), which raises UsageError until it did."""
        return clock.now()

    async def set_time(self, server=None):
        return clock.now()

    def unique_id(self):
        """The first network interface's MAC address in hex."""
        try:
            names = os.listdir(_INTERFACES)
        except OSError:
            names = ()  # no Linux, or without sysfs
        for name in sorted(names):
            try:
                with open("%s/%s/address" % (_INTERFACES, name)) as file:
                    address = file.read().strip().replace(":", "")
            except OSError:
                continue
            if address.strip("0"):
                return address
        raise UsageError("no network interface has a MAC address in %s" % _INTERFACES)

    def was_bitten(self):
        return False

    def watchdog(self, seconds=None):
        """Nothing to feed: the system's service manager watches processes."""
        return _Unwatched()


class _Unwatched:
    def feed(self):
        pass

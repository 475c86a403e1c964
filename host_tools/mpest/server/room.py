"""How many connections there may be, and which one goes when there is no room for a new one."""

import ipaddress
import resource
import time
from collections.abc import Iterator
from typing import Protocol

from mpest.server.config import Limits

_MOST = 4096  # connections where descriptors have no limit
_SHARE = 0.75  # of the descriptors; files need some, and connections that are just closing
_FAIR_SECONDS = 2.0  # so long others of its address do not push out a client


class Guest(Protocol):
    """A connection, as far as its room goes."""

    address: str
    """As `network` has it."""
    waits_since: float
    """By time.monotonic, when the server last began to wait for a request of it."""

    @property
    def waits(self) -> bool:
        """Whether it is the client's turn."""

    def end_if_late(self) -> None: ...

    def end_soon(self) -> bool:
        """Take no more than the request that has begun, if one has, which is returned."""

    def drop(self) -> None:
        """End it at once, and leave the room."""


class Room:
    """Room for connections, of which one address has at most its share."""

    def __init__(self, limits: Limits) -> None:
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if descriptors == resource.RLIM_INFINITY:
            descriptors = 2 * _MOST
        self._most = min(limits.connections, max(1, int(descriptors * _SHARE)))
        share = max(1, self._most // 2)
        self._most_of_one = min(limits.connections_of_one_address or share, self._most)
        self.count = 0
        # By address; the server has waited for the first one the longest.
        self._guests: dict[str, dict[Guest, None]] = {}

    def __iter__(self) -> Iterator[Guest]:
        return iter([guest for same in self._guests.values() for guest in same])

    def enter(self, guest: Guest) -> None:
        self._guests.setdefault(guest.address, {})[guest] = None
        self.count += 1

    def leave(self, guest: Guest) -> None:
        same = self._guests.get(guest.address, {})
        if guest in same:
            del same[guest]
            self.count -= 1
        if not same:
            self._guests.pop(guest.address, None)

    def put_last(self, guest: Guest) -> None:
        """The server has begun to wait for it anew."""
        same = self._guests.get(guest.address, {})
        if guest in same:
            same[guest] = same.pop(guest)

    def make(self, address: str) -> bool:
        """Whether there is room for one more of `address`, if need be by dropping the oldest that
        waits, of those who have the most."""
        own = self._guests.get(address, {})
        if len(own) >= self._most_of_one:
            crowds = [own]
        elif self.count >= self._most:
            crowds = sorted(self._guests.values(), key=len, reverse=True)
        else:
            return True
        for crowd in crowds:
            oldest = next((guest for guest in crowd if guest.waits), None)
            if oldest is None:
                continue
            if len(crowd) <= len(own) and time.monotonic() < oldest.waits_since + _FAIR_SECONDS:
                return False
            oldest.drop()
            return True
        return False

    def drop_oldest(self, count: int) -> None:
        """Drop so many of those that wait, whoever they are."""
        waiting = sorted((guest for guest in self if guest.waits), key=lambda one: one.waits_since)
        for guest in waiting[:count]:
            guest.drop()


def network(address: str) -> str:
    """What counts as one address: of IPv6 a network of /64, which is what one client may have."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))

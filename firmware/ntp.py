"""The time of an NTP server (RFC 5905), which nothing authenticates."""

import os
import select
import socket
import time

from micropython import const

from est.errors import PeerError

_PORT = const(123)
# Of a request or answer without extensions.
_SIZE = const(48)
# One that is lost is not waited for any longer.
_ANSWER_MS = const(1500)
# From 1900 to 1970; the seconds' 32 bits begin anew in 2036.
_1970 = const(2208988800)
_ERA = const(0x100000000)


def ask(server, ms, port=_PORT):
    """Unix seconds by `server`, in steps (est.run), within `ms` milliseconds. Raises PeerError."""
    end = time.ticks_add(time.ticks_ms(), ms)

    def left():
        ms = time.ticks_diff(end, time.ticks_ms())
        if ms <= 0:
            raise PeerError("the time server %s does not answer" % server)
        return ms

    try:
        addresses = yield from _find(server, port, left)
    except OSError as error:
        raise PeerError("no address known for the time server %s (%s)" % (server, error))
    turn = 0
    while True:
        seconds = yield from _exchange(addresses[turn % len(addresses)], left)
        if seconds:
            return seconds
        turn += 1


def _find(server, port, left):
    try:
        from est import lookup
    except ImportError:
        return socket.getaddrinfo(server, port, 0, socket.SOCK_STREAM)
    return (yield from lookup.find(server, port, left))


def _exchange(address, left):
    # Unix seconds, or None without an answer of use.
    until = max(left() - _ANSWER_MS, 0)
    # A number in place of our time: whoever has not seen it cannot answer.
    number = os.urandom(8)
    answer = b""
    sock = socket.socket(address[0], socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        try:
            sock.connect(address[-1])  # nobody else's answers
            sock.send(b"\x23" + bytes(_SIZE - 9) + number)
        except OSError:
            pass  # as good as lost
        while left() > until:
            try:
                answer = sock.recv(_SIZE)
            except OSError:
                pass  # not yet, or nobody is there
            if _is_good(answer, number):
                seconds = int.from_bytes(answer[40:44], "big")
                return seconds - _1970 + (0 if seconds >> 31 else _ERA)
            yield poll
    finally:
        sock.close()


def _is_good(answer, number):
    # Of a server (mode 4) that has the time itself: no alarm, and a stratum.
    return (
        len(answer) == _SIZE
        and answer[0] & 7 == 4
        and answer[0] >> 6 != 3
        and 0 < answer[1] < 16
        and answer[24:32] == number
    )

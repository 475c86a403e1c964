"""The time of an NTP server that answers, lies, or is silent."""

import socket
import time

import ntp
from check import raises
from est import run
from est.errors import PeerError

# 2026-11-29 21:30:01 in Unix seconds, and as NTP counts.
_UNIX = 1795987801
_NTP = 4004976601


class Server:
    """On loopback; `answer` gives what it sends back to a request, None: nothing."""

    def __init__(self, answer):
        self.answer = answer
        self.requests = []
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        for self.port in range(20123, 20223):
            try:
                self.sock.bind(socket.getaddrinfo("127.0.0.1", self.port)[0][-1])
                break
            except OSError:
                pass

    def steps(self, ms):
        asking = ntp.ask("127.0.0.1", ms, self.port)
        while True:
            try:
                waits = next(asking)
            except StopIteration as stop:
                return stop.value
            self._serve()
            yield waits

    def _serve(self):
        try:
            request, client = self.sock.recvfrom(100)
        except OSError:
            return
        self.requests.append(request)
        answer = self.answer(request)
        if answer:
            self.sock.sendto(answer, client)

    def ask(self, ms=5000):
        try:
            return run(self.steps(ms))
        finally:
            self.sock.close()


def good(request, seconds=_NTP, first=0x24, stratum=2):
    answer = bytearray(48)
    answer[0] = first
    answer[1] = stratum
    answer[24:32] = request[40:48]
    answer[40:44] = seconds.to_bytes(4, "big")
    return bytes(answer)


def test_the_time():
    server = Server(good)
    assert server.ask() == _UNIX
    assert len(server.requests) == 1
    request = server.requests[0]
    # A client of version 4, which tells nothing of itself but a number.
    assert len(request) == 48 and request[0] == 0x23 and not any(request[1:40])


def test_after_2036():
    assert Server(lambda request: good(request, 5)).ask() == 0x100000000 - 2208988800 + 5


def test_answers_that_are_none():
    for bad in (
        lambda request: b"",
        lambda request: good(request)[:47],
        lambda request: good(request, first=0x23),  # a client's
        lambda request: good(request, first=0xE4),  # it does not know the time itself
        lambda request: good(request, stratum=0),  # it wants to be left alone
        lambda request: good(request, stratum=16),
        lambda request: good(bytes(48)),  # to somebody else's request
        lambda request: bytes(48),
        lambda request: None,
    ):
        error = raises(PeerError, Server(bad).ask, 200)
        assert "the time server 127.0.0.1 does not answer" in str(error)


def test_one_that_is_lost_is_sent_again():
    server = Server(lambda request: good(request) if len(server.requests) > 1 else None)
    start = time.ticks_ms()
    assert server.ask() == _UNIX
    assert time.ticks_diff(time.ticks_ms(), start) > 1000
    assert server.requests[0] != server.requests[1]


def test_nobody_is_there():
    start = time.ticks_ms()
    raises(PeerError, run, ntp.ask("127.0.0.1", 300, 1))
    assert time.ticks_diff(time.ticks_ms(), start) < 5000


def test_no_such_name():
    error = raises(PeerError, run, ntp.ask("time.invalid.", 300))
    assert "time.invalid" in str(error)

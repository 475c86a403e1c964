"""Addresses of a host, without holding a loop: getaddrinfo blocks for as long as nobody answers.

Where Python's threads take turns (CPython, ESP32) it runs in one. Elsewhere, as on the Pico W, the
network's DNS server is asked here, once, for IPv4 addresses (RFC 1035).
"""

import os
import select
import socket
import sys

from micropython import const

from est.errors import PeerError

_PORT = const(53)
# Without EDNS no answer is longer (RFC 1035 4.2.1).
_MAX_ANSWER = const(512)
# An answer holds a chain of names and a few addresses.
_MAX_RECORDS = const(32)
_MAX_ADDRESSES = const(4)
_A = const(1)
_IN = const(1)


def find(host, port, left):
    """What socket.getaddrinfo gives of `host` and `port` for TCP, in steps (est.run).

    left: function that gives the milliseconds that are left, and raises PeerError without any.
    Raises OSError where there is no such host, PeerError without a network.
    """
    if _is_address(host):
        return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    if sys.platform == "esp32" or sys.implementation.name == "cpython":
        return (yield from _in_thread(host, port, left))
    addresses = _known(host)
    if not addresses:
        addresses = yield from _ask(host, _server(), left)
    return [socket.getaddrinfo(address, port, 0, socket.SOCK_STREAM)[0] for address in addresses]


def _is_address(host):
    # IPv6, or IPv4.
    return ":" in host or host.replace(".", "").isdigit()


def _in_thread(host, port, left):
    import _thread

    outcome = []

    def ask():
        try:
            outcome.append(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM))
        except (OSError, ValueError) as error:  # the latter: a label that is empty or too long
            outcome.append(OSError(str(error)))

    _thread.start_new_thread(ask, ())
    # Nothing is sent there: est.run and est.steps look again after their usual time.
    silent = select.poll()
    while not outcome:
        left()
        yield silent
    if isinstance(outcome[0], OSError):
        raise outcome[0]
    return outcome[0]


def _known(host):
    # Addresses (text) that a Unix system has in its table.
    addresses = []
    try:
        # As octets: a comment may be in any encoding.
        with open("/etc/hosts", "rb") as file:
            for line in file:
                words = line.partition(b"#")[0].lower().split()
                if host.lower().encode() in words[1:] and b"." in words[0]:
                    addresses.append(words[0].decode())
    except OSError:
        pass  # a board
    return addresses


def _server():
    # The DNS server's address (text).
    try:
        import network
    except ImportError:
        with open("/etc/resolv.conf") as file:
            for line in file:
                words = line.split()
                if words[:1] == ["nameserver"] and "." in line:
                    return words[1]
        raise OSError(2)
    station = network.WLAN(network.STA_IF)
    if not station.isconnected():
        raise PeerError("the network is down")
    return station.ifconfig()[3]


def _ask(host, server, left, port=_PORT):
    # IPv4 addresses (text) that `server` says `host` has.
    number = os.urandom(2)
    name = b"".join([bytes((len(label),)) + label for label in host.encode().split(b".") if label])
    question = name + bytes((0, 0, _A, 0, _IN))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        # Nobody else's answers.
        sock.connect(socket.getaddrinfo(server, port, 0, socket.SOCK_DGRAM)[0][-1])
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        sock.send(number + b"\1\0\0\1\0\0\0\0\0\0" + question)
        while True:
            while not poll.poll(0):
                left()
                yield poll
            answer = sock.recv(_MAX_ANSWER)
            if answer[:2] == number and question.lower() in answer.lower():
                return addresses(answer)
    finally:
        sock.close()


def addresses(answer):
    """IPv4 addresses (text) in a DNS answer (bytes). Raises OSError where it has none."""
    texts = []
    try:
        at = 12
        for _ in range(int.from_bytes(answer[4:6], "big")):
            at = _after_name(answer, at) + 4
        for _ in range(min(int.from_bytes(answer[6:8], "big"), _MAX_RECORDS)):
            at = _after_name(answer, at) + 10
            size = int.from_bytes(answer[at - 2 : at], "big")
            data = answer[at : at + size]
            at += size
            if answer[at - size - 10 : at - size - 6] == bytes((0, _A, 0, _IN)) and len(data) == 4:
                texts.append(".".join([str(octet) for octet in data]))
    except IndexError:
        pass  # cut off: what came counts
    if not texts:
        raise OSError(-2)  # no such host, as CPython's getaddrinfo numbers it
    return texts[:_MAX_ADDRESSES]


def _after_name(answer, at):
    # Where the name at `at` ends, which may be a pointer.
    while answer[at] and answer[at] < 0xC0:
        at += answer[at] + 1
    return at + (2 if answer[at] else 1)

"""Addresses of hosts: what a DNS server answers, and asking one without waiting for it."""

import io
import os
import socket
import sys

import check
from est import lookup, run
from est.errors import PeerError

NAME = b"\3est\7example\0"
QUESTION = NAME + b"\0\1\0\1"
POINTER = b"\xc0\x0c"


def record(data, kind=1, name=POINTER, group=1):
    return name + bytes((0, kind, 0, group, 0, 0, 0, 9, 0, len(data))) + data


def answer(*records, number=b"ab", questions=1):
    head = number + b"\x81\x80" + bytes((0, questions, 0, len(records), 0, 0, 0, 0))
    return head + QUESTION * questions + b"".join(records)


ALIAS = record(b"\3www" + POINTER, 5)
FIRST = record(b"\xc0\0\2\1")
SECOND = record(b"\xc0\0\2\2", name=NAME)


def test_addresses():
    for data, expected in (
        (answer(FIRST), ["192.0.2.1"]),
        (answer(ALIAS, FIRST, SECOND), ["192.0.2.1", "192.0.2.2"]),
        (answer(FIRST, questions=0), ["192.0.2.1"]),
        (answer(FIRST, FIRST, FIRST, FIRST, FIRST, FIRST), ["192.0.2.1"] * 4),
        # IPv6, another class, and an address of another length are none.
        (answer(record(bytes(16), 28), record(bytes(4), 1, POINTER, 3), SECOND), ["192.0.2.2"]),
        (answer(record(bytes(5)), SECOND), ["192.0.2.2"]),
        # Cut off: what came counts.
        (answer(FIRST, SECOND)[:-1], ["192.0.2.1"]),
    ):
        assert lookup.addresses(data) == expected, data
    for data in (b"", bytes(12), answer(), answer(ALIAS), answer(FIRST)[:-1], b"\xff" * 512):
        check.raises(OSError, lookup.addresses, data)


def test_malformed_answers():
    good = answer(ALIAS, FIRST, SECOND)

    def parse(data):
        try:
            return lookup.addresses(data)
        except OSError:
            raise PeerError("none")

    for size in range(len(good)):
        try:
            assert set(parse(good[:size])) <= {"192.0.2.1", "192.0.2.2"}
        except PeerError:
            pass
    check.mutated(parse, good)


def server():
    """(UDP socket, its port)."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while True:
        port = 20000 + int.from_bytes(os.urandom(2), "big") % 20000
        try:
            sock.bind(socket.getaddrinfo("127.0.0.1", port, 0, socket.SOCK_DGRAM)[0][-1])
            sock.setblocking(False)
            return sock, port
        except OSError:
            pass  # somebody has it


def asked(replies, patience=50):
    """What is found where the server sends `replies(question)` to each question."""
    sock, port = server()
    left = [patience]

    def time_left():
        left[0] -= 1
        if not left[0]:
            raise PeerError("the server took too long")

    def driven():
        steps = lookup._ask("est.example", "127.0.0.1", time_left, port)
        try:
            while True:
                next(steps)
                try:
                    question, sender = sock.recvfrom(512)
                except OSError:
                    question = b""
                for reply in replies(question) if question else ():
                    sock.sendto(reply, sender)
                yield
        except StopIteration as stop:
            return stop.value

    try:
        return run(driven())
    finally:
        sock.close()


def test_asking():
    seen = []

    def good(question):
        seen.append(question)
        return [answer(ALIAS, FIRST, number=question[:2])]

    assert asked(good) == ["192.0.2.1"]
    assert seen[0][2:] == b"\1\0\0\1\0\0\0\0\0\0" + QUESTION

    def strays(question):
        # Answers to others' questions are passed over.
        number = question[:2]
        return [
            b"",
            answer(SECOND, number=bytes((number[0] ^ 1, number[1]))),
            answer(SECOND, number=number).replace(b"example", b"exbmple"),
            answer(FIRST, number=number),
        ]

    assert asked(strays) == ["192.0.2.1"]

    def in_capitals(question):
        return [answer(FIRST, number=question[:2]).replace(b"example", b"eXAMPLE")]

    assert asked(in_capitals) == ["192.0.2.1"]
    check.raises(OSError, asked, lambda question: [answer(number=question[:2])])
    check.raises(PeerError, asked, lambda question: [])


def test_the_table_of_hosts():
    """Names are compared without case (RFC 4343)."""
    table = b"# M\xfcller\n192.0.2.1 Est.Example est # other\n::1 est\n192.0.2.2\tx est.exAMPLE\n"
    lookup.open = lambda *_: io.BytesIO(table)
    try:
        for host in ("est.example", "EST.example"):
            assert lookup._known(host) == ["192.0.2.1", "192.0.2.2"]
        assert lookup._known("Est") == ["192.0.2.1"]
        for host in ("other", "192.0.2.1", "example"):
            assert lookup._known(host) == []
    finally:
        del lookup.open


def test_the_list_of_servers():
    lines = "# a.b\nnameserver\nnameserver ::1\nnameserver 192.0.2.1 x\nnameserver 192.0.2.2\n"
    lookup.open = lambda _: io.StringIO(lines)
    # Not one of the host's by that name.
    kept = sys.modules.get("network")
    if sys.implementation.name == "cpython":
        sys.modules["network"] = None
    try:
        assert lookup._server() == "192.0.2.1"
        lines = "nameserver\n"
        check.raises(OSError, lookup._server)
    finally:
        del lookup.open
        if sys.implementation.name == "cpython":
            del sys.modules["network"]
        if kept:
            sys.modules["network"] = kept


def test_a_name_that_is_none():
    for host in ("a..example", "a" * 64 + ".example"):
        error = check.raises(OSError, run, lookup._in_thread(host, 443, lambda: 1000))
        assert "too long" in str(error) or "-2" in str(error), error


def test_what_needs_no_asking():
    for host in ("127.0.0.1", "localhost"):
        found = run(lookup.find(host, 443, lambda: 1000))
        assert found and found[0][1] == socket.SOCK_STREAM

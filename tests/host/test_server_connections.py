"""Clients that say little, late or never: each has its time, and none keeps others out."""

import asyncio
import os
import re
import resource
import socket
import time
from contextlib import suppress

import pytest
from server_client import connect, exchange, get, tls_context

from mpest.server import EstServer, Limits, ServerConfig, room, throttle
from mpest.server.serving import as_line

SHORT = 0.2
HEADER = b"POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: localhost\r\n"
# A limit, whether TLS is set up, what is sent, and what is said in the end.
LATE = {
    "handshake": (False, b"", "the TLS handshake took too long"),
    "header": (True, HEADER, "the request's header took too long"),
    "body": (True, HEADER + b"Content-Length: 9\r\n\r\n", "the request's body took too long"),
    "idle": (True, b"", None),
}


def server_with(tmp_path, told=None, **limits):
    config = ServerConfig(directory=tmp_path / "ca", limits=Limits(**limits))
    return EstServer(config, told.append if told is not None else None)


async def opened(server, address="127.0.0.1", tls=True):
    return await asyncio.open_connection(
        "127.0.0.1",
        server.port,
        ssl=tls_context(server) if tls else None,
        local_addr=(address, 0),
    )


async def ended(reader):
    """What comes until the server ends the connection."""
    with suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(), 60)
    return b""


async def served(server, address="127.0.0.1"):
    reader, writer = await opened(server, address)
    writer.write(get("cacerts"))
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("limit", LATE)
async def test_time_is_up(tmp_path, limit):
    tls, sent, reason = LATE[limit]
    told = []
    async with server_with(tmp_path, told, **{limit: SHORT}) as server:
        reader, writer = await opened(server, tls=tls)
        writer.write(sent)
        await ended(reader)
        writer.close()
        reasons = [event["reason"] for event in told if event["event"] == "connection"]
        assert reasons == ([reason] if reason else [])
        assert await served(server)


async def test_a_client_that_does_not_fetch_its_answer(tmp_path):
    told = []
    async with server_with(tmp_path, told, body=SHORT) as server:
        server.config.faults = {"huge-body"}
        reader, writer = await opened(server)
        writer.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, 4096
        )
        writer.transport.pause_reading()
        writer.write(get("cacerts").replace(b"Connection: close\r\n", b"") * 5)
        until = time.monotonic() + 60
        while not any(event["event"] == "connection" for event in told):
            assert time.monotonic() < until
            await asyncio.sleep(0.1)
        assert "the answer's way to the client took too long" in told[-1]["reason"]
        writer.transport.abort()
        del reader


@pytest.mark.parametrize("fault", ["slow-drip", "late"])
async def test_a_server_that_is_slow_itself(tmp_path, fault):
    """The limits are the clients'."""
    limits = dict.fromkeys(("header", "body", "idle"), 2 * SHORT)
    async with server_with(tmp_path, **limits) as server:
        server.config.faults = {fault}
        server.config.drip_interval = 0.5 if fault == "late" else 0.002
        begun = time.monotonic()
        answer = await exchange(server, get("cacerts"))
        assert time.monotonic() - begun > 1.2, "the limits did not matter"
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(re.search(rb"Content-Length: (\d+)", head)[1]) == len(body)


async def test_the_oldest_makes_room(tmp_path):
    async with server_with(tmp_path, connections=4) as server:
        idle = [await opened(server, f"127.0.0.{number}") for number in (2, 2, 3, 3)]
        assert await served(server)
        assert await ended(idle[0][0]) == b""
        for reader, writer in idle[1:]:
            assert not reader.at_eof()
            writer.write(get("cacerts"))
            assert (await ended(reader)).startswith(b"HTTP/1.1 200")


async def test_who_has_most_makes_room(tmp_path):
    async with server_with(tmp_path, connections=6) as server:
        few = [await opened(server, "127.0.0.2") for _ in range(2)]
        many = [await opened(server, "127.0.0.3") for _ in range(3)]
        assert await served(server)
        more = [await opened(server, f"127.0.0.{number}") for number in range(4, 6)]
        assert await ended(many[0][0]) == b""
        assert not any(reader.at_eof() for reader, _ in few + many[1:] + more)


async def test_one_address_pushes_out_nobody_else(tmp_path, monkeypatch):
    told = []
    limits = {"connections": 100, "connections_of_one_address": 2}
    async with server_with(tmp_path, told, **limits) as server:
        others = [await opened(server, "127.0.0.2") for _ in range(2)]
        idle = [await opened(server) for _ in range(2)]
        # Nor those of its own that have only just come.
        with pytest.raises(OSError):
            await served(server)
        assert "too many connections" in told[-1]["reason"]
        monkeypatch.setattr(room, "_FAIR_SECONDS", 0)
        assert await served(server)
        assert await ended(idle[0][0]) == b""
        assert not any(reader.at_eof() for reader, _ in [*others, idle[1]])


async def test_one_address_may_have_all(tmp_path):
    """As a proxy does that passes TLS on."""
    async with server_with(tmp_path, connections=4, connections_of_one_address=9) as server:
        idle = [await opened(server) for _ in range(3)]
        assert await served(server)
        for reader, writer in idle:
            writer.write(get("cacerts"))
            assert (await ended(reader)).startswith(b"HTTP/1.1 200")


async def test_an_answer_under_way_is_not_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "_FAIR_SECONDS", 0)
    async with server_with(tmp_path, connections=1) as server:
        server.config.faults = {"late"}
        server.config.drip_interval = 0.7
        asking = asyncio.create_task(exchange(server, get("cacerts")))
        while not server.events:
            await asyncio.sleep(0.01)
        for _ in range(5):
            with pytest.raises(OSError):
                await served(server)
        assert (await asking).startswith(b"HTTP/1.1 200")


async def test_no_descriptor_is_left(tmp_path):
    told = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with server_with(tmp_path, told) as server:
        with socket.socket() as client:
            client.setblocking(False)
            highest = os.dup(client.fileno())
            os.close(highest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
            try:
                loop = asyncio.get_running_loop()
                await loop.sock_connect(client, ("127.0.0.1", server.port))
                ran = time.process_time()
                await asyncio.sleep(1)
                ran = time.process_time() - ran
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert told, "it could still accept"
            assert len(told) < 15
            assert ran < 0.5, "it spins"
            assert "cannot accept connections" in told[0]["reason"]
            assert await served(server)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%lo", "fe80::2%lo", True),
    ],
)
def test_what_counts_as_one_address(first, second, same):
    assert (room.network(first) == room.network(second)) == same


async def test_header_without_end(tmp_path):
    told = []
    async with server_with(tmp_path, told) as server:
        endless = b"".join(b"A%d: %s\r\n" % (number, b"x" * 7000) for number in range(30))
        with suppress(ConnectionError):
            assert b" 200 " not in await exchange(server, HEADER + endless)
        with suppress(ConnectionError):
            answer = await exchange(server, HEADER + b"A: " + b"x" * 9000 + b"\r\n\r\n")
            assert b" 400 " in answer[:20]
            assert b"xxx" not in answer
        assert {event["reason"] for event in told} == {"the request's header is too long"}
        # Nor is a body taken for a header, or one request's for the next's.
        headers = get("cacerts").replace(b"Connection: close\r\n", b"X: " + b"y" * 5000 + b"\r\n")
        answer = await exchange(server, headers * 20 + get("cacerts"))
        assert answer.count(b"HTTP/1.1 200") == 21


async def test_what_is_no_http(tmp_path, caplog):
    told = []
    async with server_with(tmp_path, told) as server:
        answer = await exchange(server, b"Authorization: Basic c2VjcmV0\r\nnonsense\r\n\r\n")
        assert answer.endswith(b"the request is not HTTP\n")
        async with connect(server) as session, session.get("cacerts") as good:
            assert good.status == 200
    assert told[0]["reason"] == "the request is not HTTP"
    assert "c2VjcmV0" not in str(told) + answer.decode()
    assert not caplog.records


def test_failures_are_told_only_so_often(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(throttle.time, "monotonic", lambda: now)
    failures = throttle.Throttle(5, 2)
    assert [failures.passes() for _ in range(8)] == [True] * 5 + [False] * 3
    assert failures.left_out == 3
    now += 1
    assert [failures.passes() for _ in range(3)] == [True, True, False]
    now += 1000
    assert sum(failures.passes() for _ in range(9)) == 5


async def test_a_full_log_says_how_much_it_lacks(tmp_path):
    told = []
    async with server_with(tmp_path, told) as server:
        server._failures = throttle.Throttle(2, 0)
        async with connect(server) as session:
            for path in ("one", "two", "three", "four", "cacerts"):
                async with session.get(path):
                    pass
            server._failures._burst = server._failures._left = 2
            async with session.get("five"):
                pass
    assert [event.get("status") or event["count"] for event in told] == [404, 404, 200, 2, 404]


async def test_who_has_left_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "_FAIR_SECONDS", 0)
    async with server_with(tmp_path, connections=6) as server:
        assert await served(server)
        before = len(asyncio.all_tasks())
        writers = []
        for number in range(40):
            with suppress(OSError):
                _, writer = await opened(server, f"127.0.0.{2 + number % 3}", tls=number % 2)
                writer.write((b"", HEADER, b"\x16\x03\x01\x02", get("cacerts"))[number % 4])
                writers.append(writer)
        assert server._room.count <= 6
        for writer in writers:
            writer.transport.abort()
        while server._room.count or len(asyncio.all_tasks()) > before:
            await asyncio.sleep(0.05)
        assert not list(server._room)
        assert await served(server)


async def test_a_server_stops_whoever_is_connected(tmp_path, caplog):
    told = []
    async with server_with(tmp_path, told) as server:
        clients = [await opened(server, tls=tls) for tls in (False, False, True, True)]
        clients[1][1].write(b"\x16\x03\x01\x02\x00\x01")
        clients[3][1].write(HEADER)
        await asyncio.sleep(SHORT)
    for reader, writer in clients:
        assert await ended(reader) == b""
        writer.close()
    assert not caplog.records
    assert not told


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            {"event": "connection", "address": "192.0.2.1", "reason": "it is late"},
            "connection of 192.0.2.1: it is late",
        ),
        (
            {"event": "connection", "address": "", "reason": "no descriptor"},
            "connection of anybody: no descriptor",
        ),
        (
            {"event": "certificate", "not_after": "2030-01-01", "reason": "it is old"},
            "new certificate of this server until 2030-01-01: it is old",
        ),
        (
            {"event": "storage", "reason": "Read-only file system"},
            "the folder cannot be written: Read-only file system",
        ),
        ({"event": "left out", "count": 7}, "7 more failures, left out: too many at a time"),
    ],
)
def test_what_people_read(event, line):
    assert as_line(event) == line


LONG = b"A" * 1_000_000
LENGTH = b"Content-Length: %d\r\n" % len(LONG)


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        (b"est/simpleenroll", 413, "the body is longer than 65536 bytes"),
        (b"est/cacerts", 405, "cacerts is a GET"),
        (b"other", 404, "EST is at /.well-known/est/"),
    ],
)
async def test_an_answer_before_the_end_of_a_body(tmp_path, path, status, reason):
    """It reaches a client that sends on, and is one line of the log; the connection goes on where
    the body has ended."""
    told = []
    head = HEADER.replace(b"est/simpleenroll", path) + b"Content-Type: application/pkcs10\r\n"
    async with server_with(tmp_path, told) as server:
        reader, writer = await opened(server)
        for _ in range(2 if status != 413 else 1):
            writer.write(head + LENGTH + b"\r\n")
            writer.write(LONG)
            async with asyncio.timeout(60):
                await writer.drain()
                answer = await reader.readuntil(reason.encode() + b"\n")
            assert answer.startswith(b"HTTP/1.1 %d " % status)
        if status == 413:
            assert await ended(reader) == b""
        else:
            writer.write(get("cacerts"))
            assert (await ended(reader)).startswith(b"HTTP/1.1 200 ")
        writer.close()
        assert await served(server)
    lines = [event["reason"] for event in told if event["reason"]]
    assert lines == [reason] * (1 if status == 413 else 2)


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"BREW /pot HTTP/1.1", 501, "the request's method is none that is known: EST has GET"),
        (b"get /pot HTTP/1.1", 501, "the request's method is none that is known"),
        (b"PROPFIND /.well-known/est/cacerts HTTP/1.1", 405, "cacerts is a GET"),
        (b"\x01\x02 /pot HTTP/1.1", 400, "the request is not HTTP"),
        (b"GET /pot HTTP/9.1", 400, "the request is not HTTP"),
        (b"EHLO x", 501, "the request's method is none that is known"),
    ],
)
async def test_methods(tmp_path, line, status, reason):
    told = []
    async with server_with(tmp_path, told) as server:
        answer = await exchange(server, line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.split()[1] == b"%d" % status
    assert told[0]["reason"].startswith(reason)

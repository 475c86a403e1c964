"""A client that leaves at any moment, by any way, is one line of the log and no traceback."""

import asyncio
import itertools
import logging
import socket
import struct
import time
from contextlib import suppress

import pytest
from server_client import PKCS10, body_of, connect, get, make_csr, tls_context

from mpest.server import EstServer, ServerConfig
from mpest.server.serving import as_line

PAUSE = 0.05


def post(length, body=b""):
    head = "POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: localhost"
    return f"{head}\r\nContent-Type: application/pkcs10\r\n{length}\r\n\r\n".encode() + body


CSR = body_of(make_csr())
SENT = {
    "nothing": b"",
    "half a header": b"GET /.well-known/est/cacerts HTTP/1.1\r\nHo",
    "no body": post("Content-Length: 900"),
    "half a body": post("Content-Length: 900", CSR[:100]),
    "half a chunk": post("Transfer-Encoding: chunked", b"80\r\nMIIB"),
    "GET": get("cacerts"),
    "POST": post(f"Content-Length: {len(CSR)}", CSR),
}


def reset(tls):
    tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def notify(tls):
    tls.setblocking(False)
    tls.unwrap()


def end_tcp(tls):
    socket.socket.shutdown(tls, socket.SHUT_WR)
    time.sleep(PAUSE)


def nothing(_tls):
    """Close the socket, with what it has not read."""


def leave(server, identity, sent, how, pause):
    tcp = socket.create_connection(("127.0.0.1", server.port), 60)
    context = tls_context(server, identity)
    with context.wrap_socket(tcp, server_hostname="127.0.0.1") as tls, suppress(OSError):
        tls.sendall(sent)
        time.sleep(pause)
        how(tls)


@pytest.mark.parametrize(
    "fault", ["", "late", "slow-drip", "http10", "cut-connection", "huge-body", "chunked"]
)
async def test_no_traceback(tmp_path, caplog, fault):
    config = ServerConfig(directory=tmp_path / "ca", drip_interval=2 * PAUSE)
    config.faults = {fault} if fault else set()
    with caplog.at_level(logging.WARNING):
        async with EstServer(config) as server:
            identity = server.new_identity("board-1")
            ways = itertools.product(
                SENT.values(), (reset, notify, end_tcp, nothing), (0, PAUSE, 3 * PAUSE)
            )
            calls = [asyncio.to_thread(leave, server, identity, *way) for way in ways]
            await asyncio.gather(*calls)
            await asyncio.sleep(4 * PAUSE)  # for what is still being written
            config.faults = set()
            async with connect(server) as session, session.get("cacerts") as answer:
                assert answer.status == 200
        await asyncio.sleep(0)
    assert [record.getMessage() for record in caplog.records] == []


async def test_one_line(server):
    leaving = asyncio.to_thread(leave, server, None, SENT["half a body"], reset, PAUSE)
    await leaving
    while not server.events:
        await asyncio.sleep(0.01)
    (event,) = server.events
    assert event["status"] == 400
    path = "/.well-known/est/simpleenroll"
    reason = "the client left before the end of its request"
    assert as_line(event) == f"POST {path} 400: {reason}"


async def test_a_server_that_stops_amid_an_answer(tmp_path, caplog):
    config = ServerConfig(directory=tmp_path / "ca", drip_interval=60, faults={"late"})
    async with EstServer(config) as server, connect(server) as session:
        asking = asyncio.create_task(session.post("simpleenroll", data=CSR, headers=PKCS10))
        while not server.events:
            await asyncio.sleep(0.01)
    with pytest.raises(Exception, match="isconnect"):
        await asking
    assert not caplog.records


async def test_a_server_that_stops_amid_a_request(tmp_path, caplog):
    """Whose request is whole in time is answered, who is late is told, and soon."""
    told = []
    config = ServerConfig(directory=tmp_path / "ca", stop_within=6)
    head = post(f"Content-Length: {len(CSR)}")
    async with EstServer(config, told.append) as server:
        clients = [
            await asyncio.open_connection("127.0.0.1", server.port, ssl=tls_context(server))
            for _ in range(2)
        ]
        for _, writer in clients:
            writer.write(head + CSR[:100])
        while len(server._est._bodies) < 2:
            await asyncio.sleep(0.01)
        stopping = asyncio.create_task(server.__aexit__(None, None, None))
        await asyncio.sleep(PAUSE)
        clients[0][1].write(CSR[100:])
        begun = time.monotonic()
        answers = [await asyncio.wait_for(reader.read(), 60) for reader, _ in clients]
        await stopping
        assert time.monotonic() - begun < 60
    assert answers[0].startswith(b"HTTP/1.1 200 ")
    assert answers[1].startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 15\r\n" in answers[1]
    assert answers[1].endswith(b"the server stops: send the same again later\n")
    assert [event["status"] for event in told] == [200, 503]
    assert not caplog.records

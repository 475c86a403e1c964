"""The board's own connections, on each runtime, with servers and clients that ask for it."""

import contextlib
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import in_use
import ports
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from in_use import Pki

from mpest.runtimes import Program

HOST = "localhost"
Find = Callable[[str], Program]


@pytest.mark.parametrize("lengths", [(1, 2), (2, 3), (3, 1)])
def test_it_follows_the_store(runtime: str, tmp_path: Path, lengths: tuple[int, int]) -> None:
    """The whole chain is shown to a server that knows the root alone, of each length. After a
    renewal the next connection shows the new certificate, and the one before goes on."""
    pki = Pki.of(3)
    chains = [Pki(pki.signers[:length]) for length in lengths]
    code = """
take("first")
trust("root")
context = known.context()
streams = []
for name in ("first", "second"):
    take(name)
    streams.append(context.wrap_socket(dial(settings["port"]), server_hostname="localhost"))
    tell([ask(stream) for stream in streams])
"""
    with in_use.line_server(pki.issue("server", HOST), pki) as port:
        told = in_use.run(
            runtime,
            code,
            tmp_path / "board",
            port=port,
            root=pki.root.hex(),
            first=in_use.items(chains[0].issue("first")),
            second=in_use.items(chains[1].issue("second")),
        )
    assert told == [["first"], ["first", "second"]]


def test_anchors_roll_over_while_a_connection_lives(runtime: str, tmp_path: Path) -> None:
    old, new = Pki.of(2, "old"), Pki.of(2, "new")
    code = """
take("own")
trust("old")
context = known.context()
first = context.wrap_socket(dial(settings["ports"][0]), server_hostname="localhost")
tell([ask(first), failure(context.wrap_socket, dial(settings["ports"][1]),
    server_hostname="localhost") > ""])
trust("old", "new")
second = context.wrap_socket(dial(settings["ports"][1]), server_hostname="localhost")
tell([ask(first), ask(second)])
trust("new")
tell([ask(first), failure(context.wrap_socket, dial(settings["ports"][0]),
    server_hostname="localhost") > ""])
"""
    with (
        in_use.line_server(old.issue("server", HOST), old) as one,
        in_use.line_server(new.issue("server", HOST), old) as two,
    ):
        told = in_use.run(
            runtime,
            code,
            tmp_path / "board",
            ports=[one, two],
            old=old.root.hex(),
            new=new.root.hex(),
            own=in_use.items(old.issue("own")),
        )
    assert told == [["own", True], ["own", "own"], ["own", True]]


@pytest.mark.parametrize("wrong", ["CA", "name", "time"])
def test_a_wrong_server_is_refused(runtime: str, tmp_path: Path, wrong: str) -> None:
    """By an OSError, in words, and the socket is closed."""
    pki = Pki.of(2)
    server = {
        "CA": lambda: Pki.of(2, "other").issue("server", HOST),
        "name": lambda: pki.issue("server", "other.example"),
        "time": lambda: pki.issue("server", HOST, days=-2),
    }[wrong]()
    code = """
take("own")
trust("root")
context = known.context()
sock = dial(settings["port"])
tell(failure(context.wrap_socket, sock, server_hostname="localhost"))
tell(failure(sock.send, b"x") > "")
"""
    with in_use.line_server(server, pki) as port:
        text, closed = in_use.run(
            runtime,
            code,
            tmp_path / "board",
            port=port,
            root=pki.root.hex(),
            own=in_use.items(pki.issue("own")),
        )
    words = {"CA": "vouches|issuer", "name": "other.example|mismatch", "time": "expired|ended"}
    assert any(word in text for word in words[wrong].split("|")), text
    assert closed


def test_anchors_and_name_that_are_given(runtime: str, tmp_path: Path) -> None:
    """A broker of another CA, in PEM among others, that is dialled by its address."""
    pki, broker = Pki.of(2), Pki.of(2, "broker")
    pem = "".join(
        one.signers[0].certificate.public_bytes(Encoding.PEM).decode()
        for one in (Pki.of(1, "else"), broker)
    )
    code = """
take("own")
context = known.context(settings["pem"], name="broker.example")
for host in ("127.0.0.1", "broker.example"):
    stream = context.wrap_socket(dial(settings["port"]), server_hostname=host)
    tell(ask(stream))
tell(failure(context.wrap_socket, dial(settings["port"]), server_hostname="localhost") > "")
"""
    with in_use.line_server(broker.issue("server", "broker.example"), pki) as port:
        told = in_use.run(
            runtime,
            code,
            tmp_path / "board",
            port=port,
            pem=pem,
            own=in_use.items(pki.issue("own")),
        )
    assert told == ["own", "own", True]


def test_without_a_certificate_where_that_is_asked_for(runtime: str, tmp_path: Path) -> None:
    pki = Pki.of(1)
    code = """
from est.errors import UsageError
trust("root")
try:
    known.context()
except UsageError as error:
    tell(str(error))
context = known.context(anonymous=True)
context.wrap_socket(dial(settings["port"]), server_hostname="localhost").close()
tell("connected")
"""
    with in_use.line_server(pki.issue("server", HOST), None) as port:
        told = in_use.run(runtime, code, tmp_path / "board", port=port, root=pki.root.hex())
    assert told == ["no certificate yet: enrol first", "connected"]


@pytest.mark.parametrize("left", [16_000, 36_000, 40_000, 61_000])
def test_a_lack_of_memory(program: Find, tmp_path: Path, left: int) -> None:
    """Wherever it shows, it is told and is an OSError; with room again it connects."""
    program("micropython-picow-like")
    pki = Pki.of(2)
    code = """
gc.threshold(4096)
take("own")
trust("root")
known.tell = lambda event, **detail: tell(event)
context = known.context()
ballast, held = [], []
while gc.mem_free() > settings["left"]:
    ballast.append(bytearray(512))
try:
    while True:
        sock = dial(settings["port"])
        held.append(context.wrap_socket(sock, server_hostname="localhost"))
except OSError as error:
    tell(error.errno)
for stream in held:
    stream.close()
ballast = held = None
gc.collect()
tell(ask(context.wrap_socket(dial(settings["port"]), server_hostname="localhost")))
"""
    with in_use.line_server(pki.issue("server", HOST), pki) as port:
        told = in_use.run(
            "micropython-picow-like",
            code,
            tmp_path / "board",
            port=port,
            left=left,
            root=pki.root.hex(),
            own=in_use.items(pki.issue("own")),
        )
    assert told == ["memory", 12, "own"]


def test_a_key_in_a_secure_element(runtime: str, tmp_path: Path) -> None:
    """It signs where the platform's TLS can ask it."""
    pki = Pki.of(2)
    own = pki.issue("own")
    code = """
from est import element
from est.ec import P256
take("own")
trust("root")
number = binascii.unhexlify(settings["number"])
key = element.ElementKey(b"slot 1", P256.public(number), lambda digest: P256.sign(number, digest))
chain = [binascii.unhexlify(item) for item in settings["own"][1:]]
records.save("identity", store.pack({"generation": 1}, key.der(), *chain))
context = known.context()
try:
    tell(ask(context.wrap_socket(dial(settings["port"]), server_hostname="localhost")))
except OSError as error:
    tell(str(error))
"""
    with in_use.line_server(pki.issue("server", HOST), pki) as port:
        (text,) = in_use.run(
            runtime,
            code,
            tmp_path / "board",
            port=port,
            root=pki.root.hex(),
            own=in_use.items(own),
            number=own.key.private_numbers().private_value.to_bytes(32, "big").hex(),
        )
    if runtime == "micropython-picow-like":
        assert text == "own"
    else:
        assert "secure element" in text


def board_server(
    runtime: str, state: Path, pki: Pki, code: str, *path: Path
) -> "tuple[subprocess.Popen[str], int]":
    """A board that serves, and its port."""
    port = ports.reserve()
    board = in_use.start(
        runtime,
        code,
        state,
        *path,
        port=port,
        root=pki.root.hex(),
        own=in_use.items(pki.issue("board", HOST)),
    )
    assert board.stdout
    assert board.stdout.readline() == '"ready"\n', board.communicate(timeout=10)
    return board, port


SERVER = """
import asyncio
take("own")
trust("root")

async def serve(reader, writer):
    try:
        writer.write(await reader.readline())
        await writer.drain()
    except OSError:
        pass
    writer.close()

async def main():
    context = known.context(server_side=True)
    await asyncio.start_server(serve, "127.0.0.1", settings["port"], ssl=context)
    tell("ready")
    await asyncio.sleep(1000)

asyncio.run(main())
"""


def answer(context: ssl.SSLContext, port: int) -> bytes:
    with (
        socket.create_connection((HOST, port), timeout=60) as sock,
        context.wrap_socket(sock, server_hostname=HOST) as stream,
    ):
        stream.sendall(b"hello\n")
        return stream.recv(100)


def test_asyncio_serves_those_it_knows(runtime: str, tmp_path: Path) -> None:
    """Clients without a certificate, or with one of another CA, are refused, and it goes on."""
    pki = Pki.of(3)
    board, port = board_server(runtime, tmp_path / "board", pki, SERVER)
    try:
        known = in_use.client_context(pki, pki.issue("client"))
        strangers = (
            in_use.client_context(pki),
            in_use.client_context(pki, Pki.of(2, "other").issue("client")),
        )
        for stranger in strangers:
            assert answer(known, port) == b"hello\n"
            with contextlib.suppress(OSError):  # an alert, or a reset
                assert answer(stranger, port) == b""
        assert answer(known, port) == b"hello\n"
    finally:
        board.kill()
        board.communicate()

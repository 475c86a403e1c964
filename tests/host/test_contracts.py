"""How other libraries call the context of an identity.

asyncio, microdot and, on CPython, aiohttp are used as they are. In place of the others
stands tests/doubles, which makes the same calls. MPEST_LIBRARIES names a folder that holds the
originals (umqtt, aiohttp, mqtt_as), which are then taken.
"""

import http.server
import os
import shutil
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import in_use
import microdot
import pytest
import test_identity_in_use
from broker import DOUBLES
from in_use import Pki

from mpest.server.tls import TlsIdentity
from mpest.toolchain import mpy

HOST = "localhost"


def libraries() -> tuple[Path, ...]:
    given = os.environ.get("MPEST_LIBRARIES")
    return (*([Path(given)] if given else []), DOUBLES)


@contextmanager
def web_server(identity: TlsIdentity, clients: Pki) -> Iterator[int]:
    """It answers with the CN of the client's certificate."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            shown = self.connection.getpeercert()["subject"]  # type: ignore[attr-defined]
            body = dict(one[0] for one in shown)["commonName"].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request, address) -> None:  # type: ignore[no-untyped-def]
            with suppress(OSError):
                super().finish_request(context.wrap_socket(request, server_side=True), address)

    context = in_use.server_context(identity, clients)
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def run(runtime: str, code: str, state: Path, pki: Pki, port: int) -> list[object]:
    renewed = Pki(pki.signers[:2])
    return in_use.run(
        runtime,
        code,
        state,
        *libraries(),
        port=port,
        root=pki.root.hex(),
        first=in_use.items(pki.issue("first")),
        second=in_use.items(renewed.issue("second")),
    )


def test_asyncio_connects(runtime: str, tmp_path: Path) -> None:
    """One context for good: a renewal shows from the next connection on."""
    code = """
import asyncio
take("first")
trust("root")
context = known.context()

async def connect():
    return await asyncio.open_connection("localhost", settings["port"], ssl=context,
        server_hostname="localhost")

async def answer(reader, writer):
    writer.write(b"hello\\n")
    await writer.drain()
    return (await reader.readline()).strip().decode()

async def main():
    one = await connect()
    tell(await answer(*one))
    take("second")
    two = await connect()
    tell([await answer(*one), await answer(*two)])

asyncio.run(main())
"""
    pki = Pki.of(3)
    with in_use.line_server(pki.issue("server", HOST), pki) as port:
        told = run(runtime, code, tmp_path / "board", pki, port)
    assert told == ["first", ["first", "second"]]


def test_aiohttp(runtime: str, tmp_path: Path) -> None:
    code = """
import asyncio
import aiohttp
take("first")
trust("root")
context = known.context()

async def main():
    for name in ("first", "second"):
        take(name)
        async with aiohttp.ClientSession() as session:
            url = "https://localhost:%d/" % settings["port"]
            async with session.get(url, ssl=context) as response:
                tell([response.status, await response.text()])

asyncio.run(main())
"""
    pki = Pki.of(3)
    with web_server(pki.issue("server", HOST), pki) as port:
        told = run(runtime, code, tmp_path / "board", pki, port)
    assert told == [[200, "first"], [200, "second"]]


@pytest.fixture
def microdot_folder(runtime: str, tmp_path: Path) -> Path:
    """Of .mpy files: compiling the source takes more than a Pico W has."""
    folder = tmp_path / "lib" / "microdot"
    folder.mkdir(parents=True)
    source = Path(microdot.__file__).parent
    for name in ("__init__", "microdot", "helpers"):
        if runtime == "micropython-picow-like":
            compiled = mpy.compile_file(source / f"{name}.py", "armv7m")
            (folder / f"{name}.mpy").write_bytes(compiled)
        else:
            shutil.copy(source / f"{name}.py", folder)
    return folder.parent


def test_microdot(runtime: str, tmp_path: Path, microdot_folder: Path) -> None:
    """A web server on the board that lets in whom it knows, and goes on after others."""
    code = """
import asyncio
from microdot import Microdot
take("own")
trust("root")
app = Microdot()

@app.get("/")
async def index(request):
    return "hello"

async def main():
    serving = asyncio.create_task(app.start_server(host="127.0.0.1", port=settings["port"],
        ssl=known.context(server_side=True)))
    while not (app.server or serving.done()):
        await asyncio.sleep(0.01)
    tell("ready")
    await serving

asyncio.run(main())
"""
    pki = Pki.of(2)
    start = test_identity_in_use.board_server
    board, port = start(runtime, tmp_path / "board", pki, code, microdot_folder)
    url = f"https://{HOST}:{port}/"
    try:
        known = in_use.client_context(pki, pki.issue("client"))
        stranger = in_use.client_context(pki)
        for _ in range(2):
            with urllib.request.urlopen(url, context=known, timeout=60) as answer:
                assert answer.read() == b"hello"
            with pytest.raises((OSError, ssl.SSLError)):
                urllib.request.urlopen(url, context=stranger, timeout=60)
    finally:
        board.kill()
        board.communicate()

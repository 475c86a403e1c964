"""The other ways to install: mpremote's mip, and frozen into the firmware."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mpest import emulator, packages, shipped
from mpest.boards import Board

SIGN = """
from est import keys, store
key = keys.P256Key()
store.Store("/").save("x", key.der())
print(keys.__file__, keys.load(store.Store("/").load("x")).spki() == key.spki())
"""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """Address of a mip index."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    packages.build_index(tmp_path / "index")
    handler = partial(Quiet, directory=str(tmp_path / "index"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.timeout(300)
def test_mip(board: Board, index: str) -> None:
    with emulator.Machine(board, emulator.build(board)) as machine:
        machine.mpremote("mip", "--index", index, "install", "est-minimum")
        machine.mpremote("resume", "fs", "cp", shipped.folder("firmware") / "bringup.py", ":lib/")
        machine.soft_reset()
        machine.inject_entropy()
        assert machine.run(SIGN).split() == ["/lib/est/keys.mpy", "True"]


@pytest.mark.timeout(600)
def test_frozen(mps2: Board) -> None:
    firmware = shipped.folder("firmware")
    manifest = (
        f"include({str(firmware / 'manifest.py')!r})\nmodule('bringup.py', {str(firmware)!r})"
    )
    frozen = (*firmware.glob("*.py"), *firmware.glob("*.json"), *firmware.glob("est/*.py"))
    with emulator.Machine(mps2, emulator.build(mps2, manifest, frozen)) as machine:
        machine.inject_entropy()
        assert machine.run(SIGN).split() == ["est/keys.py", "True"]

"""A simulated board on a station: what the tests of single boards and of lines begin with."""

import json
from pathlib import Path

from mpest import boards, runtimes
from mpest.flash import application
from mpest.flash.application import File
from mpest.server import EstServer
from mpest.station.link import Simulated

MACHINE = ("rp2", "Raspberry Pi Pico W with RP2040")
_PROFILE = """
port = "rp2"
mcu = "RP2040"
minimum_firmware = "1.23"

[storage]
kind = "littlefs2"
path = "/"
"""
# Network and time are the computer's.
_WIRING = """
import bringup
from est import clock


class Board(bringup.Board):
    async def join(self, *network):
        pass

    async def set_time(self, server=None):
        return clock.now()

    def was_bitten(self):
        return False

    def watchdog(self, seconds=None):
        return self

    def feed(self):
        pass
"""


def profile(folder: Path) -> boards.Board:
    """A Pico W as the unix port plays it: its modules are sources, for that runs no Thumb code."""
    board = folder / "SIMULATED"
    board.mkdir(parents=True, exist_ok=True)
    (board / boards.PROFILE).write_text(_PROFILE)
    (board / "wiring.py").write_text(_WIRING)
    return boards.read(board)


def simulated(root: Path, unique_id: str = "0a0b0c") -> Simulated:
    return Simulated(runtimes.find("micropython"), root, MACHINE, unique_id)


def files(
    board: boards.Board, server: EstServer, folder: Path, birth: bool = False, **settings: object
) -> list[File]:
    """The application, with a config.json for the server; `birth` is what it names and lacks."""
    config = folder / "config.json"
    usual = {"url": server.url, "sha256": server.fingerprint, "subject": "CN=board-{id}"}
    config.write_text(json.dumps({**usual, **settings}))
    own, missing = application.settings(board, config)
    assert bool(missing) == birth
    return application.files(board, own=own)


def place(files: list[File], root: Path) -> None:
    """The files on a board, as a station leaves them."""
    for file in files:
        path = root / file.path.removeprefix("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)

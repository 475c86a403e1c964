"""A simulated board on a station: what the tests of single boards and of lines begin with."""

import json
import time
from pathlib import Path

from cryptography import x509

from mpest import boards, runtimes
from mpest.flash import application
from mpest.flash.application import File
from mpest.server import EstServer, ServerConfig
from mpest.station import request
from mpest.station.authority import Authority
from mpest.station.board import Board
from mpest.station.link import Simulated
from mpest.station.request import Request

UNIQUE_ID, SUBJECT = "0a0b0c", "CN=board-0a0b0c"
PASSWORD = "its password"
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


def simulated(root: Path, unique_id: str = UNIQUE_ID) -> Simulated:
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


def config(directory: Path, **users: str) -> ServerConfig:
    """A server with a station that may bring the requests of boards; and these users."""
    rule = {"users": "station", "role": "ra", "subject": "CN=board-*"}
    return ServerConfig(
        directory=directory,
        auth="basic",
        users={"station": PASSWORD, **users},
        chain_length=2,
        policy={"rule": [rule]},  # type: ignore[arg-type]
    )


class Line:
    """A server with a station that may bring the requests of boards, and boards for it."""

    def __init__(self, server: EstServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.profile = profile(folder / "boards")
        self.files = files(self.profile, server, folder)
        self.authority = Authority(
            server.url, f"sha256:{server.fingerprint}", user="station", password=PASSWORD
        )
        self.links: list[Simulated] = []

    def board(self, name: str = "root", unique_id: str = UNIQUE_ID) -> Board:
        """The board whose files are in a folder of that name, switched on anew."""
        self.links.append(simulated(self.folder / name, unique_id))
        return Board(self.links[-1], self.profile)

    def order(self, **others: object) -> Request:
        return Request(
            SUBJECT,
            cacerts=self.authority.cacerts(),
            csrattrs=self.authority.csrattrs(),
            date=self.authority.date,
            now=int(time.time()),
            **others,  # type: ignore[arg-type]
        )

    def ready(self, name: str = "root", unique_id: str = UNIQUE_ID) -> Board:
        """A board with the application on it."""
        place(self.files, self.folder / name)
        return self.board(name, unique_id)

    def issued(self, key_hash: str) -> int:
        """How many certificates there are for a key."""
        issued = [x509.load_der_x509_certificate(entry.der) for entry in self.server.issued()]
        return [request.key_hash(entry.public_key()) for entry in issued].count(key_hash)

    def close(self) -> None:
        for link in self.links:
            link.close()
        self.authority.close()

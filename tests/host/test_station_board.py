"""One board on a station: its steps, what a cut leaves, and what goes wrong on the line to it."""

import base64
import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import station_board
from cryptography import x509

from mpest.server import EstServer, ServerConfig, running_server
from mpest.station import errors, request
from mpest.station.authority import Authority
from mpest.station.board import Board
from mpest.station.link import Simulated
from mpest.station.request import Request

UNIQUE_ID, USER, SUBJECT = "0a0b0c", "board-0a0b0c", "CN=board-0a0b0c"
FIELD = """
import configuration
from est.agent import Agent
from est.store import Store
from wiring import Board
settings, lines = configuration.read("/config.json")
number = Board().unique_id()
agent = configuration.agent(Agent, settings, Store("/"), number, on_event=print)
print("waits", agent.step())
"""


class Line:
    """A server with a station that may bring the requests of boards, and boards for it."""

    def __init__(self, server: EstServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.profile = station_board.profile(folder / "boards")
        self.files = station_board.files(self.profile, server, folder)
        self.authority = Authority(
            server.url, f"sha256:{server.fingerprint}", user="station", password="its password"
        )
        self.links: list[Simulated] = []

    def board(self, name: str = "root", unique_id: str = UNIQUE_ID) -> Board:
        """The board whose files are in a folder of that name, switched on anew."""
        self.links.append(station_board.simulated(self.folder / name, unique_id))
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
        station_board.place(self.files, self.folder / name)
        return self.board(name, unique_id)

    def issued(self, key_hash: str) -> int:
        """How many certificates there are for a key."""
        issued = [x509.load_der_x509_certificate(entry.der) for entry in self.server.issued()]
        return [request.key_hash(entry.public_key()) for entry in issued].count(key_hash)


def provision(line: Line, board: Board) -> list[bytes]:
    """All steps of a station from the key on."""
    order = line.order()
    board.make_key(order)
    answer = line.authority.enroll(board.request())
    chain = board.install(answer, order.cacerts)
    board.prove(chain)
    return chain


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EstServer]:
    rule = {"users": "station", "role": "ra", "subject": "CN=board-*"}
    config = ServerConfig(
        directory=tmp_path_factory.mktemp("ca"),
        auth="basic",
        users={"station": "its password", USER: "in the field"},
        chain_length=2,
        policy={"rule": [rule]},
    )
    with running_server(config) as running:
        yield running


@pytest.fixture
def line(server: EstServer, tmp_path: Path) -> Iterator[Line]:
    line = Line(server, tmp_path)
    try:
        yield line
    finally:
        for link in line.links:
            link.close()
        line.authority.close()


def test_the_whole_way(line: Line) -> None:
    board = line.board()
    assert not board.identify().provisioned
    board.settings(line.files)
    assert board.identify().unique_id == UNIQUE_ID
    chain = provision(line, board)
    leaf = x509.load_der_x509_certificate(chain[0])
    assert leaf.subject.rfc4514_string() == SUBJECT
    assert len(chain) == 2
    assert board.identify().provisioned
    assert board.identify().chain == tuple(chain)
    assert line.issued(board.key_hash) == 1
    assert board.unknown(line.files) == []
    # In the field its agent has nothing to do but to wait until it is due.
    said = board.accept(FIELD)
    assert "ordered" not in said and int(said.split("waits")[1]) > 60, said
    board.leave()
    assert not (line.folder / "root/mpest.new").exists()
    assert (line.folder / "root/main.py").read_text().startswith('"""A whole application')


def test_the_key_stays(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    said = bytearray()
    read = Simulated.read

    def heard(self: Simulated, seconds: float) -> bytes:
        data = read(self, seconds)
        said.extend(data)
        return data

    monkeypatch.setattr(Simulated, "read", heard)
    board = line.ready()
    provision(line, board)
    record = (line.folder / "root/identity.0").read_bytes()
    at = record.index(bytes.fromhex("30770201010420")) + 7  # ECPrivateKey (RFC 5915)
    private = record[at : at + 32]
    assert len(said) > 2000
    for form in (private, private.hex().encode(), repr(private).encode()[2:-1]):
        assert form not in said
    for shift in range(3):  # base64 of it, wherever it begins
        encoded = base64.b64encode(bytes(shift) + private)[4:40]
        assert encoded not in said


@pytest.mark.parametrize("step", ["make_key", "enroll", "install", "prove"])
def test_a_cut_and_another_station(line: Line, step: str) -> None:
    """The power, the cable and the station may go in each step, at whatever moment: the same key
    and the same request come again, and one certificate."""
    first = line.ready()
    order = line.order()
    key_hash = first.make_key(order)
    csr = first.request()
    answer = line.authority.enroll(csr)
    link = line.links[-1]
    for moment in (0.0, 0.01, 0.02, 0.04, 0.07, 0.1):
        cut = threading.Timer(moment, link._process.kill)
        cut.start()
        with contextlib.suppress(errors.BoardError):
            if step == "make_key":
                first.make_key(order)
            elif step != "enroll":
                first.install(answer, order.cacerts)
            if step == "prove":
                first.prove(list(first.identify().chain))
        cut.join()
        first = line.board()
        link = line.links[-1]
        if first.identify().provisioned:
            assert first.identify().key_hash == key_hash
            break
        assert first.make_key(order) == key_hash
        assert first.request() == csr
        answer = line.authority.enroll(csr)
    if not first.identify().provisioned:
        first.install(answer, order.cacerts)
    first.prove(list(first.identify().chain))
    assert line.issued(key_hash) == 1


@pytest.mark.parametrize("moment", [0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15])
def test_a_cut_while_the_key_is_made(line: Line, moment: float) -> None:
    first = line.ready()
    order = line.order()
    cut = threading.Timer(moment, line.links[-1]._process.kill)
    cut.start()
    with contextlib.suppress(errors.BoardError):
        first.make_key(order)
    cut.join()
    second = line.board()
    key_hash = second.make_key(order)
    third = line.board()
    assert third.make_key(order) == key_hash


def test_it_goes_on_in_the_field(line: Line) -> None:
    """A board that leaves the station with its order brings that to the server itself."""
    line.files = station_board.files(
        line.profile, line.server, line.folder, user=USER, secret="in the field"
    )
    board = line.ready()
    key_hash = board.make_key(line.order())
    said = line.board().accept(FIELD)
    assert "renewed" in said and "ordered" not in said, said
    assert line.board().identify().key_hash == key_hash
    assert line.issued(key_hash) == 1

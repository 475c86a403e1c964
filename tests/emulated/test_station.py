"""A board on a station: the real firmware makes its key, and takes what the station brings."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import station_board

from mpest import emulator
from mpest.boards import Board as Profile
from mpest.flash import application
from mpest.server import EstServer, running_server
from mpest.station.authority import Authority
from mpest.station.board import Board
from mpest.station.link import Serial
from mpest.station.request import Request


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EstServer]:
    with running_server(station_board.config(tmp_path / "ca")) as running:
        yield running


@pytest.mark.timeout(600)
def test_end_to_end(mps2: Profile, server: EstServer, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    settings = {"url": server.url, "sha256": server.fingerprint, "subject": "CN=board-{id}"}
    config.write_text(json.dumps(settings))
    own, _ = application.settings(mps2, config)
    files = application.files(mps2, own=own)
    authority = Authority(
        *(server.url, f"sha256:{server.fingerprint}"),
        user="station",
        password=station_board.PASSWORD,
    )
    with emulator.Machine(mps2, emulator.build(mps2), tmp_path / "memory") as machine:
        board = Board(Serial(machine.pty), mps2)
        unique_id = board.identify().unique_id
        assert len(unique_id) == 16
        board.settings(files)
        cacerts = authority.cacerts()
        order = Request(
            f"CN=board-{unique_id}",
            cacerts=cacerts,
            csrattrs=authority.csrattrs(),
            date=authority.date,
            now=int(time.time()),
        )
        key_hash = board.make_key(order)
        # The power goes, and another station has the board.
        machine.power_off()
        machine.power_on()
        board = Board(Serial(machine.pty), mps2)
        assert board.make_key(order) == key_hash
        answer = authority.enroll(board.request())
        chain = board.install(answer, cacerts)
        board.prove(chain)
        assert board.identify().key_hash == key_hash
        assert board.unknown(files) == []
    assert len(server.issued()) == 1

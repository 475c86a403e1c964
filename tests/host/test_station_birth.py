"""A birth certificate (IEEE 802.1AR) from the station, by which the board enrols in the field."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import station_board
from cryptography import x509
from test_station_board import FIELD, UNIQUE_ID

from mpest.server import EstServer, ServerConfig, running_server
from mpest.station import Birth, Board, errors
from mpest.station.authority import Authority
from mpest.station.request import Request

HARDWARE = "1.3.6.1.4.1.32473.1"  # of the numbers for documentation (RFC 5612)
NAME = x509.OtherName(
    x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4"),  # id-on-hardwareModuleName
    bytes.fromhex("301106092b0601040181fd59010404") + b"0017",
)


@pytest.fixture
def factory(tmp_path: Path) -> Iterator[EstServer]:
    with running_server(ServerConfig(directory=tmp_path / "factory", chain_length=1)) as running:
        yield running


def test_birth_and_first_enrolment(factory: EstServer, tmp_path: Path) -> None:
    profile = station_board.profile(tmp_path / "boards")
    authority = Authority(factory.url, f"sha256:{factory.fingerprint}")
    order = Request(
        "serialNumber=0017,O=Example",
        hardware=(HARDWARE, b"0017"),
        cacerts=authority.cacerts(),
        date=authority.date,
        now=int(time.time()),
    )
    fleet = ServerConfig(
        directory=tmp_path / "fleet",
        auth="mtls",
        factory_ca=factory.ca_pem.read_text(),
        open=False,
        policy={"rule": [{"factory": "*", "subject": "CN=unit-{serialNumber}"}]},
    )
    with running_server(fleet) as server:
        names = {"factory_certificate": "birth.pem", "factory_key": "birth.key"}
        config = {"subject": "CN=unit-0017", **names}
        files = station_board.files(profile, server, tmp_path, birth=True, **config)
        station_board.place(files, tmp_path / "root")
        boards = []

        def switched_on() -> Board:
            link = station_board.simulated(tmp_path / "root", UNIQUE_ID)
            boards.append(link)
            return Board(link, profile, Birth())

        try:
            board = switched_on()
            key_hash = board.make_key(order)
            board = switched_on()
            assert board.make_key(order) == key_hash
            chain = board.install(authority.enroll(board.request()), order.cacerts)
            board.prove(chain)
            leaf = x509.load_der_x509_certificate(chain[0])
            assert leaf.subject.rfc4514_string() == "O=Example,2.5.4.5=0017"
            san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert list(san) == [NAME]
            board = switched_on()
            assert board.identify().chain == tuple(chain)
            assert board.unknown(files) == []
            with pytest.raises(errors.Provisioned, match=key_hash):
                board.make_key(order)
            assert not (tmp_path / "root/birth").exists()
            # In the field.
            said = board.accept(FIELD)
            assert "renewed" in said, said
            assert len(server.issued()) == 1
            assert server.issued()[0].subject == "CN=unit-0017"
            # Given up, for another.
            board.forget()
            assert board.make_key(replace(order, date="")) != key_hash
        finally:
            for link in boards:
                link.close()

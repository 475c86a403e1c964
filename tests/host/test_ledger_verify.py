"""`mpest ledger verify` and `revoke`, with certificates of the test server."""

import base64
import json
import sqlite3
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from ledger_boards import ANN, BOB, Authority, Board, board, make, name, units

from mpest.cli import main
from mpest.exits import Exit
from mpest.server import EstServer, ServerConfig, running_server
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Unit, Who
from mpest.station.ledger.working import key_hash_of

THIEF = Who("station-9", "1-1", "nobody")


class Factory:
    """A server, a ledger, and boards that were made with both."""

    def __init__(self, server: EstServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.ledger = Ledger(str(folder / "ledger.db"))
        self.ledger.open_batch("one", "d", None, units(9), {}, ANN)

    def issue(self, one: Board) -> list[bytes]:
        """By EST, as a station has it: the board's certificate first."""
        request = urllib.request.Request(
            f"{self.server.url}/simpleenroll",
            base64.b64encode(one.csr),
            {"Content-Type": "application/pkcs10"},
        )
        context = ssl.create_default_context(cafile=self.server.ca_pem)
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:
            parts = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.read()))
        parts.sort(key=lambda certificate: key_hash_of(certificate) != one.key_hash)
        return [part.public_bytes(Encoding.DER) for part in parts]

    def make(self, unique_id: str, who: Who = ANN, *, finish: bool = True) -> Unit:
        one = board(unique_id, f"unit-{unique_id}")
        unit = self.ledger.claim("one", who, unique_id)
        unit = self.ledger.record_request(unit, who, one.key_hash, one.csr)
        unit = self.ledger.record_certificate(unit, who, self.issue(one))
        above = self.server.ca_certificates[0].public_bytes(Encoding.DER)
        # The board keeps what leads to the root, the answer held its certificate alone.
        return self.ledger.finish(unit, who, [*unit.chain, above]) if finish else unit

    def run(self, *words: str | Path) -> Result:
        url = str(self.folder / "ledger.db")
        return CliRunner().invoke(main, ["ledger", "--ledger", url, *map(str, words)])

    def issued(self) -> Path:
        """The server's list in a file."""
        directory = str(self.server.config.directory)
        done = CliRunner().invoke(main, ["serve", "--dir", directory, "--list", "--json"])
        assert done.exit_code == 0, done.output
        path = self.folder / "issued.json"
        path.write_text(done.stdout)
        return path

    def findings(self, *words: str | Path) -> list[str]:
        done = self.run("verify", "--ca", self.server.ca_pem, *words)
        lines = done.stdout.splitlines()
        assert done.exit_code == (Exit.NOT_TRUSTED if lines else 0), done.output
        return lines


@pytest.fixture
def factory(tmp_path: Path) -> Iterator[Factory]:
    with running_server(ServerConfig(directory=tmp_path / "ca", chain_length=2)) as server:
        one = Factory(server, tmp_path)
        yield one
        one.ledger.close()


def test_all_is_well(factory: Factory) -> None:
    factory.make("a1")
    factory.make("a2", BOB)
    assert factory.findings("--issued", factory.issued()) == []
    factory.make("a3", finish=False)
    assert len(factory.findings("--batch", "one")) == 1  # it has no chain yet
    both = factory.folder / "both.pem"
    cas = factory.server.ca_certificates
    both.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in cas))
    done = factory.run("verify", "--ca", both, "--issued", factory.issued())
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "3 certificates, nothing wrong.\n"


def test_what_another_ca_issued(factory: Factory, tmp_path: Path) -> None:
    factory.make("a1")
    other = tmp_path / "other.pem"
    other.write_bytes(Authority().root.public_bytes(Encoding.PEM))
    done = factory.run("verify", "--ca", other, "--json")
    assert done.exit_code == Exit.NOT_TRUSTED
    (finding,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert finding["serial"] == "A0001" and finding["what"].endswith("has no chain to the CA")
    factory.ledger.close()
    with sqlite3.connect(factory.folder / "ledger.db") as database:
        (pem,) = database.execute("SELECT pem FROM certificate").fetchone()
        leaf = pem.split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
        database.execute("UPDATE certificate SET pem = ?", [leaf])
    assert factory.findings()[0].endswith("has no chain to the CA")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE certificate SET number = '12'", "has serial number"),
        ("UPDATE certificate SET fingerprint = 'ab'", "isn't the one that was recorded"),
        ("UPDATE certificate SET pem = 'x'", "can't be read"),
        ("UPDATE board_key SET key_hash = 'ab' WHERE id = 1", "is for another key"),
        ("UPDATE board_key SET key_hash = 'ab' WHERE id = 1", "isn't of its key"),
        ("UPDATE board_key SET csr = x'00'", "isn't of its key"),
        ("UPDATE certificate SET proven = NULL", "is done without a certificate"),
        ("UPDATE unit SET key_id = NULL", "is done without a certificate"),
        ("UPDATE unit SET state = 'scrapped'", "is replaced and not revoked"),
        ("UPDATE certificate SET revoking = recorded", "is to be revoked and isn't yet"),
        ("UPDATE certificate SET revoked = recorded", "is done, and"),
    ],
)
def test_rows_that_were_changed(factory: Factory, change: str, words: str) -> None:
    factory.make("a1")
    factory.ledger.close()
    with sqlite3.connect(factory.folder / "ledger.db") as database:
        database.execute(change)
    assert any(words in line and line.startswith("A0001: ") for line in factory.findings())


def test_issued_twice(factory: Factory) -> None:
    one = board("a1", "unit")
    unit = factory.ledger.claim("one", ANN, "a1")
    unit = factory.ledger.record_request(unit, ANN, one.key_hash, one.csr)
    authority = Authority()
    for _ in range(2):
        unit = factory.ledger.record_certificate(unit, ANN, authority.issue(one.csr))
    factory.ledger.finish(unit, ANN, unit.chain)
    assert "A0001: has 2 certificates for one key: issued twice" in factory.findings()
    assert [one.current for one in factory.ledger.certificates()] == [False, True]


def test_names(factory: Factory) -> None:
    """Two boards with one name; a certificate for less than was asked for."""
    authority, root = Authority(), factory.folder / "root.pem"
    root.write_bytes(authority.root.public_bytes(Encoding.PEM))
    for unique_id in ("a1", "a2"):
        make(factory.ledger, "one", board(unique_id, "same"), authority)
    builder = x509.CertificateSigningRequestBuilder().subject_name(name("other"))
    wanted = x509.SubjectAlternativeName([x509.DNSName("a3.example")])
    asking = builder.add_extension(wanted, critical=False)
    key = ec.generate_private_key(ec.SECP256R1())
    csr = asking.sign(key, SHA256()).public_bytes(Encoding.DER)
    make(factory.ledger, "one", Board("a3", csr), authority)
    assert factory.run("verify", "--ca", root).stdout.splitlines() == [
        "A0002: has the names of A0001: CN=same",
        "A0003: asked for names that its certificate lacks: a3.example",
    ]


def test_a_board_that_plays_ca(factory: Factory, tmp_path: Path) -> None:
    """A certificate that another board's key signed, with that board's certificate as issuer."""
    authority, board_as_ca = Authority(), Authority("unit")
    request = x509.CertificateSigningRequestBuilder().subject_name(board_as_ca.name)
    csr = request.sign(board_as_ca.key, SHA256()).public_bytes(Encoding.DER)
    between = authority.issue(csr)[0]
    one = board("a2")
    unit = factory.ledger.claim("one", ANN, "a2")
    unit = factory.ledger.record_request(unit, ANN, one.key_hash, one.csr)
    forged = board_as_ca.issue(one.csr)[0]
    unit = factory.ledger.record_certificate(unit, ANN, [forged, between])
    factory.ledger.finish(unit, ANN, unit.chain)
    root = tmp_path / "root.pem"
    root.write_bytes(authority.root.public_bytes(Encoding.PEM))
    assert factory.run("verify", "--ca", root).stdout.endswith("has no chain to the CA\n")


def test_what_the_server_has_and_the_ledger_lacks(factory: Factory, tmp_path: Path) -> None:
    unit = factory.make("a1")
    own = x509.load_der_x509_certificate(unit.chain[0])
    stray = factory.issue(board("a9", "stray\u202e"))[0]
    again = factory.issue(board("a9", "unit-a1"))[0]
    station = tmp_path / "station.pem"
    identity = factory.server.new_identity("station")
    station.write_bytes(identity[0])
    lines = factory.findings("--issued", factory.issued(), "--others", station)
    numbers = [f"{x509.load_der_x509_certificate(der).serial_number:x}" for der in (stray, again)]
    assert lines == [
        f"no board: the ledger lacks certificate {numbers[0]} for CN=stray\\u202e",
        f"A0001: the ledger lacks certificate {numbers[1]} for CN=unit-a1",
    ]
    assert len(factory.findings("--issued", factory.issued())) == 3
    factory.server.revoke(own.serial_number)
    lines = factory.findings("--issued", factory.issued(), "--others", station)
    assert (
        f"A0001: the server revoked certificate {own.serial_number:x}, the ledger did not" in lines
    )
    factory.ledger.revoked([unit_fingerprint(factory, unit)], ANN)
    stranger = tmp_path / "none.json"
    stranger.write_text("")
    assert f"A0001: the server's list lacks certificate {own.serial_number:x}" in factory.findings(
        "--issued", stranger
    )


def unit_fingerprint(factory: Factory, unit: Unit) -> str:
    (certificate,) = factory.ledger.certificates(serial=unit.serial)
    return certificate.fingerprint


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "[]",
        "{}",
        '{"event": "certificate", "serial": "xx", "subject": "", "revoked": null}',
        '{"event": "certificate", "serial": 12, "subject": "", "revoked": null}',
        "[" * 100000,
        "\xff",
    ],
)
def test_lists_that_are_none(factory: Factory, tmp_path: Path, text: str) -> None:
    path = tmp_path / "list"
    path.write_bytes(text.encode("latin-1"))
    done = factory.run("verify", "--ca", factory.server.ca_pem, "--issued", path)
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith(f"Error: {path}") and done.stderr.count("\n") == 1


def refused(factory: Factory, unit: Unit) -> bool:
    number = x509.load_der_x509_certificate(unit.chain[0]).serial_number
    issued = {one.serial: one for one in factory.server.issued()}
    return issued[f"{number:x}"].revoked is not None


def test_a_stolen_station(factory: Factory, tmp_path: Path) -> None:
    before = factory.make("a1", THIEF)
    since = factory.ledger.latest()
    assert since
    good = factory.make("a2", BOB)
    bad = [factory.make("a3", THIEF), factory.make("a4", THIEF, finish=False)]
    identity = factory.server.new_identity("station-9")
    (tmp_path / "station.pem").write_bytes(identity[0])
    number = x509.load_pem_x509_certificate(identity[0]).serial_number
    directory = factory.server.config.directory
    which = ["--station", THIEF.station, "--since", since.isoformat(), "--reason", "stolen"]
    done = factory.run("revoke", *which, "--dry-run")
    assert done.stdout.count("certificate ") == 2
    assert not any(one.revoking for one in factory.ledger.certificates())
    done = factory.run(
        "revoke", *which, "--ca-dir", directory, "--certificate", tmp_path / "station.pem"
    )
    assert done.exit_code == 0, done.output
    assert done.stdout.count("revoked ") == 2
    assert all(refused(factory, unit) for unit in bad)
    assert not refused(factory, good) and not refused(factory, before)
    assert {one.serial: one.revoked for one in factory.server.issued()}[f"{number:x}"]
    events = [event.event for event in factory.ledger.history(bad[0].serial)]
    assert events[-2:] == ["revoke", "revoked"]
    assert factory.ledger.history(bad[0].serial)[-2].outcome == "stolen"
    done = factory.run("revoke", *which, "--ca-dir", directory)
    assert done.stderr == "There is nothing to revoke.\n"
    # Others go on.
    factory.make("a5", BOB)


def test_revoked_elsewhere(factory: Factory) -> None:
    """The server is somebody else's: what is to be done is said, and its result noted."""
    factory.make("a1", THIEF)
    which = ["--station", THIEF.station, "--since", "2026-01-01T00:00", "--reason", "stolen"]
    done = factory.run("revoke", *which, "--json")
    (entry,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert entry["event"] == "to revoke" and "--done" in done.stderr
    (certificate,) = factory.ledger.certificates()
    assert certificate.revoking and not certificate.revoked
    assert any("is to be revoked and isn't yet" in line for line in factory.findings())
    assert factory.run("revoke", *which, "--done").exit_code == 0
    (certificate,) = factory.ledger.certificates()
    assert certificate.revoked


def test_one_ca_refuses_and_the_rest_is_revoked(factory: Factory, tmp_path: Path) -> None:
    one = board("a1", "unit")
    unit = factory.ledger.claim("one", THIEF, "a1")
    factory.ledger.record_request(unit, THIEF, one.key_hash, one.csr)
    factory.ledger.record_certificate(unit, THIEF, Authority().issue(one.csr))
    factory.make("a2", THIEF)
    which = ["--station", THIEF.station, "--since", "2026-01-01T00:00", "--reason", "stolen"]
    done = factory.run("revoke", *which, "--ca-dir", factory.server.config.directory)
    assert done.exit_code == Exit.REFUSED
    assert "1 certificates are not of the server in" in done.stderr
    left, revoked = factory.ledger.certificates()
    assert left.revoking and not left.revoked and revoked.revoked
    done = factory.run("revoke", *which, "--ca-dir", tmp_path / "nowhere")
    assert done.exit_code == Exit.STORAGE and "no server was ever started" in done.stderr


def test_what_a_rework_replaced(factory: Factory) -> None:
    old = factory.make("a1")
    factory.ledger.rework("A0001", ANN, "returned")
    new = factory.make("a1")
    assert factory.findings() == [
        f"A0001: certificate {factory.ledger.superseded('A0001')[0].number} "
        "is replaced and not revoked"
    ]
    words = ["--serial", "A0001", "--reason", "reworked"]
    done = factory.run("revoke", *words, "--ca-dir", factory.server.config.directory)
    assert done.exit_code == 0, done.output
    assert refused(factory, old) and not refused(factory, new)
    assert factory.findings("--issued", factory.issued()) == []

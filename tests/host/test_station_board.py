"""One board on a station: its steps, what a cut leaves, and what goes wrong on the line to it."""

import base64
import contextlib
import os
import shutil
import subprocess
import threading
import time
import tty
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import station_board
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from port_board import board as board_at_port
from server_client import make_csr
from station_board import SUBJECT, UNIQUE_ID, Line

from mpest import boards, runtimes
from mpest.exits import CliError, Exit
from mpest.server import EstServer, ServerConfig, running_server
from mpest.station import errors, repl, request
from mpest.station.authority import Authority
from mpest.station.board import Board
from mpest.station.link import SIMULATED, Serial, Simulated

USER = "board-0a0b0c"
OTP = "good for once"
PROMPT = b"raw REPL; CTRL-B to exit\r\n>"
FIELD = """
import configuration
from est.agent import Agent
from est.store import Store
from wiring import Board
settings, lines = configuration.read("/config.json")
number = Board().unique_id()
agent = configuration.agent(Agent, settings, Store("/"), number, on_event=print)
for _ in range(4):
    wait = agent.step()
    if wait:
        break
print("waits", wait)
"""


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
    config = station_board.config(tmp_path_factory.mktemp("ca"), **{USER: OTP})
    with running_server(config) as running:
        yield running


@pytest.fixture
def line(server: EstServer, tmp_path: Path) -> Iterator[Line]:
    line = Line(server, tmp_path)
    try:
        yield line
    finally:
        line.close()


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
        cut = threading.Timer(moment, link.unplug)
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
        assert (
            request.key_hash(x509.load_der_x509_certificate(first.issued(answer)[0]).public_key())
            == key_hash
        )
    if not first.identify().provisioned:
        first.install(answer, order.cacerts)
    first.prove(list(first.identify().chain))
    assert line.issued(key_hash) == 1


@pytest.mark.parametrize("moment", [0.0, 0.03, 0.06, 0.1])
def test_a_cut_while_the_key_is_made(line: Line, moment: float) -> None:
    first = line.ready()
    order = line.order()
    cut = threading.Timer(moment, line.links[-1].unplug)
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
    line.files = station_board.files(line.profile, line.server, line.folder, user=USER, secret=OTP)
    board = line.ready()
    key_hash = board.make_key(line.order())
    said = line.board().accept(FIELD)
    assert "renewed" in said and "ordered" not in said, said
    assert line.board().identify().key_hash == key_hash
    assert line.issued(key_hash) == 1


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


class Swapped:
    """A link at whose other end the board is exchanged after so many calls."""

    def __init__(self, first: Simulated, second: Simulated, calls: int) -> None:
        self.links = [first] * calls + [second]
        self.name, self.opened = first.name, 1

    def run(self, code: str, seconds: float) -> str:
        return (self.links.pop(0) if len(self.links) > 1 else self.links[0]).run(code, seconds)

    def fresh(self) -> None:
        self.links[0].fresh()

    def reset(self, *, again: bool) -> None:
        self.links[0].reset(again=again)

    def close(self) -> None:
        pass


def test_another_board_on_the_same_path(line: Line) -> None:
    """Whatever call the exchange comes before, nothing is written on the other board."""
    order = line.order()
    for calls in range(1, 60, 6):
        shutil.rmtree(line.folder / "first", ignore_errors=True)
        station_board.place(line.files[:-4], line.folder / "first")
        line.ready("second", "0a0b0d")
        other = line.links.pop()
        before = files_of(line.folder / "second")
        first = station_board.simulated(line.folder / "first", UNIQUE_ID)
        board = Board(Swapped(first, other, calls), line.profile)
        try:
            board.identify()
            board.settings(line.files)
            board.make_key(order)
            board.install(line.authority.enroll(board.request()), order.cacerts)
            board.forget()
            board.wipe()
            break
        except errors.OtherBoard as error:
            assert "0a0b0d" in error.message
        finally:
            first.close()
            other.close()
        assert files_of(line.folder / "second") == before, calls
    assert calls > 15  # there were that many to be exchanged before


def test_another_kind_of_board(line: Line) -> None:
    link = station_board.simulated(line.folder / "root", UNIQUE_ID)
    line.links.append(link)
    with pytest.raises(errors.WrongBoard, match="RPI_PICO2_W has a RP2350"):
        Board(link, boards.load("RPI_PICO2_W")).identify()
    assert files_of(line.folder / "root") == {}


def test_a_board_that_was_provisioned(line: Line) -> None:
    board = line.ready()
    chain = provision(line, board)
    before = files_of(line.folder / "root")
    again = line.board()
    known = again.identify()
    assert known.chain == tuple(chain)
    with pytest.raises(errors.Provisioned, match=known.key_hash):
        again.make_key(line.order())
    assert files_of(line.folder / "root") == before
    # Reworked: a new key under the same name.
    again.forget()
    again.prove(provision(line, again))
    assert again.identify().key_hash != known.key_hash


def test_an_identity_that_cannot_be_read_yet(line: Line) -> None:
    """Without est nobody can tell; its files stay, and are read once it is there."""
    board = line.ready()
    chain = provision(line, board)
    shutil.rmtree(line.folder / "root/lib/est")
    board = line.board()
    known = board.identify()
    assert not known.provisioned and "no module named 'est'" in known.unreadable
    with pytest.raises(errors.Failed, match="no module named 'est'"):
        board.make_key(line.order())
    board.settings(line.files)
    with pytest.raises(errors.Provisioned):
        board.make_key(line.order())
    assert board.identify().chain == tuple(chain)


def test_files_that_nobody_put_there(line: Line) -> None:
    board = line.ready()
    (line.folder / "root/boot.py").write_text("")
    (line.folder / "root/lib/other.py").write_text("")
    board.identify()
    assert board.unknown(line.files) == ["/boot.py", "/lib/other.py"]
    board.wipe()
    assert list((line.folder / "root").iterdir()) == []


def test_an_update_that_was_cut_is_nobody_else_s(line: Line) -> None:
    """Of a station that was killed, or a board that was unplugged, while it staged or switched."""
    board = line.ready()
    root = line.folder / "root"
    for name in ("mpest.new/lib/est/der.mpy", "mpest.plan", "est/der.py", "est.old/der.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    (root / "main.py.0a0b0c0d.old").write_text("another program")
    (root / "main.py.0a0b0c0d.old.py").write_text("none of ours")
    (root / "mpest.new.py").write_text("none of ours")
    board.identify()
    assert board.unknown(line.files) == ["/main.py.0a0b0c0d.old.py", "/mpest.new.py"]
    (root / "mpest.plan").unlink()
    board.settings(line.files)
    left = {path.name for path in root.iterdir() if path.name.startswith(("est", "mpest"))}
    assert left == {"mpest.new.py"}


def test_leftovers(line: Line) -> None:
    board = line.ready()
    root = line.folder / "root"
    (root / "otp.txt").write_text("one-time")
    (root / "lib/deep.py").write_bytes(bytes(500) + b"the Wi-Fi's password" + bytes(900))
    forbidden = ["/otp.txt", "/boot.py", "the Wi-Fi's password", "its other password"]
    assert board.leftovers(forbidden) == ["/lib/deep.py", "/otp.txt"]
    assert board.leftovers([]) == []


def test_the_acceptance_script(line: Line) -> None:
    board = line.ready()
    assert board.accept("print(6 * 7)") == "42\n"
    with pytest.raises(errors.AcceptanceFailed, match="ValueError: too warm") as failed:
        board.accept("print('31.5')\nraise ValueError('too warm')")
    assert failed.value.output == "31.5\n"


def test_other_names_than_the_job_asks_for(line: Line) -> None:
    board = line.ready()
    order = line.order()
    with pytest.raises(errors.RequestDiffers, match="for 'CN=board-0a0b0c', the job's"):
        board.make_key(replace(order, subject="CN=board-1"))
    with pytest.raises(errors.RequestDiffers, match=r"lacks the alternative name a\.example"):
        board.make_key(replace(order, san=("DNS:a.example",)))
    with pytest.raises(errors.RequestDiffers, match="its key is P-256, the job's P-384"):
        board.make_key(replace(order, key_type="P-384"))
    with pytest.raises(CliError, match="is no IP address"):
        board.make_key(replace(order, san=("IP:a",)))
    assert board.make_key(order)


def test_alternative_names(line: Line) -> None:
    san = ["DNS:a.example", "IP:192.0.2.1", "IP:2001:db8::1", "URI:urn:a", "email:a@b.example"]
    line.files = station_board.files(line.profile, line.server, line.folder, san=san)
    board = line.ready()
    assert board.make_key(line.order(san=tuple(san)))


def test_what_the_board_does_not_take(line: Line) -> None:
    board = line.ready()
    order = line.order()
    key_hash = board.make_key(order)
    for answer, reason in (
        (line.authority.enroll(der_of(make_csr("CN=board-2"))), "for another key"),
        (b"0\x80", "cannot be read"),
    ):
        with pytest.raises(errors.NotProven, match=reason):
            board.install(answer, order.cacerts)
    # The board judges by what it trusts itself, whatever the station says.
    other = ServerConfig(directory=line.folder / "other")
    with running_server(other) as server:
        wrong = Authority(server.url, f"sha256:{server.fingerprint}")
        answer, cacerts = wrong.enroll(board.request()), wrong.cacerts()
    with pytest.raises(errors.Failed) as failed:
        board.install(answer, cacerts)
    assert failed.value.exit_code == Exit.NOT_TRUSTED
    assert not line.board().identify().provisioned
    assert line.board().make_key(order) == key_hash


def der_of(csr: x509.CertificateSigningRequest) -> bytes:
    return csr.public_bytes(Encoding.DER)


def test_a_server_that_the_board_does_not_trust(line: Line) -> None:
    line.files = station_board.files(line.profile, line.server, line.folder, sha256="ab" * 32)
    board = line.ready()
    with pytest.raises(errors.Failed, match="fingerprint") as failed:
        board.make_key(line.order())
    assert failed.value.exit_code == Exit.NOT_TRUSTED


def test_a_board_whose_program_ran(line: Line) -> None:
    """Its watchdog may run: a guard keeps it from starting again, and goes at the end."""
    line.ready()
    board = line.board()
    board.make_key(line.order())
    root = line.folder / "root"
    assert "mpest.main" in (root / "main.py").read_text()
    assert (root / "mpest.main").read_text().startswith('"""A whole application')
    board.settings(line.files)
    board.leave()
    assert (root / "main.py").read_text().startswith('"""A whole application')
    assert not (root / "mpest.new").exists() and not (root / "mpest.main").exists()


def test_calls_that_go_wrong(line: Line) -> None:
    def run(code: str, seconds: float = 2) -> None:
        link = station_board.simulated(line.folder / "root", UNIQUE_ID)
        line.links.append(link)
        started = time.monotonic()
        try:
            link.run(code, seconds)
        finally:
            assert time.monotonic() - started < 20

    with pytest.raises(errors.Silent, match="took too long"):
        run("while True: pass", 0.3)
    with pytest.raises(errors.Garbled, match="prints without end"):
        run("while True: print('a' * 1000)", 60)
    with pytest.raises(errors.StartedOver):
        run("import machine; machine.reset()")
    with pytest.raises(errors.StorageFull):
        run("raise OSError(28)")
    with pytest.raises(errors.Failed, match=r"ValueError: no$"):
        run("raise ValueError('no')")
    with pytest.raises(errors.Gone, match="has ended"):
        run("raise SystemExit")


def test_over_a_serial_port(line: Line) -> None:
    station_board.place(line.files, line.folder / "root")
    program = runtimes.find("micropython")
    with board_at_port(program, line.folder / "root") as port:
        board = Board(Serial(port), line.profile)
        chain = provision(line, board)
        assert board.identify().chain == tuple(chain)
        with pytest.raises(CliError, match="does another program use it"):
            Board(Serial(port), line.profile).identify()
        board.leave()
    with pytest.raises(errors.Gone, match="no such port"):
        board.identify()


def test_a_cable_that_is_pulled(line: Line) -> None:
    root = line.folder / "root"
    station_board.place(line.files, root)
    order = line.order()
    keys = set()
    for moment in (0.0, 0.1, 0.3):
        near, far = os.openpty()
        tty.setraw(far)
        port = os.ttyname(far)
        program = runtimes.find("micropython")
        command = [*program.argv, SIMULATED, *station_board.MACHINE, "0"]
        with subprocess.Popen(command, stdin=near, stdout=near, cwd=root) as process:
            os.close(near)
            link = Serial(port)
            board = Board(link, line.profile)
            keys.add(board.make_key(order))
            cut = threading.Timer(moment, process.kill)
            cut.start()
            with pytest.raises(errors.Gone, match="plug the board in again"):
                link.run("import time; time.sleep(60)", 60)
            cut.join()
            link.close()
        os.close(far)
    assert len(keys) == 1


class Scripted:
    """A stream that gives these pieces, and then nothing more."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def read(self, seconds: float) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    def write(self, data: bytes) -> None:
        pass


@given(st.lists(st.binary(max_size=40) | st.sampled_from([PROMPT, b"OK", b"\x04", b">"])))
def test_whatever_a_board_says(pieces: list[bytes]) -> None:
    """Nothing but a result or one line comes of it."""
    board = repl.Repl(Scripted(*pieces), "/dev/ttyACM0")
    with contextlib.suppress(errors.BoardError):
        board.enter(0)
        assert isinstance(board.run("1", 0), str)


def test_by_its_own_network(line: Line) -> None:
    """With a password that the station leaves and withdraws, also where nothing comes of it."""
    lent = station_board.files(line.profile, line.server, line.folder, user=USER, secret=OTP)
    board = line.ready()
    order = line.order()
    key_hash = board.make_key(order)
    with pytest.raises(errors.NotEnrolled, match="refused with HTTP 401"):
        wrong = station_board.files(line.profile, line.server, line.folder, user=USER, secret="x")
        board.enrol_by_network(wrong, line.files, ['"x"'], seconds=3)
    assert OTP not in (line.folder / "root/config.json").read_text()
    said: list[str] = []
    chain = board.enrol_by_network(lent, line.files, [OTP], seconds=60, tell=said.append)
    board.prove(chain)
    assert any(text.startswith("renewed: ") for text in said)
    assert board.identify().key_hash == key_hash
    assert line.issued(key_hash) == 1
    assert not any(OTP.encode() in data for data in files_of(line.folder / "root").values())
    # Whoever forgets to take it away is told where it is.
    with pytest.raises(errors.SecretLeft, match=r"/config\.json still holds"):
        board.withdraw(lent, [OTP])
    # So is who cannot: the board is unplugged meanwhile.
    station_board.place(line.files, line.folder / "unplugged")
    link = Unplugged(runtimes.find("micropython"), line.folder / "unplugged", UNIQUE_ID)
    line.links.append(link)
    again = Board(link, line.profile)
    again.make_key(order)
    with pytest.raises(errors.SecretLeft, match="withdraw it at the server"):
        again.enrol_by_network(lent, line.files, [OTP], tell=link.pull)


class Unplugged(Simulated):
    def __init__(self, program: runtimes.Program, root: Path, unique_id: str) -> None:
        super().__init__(program, root, station_board.MACHINE, unique_id)
        self.gone = False

    def pull(self, _: object) -> None:
        self.gone = True

    def write(self, data: bytes) -> None:
        if self.gone:
            raise errors.Gone("unplugged")
        super().write(data)

"""The programs in examples/, each run on MicroPython against a real server."""

import http.server
import json
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import broker
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from in_use import line_server, server_context
from test_application import SHORT, running, server_for, settings_for, write

from mpest import boards
from mpest.flash import application
from mpest.runtimes import Program
from mpest.server.authority import Authority
from mpest.server.ca import Order, common_name, new_key, now
from mpest.server.tls import TlsIdentity, general_name

EXAMPLES = Path(__file__).parents[2] / "examples"
CHAIN = 2
Find = Callable[[str], Program]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def board(tmp_path: Path) -> Path:
    folder = tmp_path / "board"
    for file in application.files(boards.load("UNIX"), main=False, parts=("est-use",)):
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
    shutil.copytree(broker.DOUBLES / "umqtt", folder / "umqtt")
    return folder


def example(name: str, **constants: object) -> str:
    """The program, with other values for some of its constants."""
    code = (EXAMPLES / name).read_text()
    assert len(code.splitlines()) < 100  # a page
    for constant, value in constants.items():
        code, count = re.subn(f"(?m)^{constant} = .*", f"{constant} = {value!r}", code)
        assert count == 1, constant
    return code


def peer(board: Path) -> tuple[TlsIdentity, x509.Certificate]:
    """Identity of a server of the application's, of the board's own CA; and that CA's root."""
    authority = Authority.open(board.parent / "ca", CHAIN)
    key = new_key()
    names = x509.SubjectAlternativeName([general_name("localhost")])
    order = Order(common_name("peer"), key.public_key(), names)
    leaf = authority.issuer.sign(order, now() + timedelta(days=365))
    return TlsIdentity([leaf, *authority.sent], key), authority.root.certificate


def test_settings() -> None:
    data = (EXAMPLES / "config.json").read_bytes()
    files, missing = application.settings(boards.load("RPI_PICO_W"), EXAMPLES / "config.json")
    assert [file.data for file in files] == [data] and not missing


def test_enrol(board: Path, program: Find) -> None:
    with server_for(board, approve_after=1) as server:
        code = example("enrol.py")
        with running(board, program, code) as process:
            assert process.process.wait(100) == 0
        assert process.count("run this again in 1 s") == 1, process.lines
        threading.Event().wait(1.2)
        for _ in range(2):
            with running(board, program, code) as process:
                assert process.process.wait(100) == 0
            assert process.count("CN=board-") == 1, process.lines
            assert process.count("to be renewed in 0 days") == 1
        assert len(server.issued()) == 1
        (board / "config.json").write_text("{")
        with running(board, program, code) as process:
            assert process.process.wait(100) == 0
        assert process.lines[0].startswith("config.json: is malformed")


def test_enrol_says_what_is_wrong(board: Path, program: Find) -> None:
    with server_for(board) as server:
        write(board / "config.json", settings_for(server, secret="wrong"))
        with running(board, program, example("enrol.py")) as process:
            assert process.process.wait(100) == 0
    assert process.lines[-1].startswith("Refused: ")


def test_mqtt(board: Path, program: Find) -> None:
    """Through renewals on one connection, a restart of the broker, and silence."""
    broker.need()
    constants = {"BROKER": "localhost", "INTERVAL": 1, "KEEPALIVE": 4, "LONGEST_WAIT": 4}
    with (
        server_for(board, SHORT, chain_length=CHAIN) as server,
        broker.Broker(*peer(board)) as mosquitto,
    ):
        code = example("mqtt_mtls.py", PORT=mosquitto.port, **constants)
        with running(board, program, code) as process:
            heard = broker.Subscriber(mosquitto.open_port, "boards/#")
            process.until(lambda: len(server.issued()) >= 3 and len(heard.texts) > 5)
            assert not process.count("MQTT: ")
            count = len(heard.texts)
            mosquitto.stop()
            process.says("MQTT: ")
            # It shall not publish before somebody listens.
            process.process.send_signal(signal.SIGSTOP)
            mosquitto.start()
            heard.again()
            process.process.send_signal(signal.SIGCONT)
            process.until(lambda: len(heard.texts) > count + 2)
    numbers = [int(text.split()[1]) for text in heard.texts]
    assert sorted(set(numbers)) == list(range(numbers[0], numbers[-1] + 1))


def test_mqtt_notices_silence(board: Path, program: Find) -> None:
    broker.need()
    with server_for(board, chain_length=CHAIN), broker.Broker(*peer(board)) as mosquitto:
        wire = broker.Wire(mosquitto.port)
        code = example("mqtt_mtls.py", BROKER="localhost", PORT=wire.port, INTERVAL=1, KEEPALIVE=2)
        with running(board, program, code) as process:
            heard = broker.Subscriber(mosquitto.open_port, "boards/#")
            process.until(lambda: len(heard.texts) > 1)
            count = len(heard.texts)
            wire.fall_silent()
            process.says("MQTT: ")
            process.until(lambda: len(heard.texts) > count + 2)
        wire.close()


@contextmanager
def readings(identity: TlsIdentity, root: x509.Certificate) -> Iterator[tuple[int, list[Any]]]:
    """Port of a server that demands certificates, and what was posted to it."""
    posted: list[Any] = []
    clients = SimpleNamespace(root=root.public_bytes(Encoding.DER))
    context = server_context(identity, clients)

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(201)
            self.send_header("Content-Length", "0")
            self.end_headers()

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request, address) -> None:  # type: ignore[no-untyped-def]
            with suppress(OSError):
                super().finish_request(context.wrap_socket(request, server_side=True), address)

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, posted
        server.shutdown()


def test_https(board: Path, program: Find) -> None:
    with server_for(board, SHORT, chain_length=CHAIN) as server:
        with readings(*peer(board)) as (port, posted):
            code = example("https_mtls.py", URL=f"https://localhost:{port}/", INTERVAL=1)
            with running(board, program, code) as process:
                process.until(lambda: len(server.issued()) >= 3)
                process.until(lambda: len(posted) > 3)
            assert process.count("not sent") == 0, process.lines
        with running(board, program, code) as process:
            process.says("not sent: ")
    assert [one["reading"] for one in posted] == list(range(len(posted)))


def test_https_to_a_wrong_server(board: Path, program: Find, tmp_path: Path) -> None:
    with server_for(board, chain_length=CHAIN):
        _, root = peer(board)
        (tmp_path / "elsewhere/ca").mkdir(parents=True)
        stranger, _ = peer(tmp_path / "elsewhere/board")
        with readings(stranger, root) as (port, posted):
            code = example("https_mtls.py", URL=f"https://localhost:{port}/", INTERVAL=1)
            with running(board, program, code) as process:
                process.says("it is not the server", 2)
    assert posted == []


def test_asyncio(board: Path, program: Find) -> None:
    with server_for(board, SHORT, chain_length=CHAIN) as server:
        identity, root = peer(board)
        clients = SimpleNamespace(root=root.public_bytes(Encoding.DER))
        with line_server(identity, clients) as port:
            code = example("asyncio_renew.py", HOST="localhost", PORT=port, INTERVAL=1)
            with running(board, program, code) as process:
                process.until(lambda: len(server.issued()) >= 3)
                process.says("answered: board-", 5)
            assert process.count("connection: ") == 0
        with running(board, program, code) as process:
            process.says("connection: ", 2)


# What a board's machine has, which the unix port lacks.
MACHINE = """
import sys
class Timer:
    ONE_SHOT = 0
    running = 0
    def __init__(self, number):
        pass
    def init(self, mode, period, callback):
        Timer.running = period
    def deinit(self):
        Timer.running = 0
def deepsleep(ms):
    print("sleeps for", ms, "timer", Timer.running)
    sys.exit()
"""


def test_sleepy(board: Path, program: Find) -> None:
    (board / "machine.py").write_text(MACHINE)
    with (board / "wiring.py").open("a") as file:
        file.write(
            "\n\nclass Board(Board):\n"
            "    def wifi(self, *arguments):\n        print('radio on')\n"
            "    def leave(self):\n        print('radio off')\n"
            "    def unique_id(self):\n        return 'e661'\n"
        )
    code = example("sleepy.py")

    def wake() -> list[str]:
        with running(board, program, code) as process:
            assert process.process.wait(100) == 0, process.lines
        assert process.lines[0] == "reading: 42"
        assert process.lines[-1] == "sleeps for 3600000 timer 0"
        return process.lines[1:-1]

    with server_for(board):
        pass
    lines = wake()
    assert lines[0] == "radio on" and lines[-1] == "radio off"
    assert any("'type': 'PeerError'" in line for line in lines), lines
    # The back-off was kept, and the radio stays off meanwhile.
    assert wake() == wake() == []
    # Other settings do not wait.
    with server_for(board) as server:
        lines = wake()
        assert any(line.startswith("renewed") for line in lines), lines
        assert wake() == []
        assert len(server.issued()) == 1


def test_sleepy_renews(board: Path, program: Find) -> None:
    (board / "machine.py").write_text(MACHINE)
    code = example("sleepy.py")
    with server_for(board, SHORT) as server:
        generations = []
        for _ in range(7):
            with running(board, program, code) as process:
                assert process.process.wait(100) == 0, process.lines
            generations.append(len(server.issued()))
            threading.Event().wait(2)
        issued = [x509.load_der_x509_certificate(one.der) for one in server.issued()]
    assert generations[0] == 1
    assert generations[-1] >= 2, generations
    # It wakes more often than it renews.
    ends = [one.not_valid_after_utc for one in issued]
    assert min(b - a for a, b in pairwise(ends)) >= timedelta(seconds=SHORT // 2 - 1), ends


def test_sleepy_survives_wrong_settings(board: Path, program: Find) -> None:
    (board / "machine.py").write_text(MACHINE)
    with server_for(board) as server:
        write(board / "config.json", settings_for(server, anchors="none.pem"))
        with running(board, program, example("sleepy.py")) as process:
            assert process.process.wait(100) == 0
    assert process.lines[0].startswith("UsageError: anchors: none.pem")
    assert process.lines[-1].startswith("sleeps for")


def test_every_example_is_run() -> None:
    text = Path(__file__).read_text()
    names = [path.name for path in EXAMPLES.iterdir()]
    assert len(names) == 6
    assert [name for name in names if f'"{name}"' not in text] == []

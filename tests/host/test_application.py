"""firmware/main.py, installed as on the board UNIX: it keeps the identity and runs app.py."""

import json
import os
import re
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from documents import block

from mpest import boards, shipped
from mpest.flash import application
from mpest.runtimes import Program
from mpest.server import EstServer, ServerConfig, running_server
from mpest.sim.board_process import stored_identity

Find = Callable[[str], Program]
RETRY = "_RETRY = const(60)"
# Seconds for which a certificate lasts that is renewed after half of them, not before: the other
# half is for a busy machine.
SHORT = 16

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """main.py there tries again after a second."""
    folder = tmp_path / "board"
    for file in application.files(boards.load("UNIX")):
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
    main = (shipped.folder("firmware") / "main.py").read_text()
    assert (folder / "main.py").read_text() == main
    assert RETRY in main
    (folder / "main.py").write_text(main.replace(RETRY, "_RETRY = const(1)"))
    return folder


@contextmanager
def server_for(
    board: Path, seconds: int = 86400, settings: bool = True, **more: Any
) -> Iterator[EstServer]:
    """A server whose certificates last so long, in the board's config.json."""
    config = ServerConfig(
        directory=board.parent / "ca",
        port=0,
        auth="basic",
        users={"board": "geheim"},
        lifetime=timedelta(seconds=seconds),
    )
    config = config.model_copy(update=more)
    # Backdated, so short a life would be none but for the floor of a minute.
    with patch("mpest.server.ca._BACKDATE", timedelta()), running_server(config) as server:
        if settings:
            write(board / "config.json", settings_for(server))
        yield server


def settings_for(server: EstServer, **changes: Any) -> dict[str, Any]:
    early = {"share": 50, "spread": 0} if server.config.lifetime.total_seconds() <= SHORT else {}
    return {
        "url": server.url,
        "sha256": server.fingerprint,
        "subject": "CN=board-{id}",
        "user": "board",
        "secret": "geheim",
        **early,
    } | changes


def write(path: Path, settings: Any) -> None:
    """Whole or not at all: a board that runs may look at any moment."""
    new = path.with_suffix(".part")
    new.write_text(json.dumps(settings))
    new.replace(path)


class Running:
    """A program of the board's that runs; `lines` it has printed."""

    def __init__(self, board: Path, program: Program, script: str) -> None:
        self.process = subprocess.Popen(
            [*program.argv, script],
            cwd=board,
            env={**os.environ, **program.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self.process.stdout
        os.set_blocking(self.process.stdout.fileno(), False)
        self._output = b""

    @property
    def lines(self) -> list[str]:
        assert self.process.stdout
        while part := self.process.stdout.read():
            self._output += part
        # A line of which only a part has come says nothing yet.
        return self._output[: self._output.rfind(b"\n") + 1].decode().splitlines()

    def count(self, words: str) -> int:
        return sum(words in line for line in self.lines)

    def until(self, true: Callable[[], Any], seconds: float = 100) -> None:
        end = time.monotonic() + seconds
        while not true() and self.process.poll() is None and time.monotonic() < end:
            select.select([self.process.stdout], [], [], 0.1)
            time.sleep(0.02)
        assert true(), "\n".join(self.lines)

    def says(self, words: str, times: int = 1) -> None:
        self.until(lambda: self.count(words) >= times)


@contextmanager
def running(board: Path, program: Find, code: str = "") -> Iterator[Running]:
    """main.py, or the program `code`."""
    if code:
        (board / "program.py").write_text(code)
    process = Running(board, program("micropython"), "program.py" if code else "main.py")
    try:
        yield process
    finally:
        process.process.kill()
        process.process.wait()
    assert "geheim" not in "".join(process.lines)


def wiring(board: Path, code: str) -> None:
    """Has the board's wiring.py do what the methods in `code` do."""
    with (board / "wiring.py").open("a") as file:
        file.write(f"\n\nclass Board(Board):\n{code}")


# The identity


def test_enrols_and_renews(board: Path, program: Find) -> None:
    with server_for(board, SHORT) as server:
        for slot in (0, 1):  # damaged beyond use, which must not stop it
            (board / f"identity.{slot}").write_bytes(b"EST1" + bytes(100))
        with running(board, program) as process:
            process.until(lambda: len(server.issued()) >= 3)
        requests = [event["path"].rpartition("/")[2] for event in server.events if "path" in event]
    assert requests.count("simpleenroll") == 2  # one is challenged for the password
    assert "simplereenroll" in requests


def test_enrols_anew_once_the_certificate_has_expired(board: Path, program: Find) -> None:
    code = """
import asyncio
import main
from wiring import Board
config, _ = main.settings("read", "config.json")
frame = main.Frame(Board())
agent = frame.make_agent(config)
async def twice():
    for generation in (1, 2):
        await frame.make_ready(config)
        while agent.known.generation < generation:
            assert await main.steps.wait(agent.steps()) == 0
        while agent.due(True) > -2:
            main.time.sleep(0.1)
asyncio.run(twice())
"""
    with server_for(board, 5) as server:
        with running(board, program, code) as process:
            assert process.process.wait(100) == 0, process.lines
        assert len(server.issued()) == 2
        paths = [event["path"].rpartition("/")[2] for event in server.events if "path" in event]
    assert "simplereenroll" not in paths


def test_all_settings_together(board: Path, program: Find) -> None:
    """Label, token, names, type of key, anchors beside the fingerprint, share of the life."""
    more = {"auth": "token", "tokens": {"the token"}, "label": "boards"}
    with server_for(board, settings=False, **more) as server:
        root = server.ca_pem.read_bytes()
        (board / "ca.pem").write_bytes(root)
        url = re.sub("/.well-known.*", "", server.url)
        write(
            board / "config.json",
            {
                "url": url,
                "label": "boards",
                "anchors": "ca.pem",
                "sha256": server.fingerprint,
                "subject": "CN=board-{id},O=Example",
                "san": ["DNS:{id}.example"],
                "token": "the token",
                "key": "P-384",
                "share": 40,
                "spread": 0,
                "ntp": None,
            },
        )
        with running(board, program) as process:
            process.says("renewed: ")
            process.says("renew in ")
        (leaf, *_), _ = stored_identity(board)
        certificate = x509.load_der_x509_certificate(leaf)
    left = int(next(line for line in process.lines if "renew in " in line).split()[-2])
    assert abs(left - 86400 * 0.4) < 60
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (name,) = names.get_values_for_type(x509.DNSName)
    (subject,) = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    assert name.removesuffix(".example") == str(subject.value).removeprefix("board-")
    public = certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey) and public.key_size == 384


def test_the_factory_certificate(board: Path, program: Find) -> None:
    from mpest.server.ca import Order, common_name, new_ca, new_key, now

    factory, key = new_ca("factory"), new_key()
    order = Order(common_name("board"), key.public_key())
    leaf = factory.sign(order, now() + timedelta(days=1))
    (board / "factory.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    (board / "factory.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    anchors = factory.certificate.public_bytes(Encoding.PEM).decode()
    with server_for(board, settings=False, auth="mtls", factory_ca=anchors) as server:
        wanted = settings_for(server, user=None, secret=None)
        wanted |= {"factory_certificate": "factory.pem", "factory_key": "factory.key"}
        write(board / "config.json", wanted)
        with running(board, program) as process:
            process.says("renewed: ")


# The settings


def test_a_clock_that_is_ahead_and_a_login_that_is_wrong(board: Path, program: Find) -> None:
    """What is next is said by the server's time; what failed names its operation once."""
    with (board / "wiring.py").open("a") as file:
        file.write("\nfrom est import clock\nusual = clock.now_or_0\n")
        file.write("clock.now_or_0 = lambda: usual() + 172800\n")
    with server_for(board, 3600) as server:
        with running(board, program) as process:
            process.says("renew in ")
        assert 0 < int(next(x for x in process.lines if "renew in " in x).split()[-2]) < 3600
        (board / "config.json").write_text(json.dumps(settings_for(server, secret="wrong")))
        for path in board.glob("identity.*"):
            path.unlink()
        with running(board, program) as process:
            process.says("failed: ")
            process.says("retry in ")
        failed = next(line for line in process.lines if line.startswith("failed: "))
        assert failed.startswith("failed: simpleenroll: refused with HTTP 401"), failed
        assert int(next(x for x in process.lines if "retry in " in x).split()[-2]) > 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("nonsense", "config.json: is malformed"),
        ("[]", "must be an object"),
        ("{}", "url is missing"),
        ('{"url": 5}', 'url must be text in "..."'),
        ('{"sha256": "00"}', "subject is missing"),
        ('{"url": "u", "subject": "s", "sha256": "zz"}', "sha256 must be 64 hexadecimal digits"),
        ('{"url": "u", "subject": "s", "sha256": "00", "user": "b"}', "go together"),
        ('{"url": "u", "subject": "s", "user": "b", "secret": null}', "go together"),
        ('{"ur": "https://a"}', "ur is unknown"),
        ('\ufeff{"ur": "https://a"}', "ur is unknown"),
    ],
)
def test_malformed_settings_are_told_key_by_key(
    board: Path, program: Find, settings: str, words: str
) -> None:
    (board / "config.json").write_text(settings)
    with running(board, program) as process:
        assert process.process.wait(100) == 2
    assert process.count(words)
    assert not process.count("Traceback")


def test_settings_that_the_application_mends(board: Path, program: Find) -> None:
    """It runs without settings, and can bring some."""
    code = """
import asyncio
async def main(identity):
    await asyncio.sleep(1)
    with open("config.new.json", "w") as file:
        file.write(open("sent.json").read())
    await asyncio.sleep(1000)
"""
    (board / "app.py").write_text(code)
    (board / "config.json").write_text("{")
    with server_for(board, settings=False) as server:
        write(board / "sent.json", settings_for(server))
        with running(board, program) as process:
            process.says("renewed: ")
    assert process.count("config.json: is malformed") == 1
    assert process.count("config.new.json: accepted") == 1
    assert json.loads((board / "config.json").read_text())["url"] == server.url


# Nobody listens there.
NOWHERE = {"url": "https://127.0.0.1:9", "subject": "CN=a", "sha256": "00" * 32}


@pytest.mark.parametrize("old", [NOWHERE, None, "{"])
def test_new_settings_that_reach_the_server(board: Path, program: Find, old: Any) -> None:
    with server_for(board, settings=False) as server:
        if old:
            write(board / "config.json", old)
        wanted = settings_for(server)
        write(board / "config.new.json", wanted)
        with running(board, program) as process:
            process.says("renewed: ")
            process.says("config.new.json: accepted")
    assert json.loads((board / "config.json").read_text()) == wanted
    assert not (board / "config.new.json").exists()


def test_new_settings_that_need_no_answer(board: Path, program: Find) -> None:
    """Such as those of another Wi-Fi, while the certificate lives."""
    with server_for(board) as server:
        with running(board, program) as process:
            process.says("renewed: ")
        write(board / "config.new.json", settings_for(server, ssid="plant", country="CH"))
        with running(board, program) as process:
            process.says("config.new.json: accepted")
        assert len(server.issued()) == 1
    assert json.loads((board / "config.json").read_text())["ssid"] == "plant"


def test_new_settings_that_the_server_refuses(board: Path, program: Find) -> None:
    """It answers, so they are in use: the operator sees the refusal there."""
    with server_for(board) as server:
        write(board / "config.new.json", settings_for(server, secret="of another"))
        with running(board, program) as process:
            process.says("config.new.json: accepted")


@pytest.mark.parametrize(
    "changes",
    [
        {"url": NOWHERE["url"]},
        {"sha256": "00" * 32},
        {"subject": "no name"},
        {"anchors": "none"},
        {"label": "of-another-server"},
    ],
    ids=str,
)
def test_new_settings_that_do_not_reach_the_server(
    board: Path, program: Find, changes: dict[str, str]
) -> None:
    with server_for(board) as server:
        wanted = settings_for(server, **changes)
        write(board / "config.new.json", wanted)
        with running(board, program) as process:
            process.says("renewed: ")
            assert process.count("the server is not reached, config.json stays") == 1
        assert json.loads((board / "config.json").read_text()) == settings_for(server)
    # It is tried again at the next start.
    assert json.loads((board / "config.new.json").read_text()) == wanted


@pytest.mark.parametrize("content", ["nonsense", "{", '{"url": 5}', ""])
def test_new_settings_that_are_malformed(board: Path, program: Find, content: str) -> None:
    with server_for(board):
        before = (board / "config.json").read_text()
        (board / "config.new.json").write_text(content)
        with running(board, program) as process:
            process.says("renewed: ")
        assert process.count("config.new.json: put aside") == 1
        with running(board, program) as process:
            process.says("renew in ")
        assert not process.count("config.new.json")
    assert (board / "config.bad.json").read_text() == content
    assert (board / "config.json").read_text() == before


def test_both_are_tried_in_turn_where_neither_gets_an_answer(board: Path, program: Find) -> None:
    """A board that moved to a network which is down just now."""
    wiring(
        board,
        """
    tries = []
    async def join(self, ssid=None, password=None, country=None):
        self.tries.append(ssid)
        if ssid == "old" or self.tries.count("new") < 3:
            raise OSError(5)
""",
    )
    with server_for(board) as server:
        write(board / "config.json", settings_for(server, ssid="old"))
        write(board / "config.new.json", settings_for(server, ssid="new"))
        with running(board, program) as process:
            process.says("config.new.json: accepted")
            process.says("renewed: ")
        assert process.count("config.json stays") == 2
    assert json.loads((board / "config.json").read_text())["ssid"] == "new"


def test_new_settings_come_while_it_runs(board: Path, program: Find) -> None:
    wiring(board, "    async def join(self, *arguments):\n        raise OSError(5)\n")
    with server_for(board) as server, running(board, program) as process:
        process.says("OSError: [Errno 5] EIO", 2)
        (board / "config.new.json").write_text("nonsense")
        process.says("put aside")
        write(board / "config.new.json", settings_for(server, ssid="x"))
        process.says("config.json stays")


# The application


def test_the_application_follows_the_identity(board: Path, program: Find) -> None:
    code = """
import asyncio
async def main(identity):
    seen = None
    while True:
        if identity.generation != seen:
            seen = identity.generation
            print("app has", seen, len(identity.chain))
        await asyncio.sleep(0.1)
"""
    (board / "app.py").write_text(code)
    with server_for(board, SHORT), running(board, program) as process:
        process.says("app has 2 1")
        assert process.count("app has 0 0") == process.count("app has 1 1") == 1
    with server_for(board, SHORT), running(board, program) as process:
        process.says("app has ")
        assert next(line for line in process.lines if "app has" in line) != "app has 0 0"


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("async def main(identity):\n raise KeyError('pin')\n", "line 2, in main: KeyError: pin"),
        (
            "async def main(identity):\n raise OSError(5)\n",
            "line 2, in main: OSError: [Errno 5] EIO",
        ),
        ("async def main(identity):\n raise MemoryError\n", "MemoryError"),
        ("async def main(identity):\n raise SystemExit\n", "SystemExit"),
        ("import asyncio\nraise asyncio.CancelledError\n", "CancelledError"),
        ("def main(:\n", 'app.py", line 1: SyntaxError: invalid syntax'),
        ("import nothing\n", "ImportError: no module named 'nothing'"),
        ("", "it needs async def main(identity)"),
        ("def main(identity):\n pass\n", "it needs async def main(identity)"),
        ("async def main():\n pass\n", "TypeError"),
        ("async def main(identity):\n raise ValueError('a\\nb')\n", "ValueError: a b"),
    ],
)
def test_whatever_the_application_raises(board: Path, program: Find, code: str, line: str) -> None:
    """It is one line, the application starts again, and renewals go on."""
    (board / "app.py").write_text(code)
    with server_for(board, SHORT) as server, running(board, program) as process:
        process.says("app.py", 3)
        process.until(lambda: len(server.issued()) >= 2)
    told = [found for found in process.lines if found.startswith("app.py")]
    assert all(line in found for found in told), told
    assert not process.count("Traceback")
    events = ("ordered", "answered", "candidate", "proven", "renewed", "bootstrap", "waiting")
    events += ("app.py", "renew in ", "retry in ")
    others = [found for found in process.lines if not found.startswith(events)]
    assert others == []


def test_an_application_that_ends(board: Path, program: Find) -> None:
    """It starts again each time; that it ended is told once."""
    (board / "app.py").write_text("async def main(identity):\n    print('at work')\n")
    with server_for(board, SHORT), running(board, program) as process:
        process.says("at work", 3)
    assert process.count("app.py has ended") == 1


RUNS_ALREADY = "RuntimeError: the loop runs already: await it instead"


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("asyncio.new_event_loop()", "at work"),
        ("asyncio.run(asyncio.sleep(0))", RUNS_ALREADY),
        ("asyncio.run_until_complete(asyncio.sleep(0))", RUNS_ALREADY),
        ("asyncio.get_event_loop().run_until_complete(asyncio.sleep(0))", RUNS_ALREADY),
        ("asyncio.get_event_loop().run_forever()", RUNS_ALREADY),
    ],
)
def test_an_application_that_handles_the_loop(
    board: Path, program: Find, statement: str, words: str
) -> None:
    """As programs do that are alone on a board: renewals go on, and nothing crashes."""
    code = f"import asyncio\nasync def main(identity):\n {statement}\n print('at work')\n"
    (board / "app.py").write_text(code)
    with server_for(board, SHORT) as server, running(board, program) as process:
        process.says(words, 2)
        process.until(lambda: len(server.issued()) >= 3)


def test_an_application_that_blocked_before(board: Path, program: Find) -> None:
    """After the watchdog bit, the agent goes first."""
    (board / "app.py").write_text(
        "import time\nasync def main(identity):\n print('blocks')\n time.sleep(1000)\n"
    )
    wiring(board, "    def was_bitten(self):\n        return True\n")
    with server_for(board), running(board, program) as process:
        process.says("blocks")
        assert process.count("renewed: ") == 1


def test_a_server_that_only_ends_the_connection(board: Path, program: Find) -> None:
    """Nothing was shown to it, so nothing was refused."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=_end_connections, args=(listener,), daemon=True)
        thread.start()
        write(board / "config.json", {**NOWHERE, "url": f"https://127.0.0.1:{port}"})
        with running(board, program) as process:
            process.says("failed: bootstrap: cacerts: TLS: the server ended the connection")
            process.says("retry in ")
        assert not process.count("stranded")


def _end_connections(listener: socket.socket) -> None:
    with suppress(OSError):
        while True:
            listener.accept()[0].close()


def test_an_application_that_is_reported_alone(board: Path, program: Find) -> None:
    (board / "app.py").write_text("async def main(identity):\n    raise KeyError\n")
    with server_for(board, SHORT) as server:
        write(board / "config.json", settings_for(server, app="report"))
        with running(board, program) as process:
            process.until(lambda: len(server.issued()) >= 2)
    assert process.count("app.py") == 1


def test_a_task_of_the_application_that_fails(board: Path, program: Find) -> None:
    code = """
import asyncio
async def fail():
    raise ValueError("of a task")
async def main(identity):
    asyncio.create_task(fail())
    await asyncio.Event().wait()
"""
    (board / "app.py").write_text(code)
    with server_for(board, SHORT) as server, running(board, program) as process:
        process.until(lambda: len(server.issued()) >= 2)
    assert process.count("in fail: ValueError: of a task") == 1
    assert not process.count("Traceback")


def test_renewals_beside_an_application_that_hangs(board: Path, program: Find) -> None:
    code = "import asyncio\nasync def main(identity):\n    await asyncio.Event().wait()\n"
    (board / "app.py").write_text(code)
    wiring(
        board,
        """
    def watchdog(self, seconds=None):
        class Dog:
            def feed(self):
                print("fed")
        return Dog()
""",
    )
    with server_for(board, SHORT) as server, running(board, program) as process:
        process.until(lambda: len(server.issued()) >= 3)
        process.says("fed", 6)


# The hardware


@pytest.mark.parametrize(
    "raised", ["KeyError('pin')", "ValueError(1)", "OSError(5)", "MemoryError()"]
)
@pytest.mark.parametrize("where", ["join", "set_time", "check_storage", "watchdog", "__init__"])
def test_nothing_that_the_wiring_raises_ends_it(
    board: Path, program: Find, where: str, raised: str
) -> None:
    """Each is one line, and the next try comes."""
    a = "async " if where in ("join", "set_time") else ""
    wiring(
        board,
        f"""
    tries = []
    {a}def {where}(self, *arguments):
        self.tries.append(1)
        if len(self.tries) < 3:
            raise {raised}
        return {a and "await "}super().{where}(*arguments)
""",
    )
    kind = raised.partition("(")[0]
    with server_for(board), running(board, program) as process:
        process.says("renewed: ")
    told = [line for line in process.lines if kind in line or "clock" in line]
    assert len(told) >= (2 if where != "set_time" else 1), process.lines
    assert not process.count("Traceback")


FRAME = """
import asyncio
import main
from wiring import Board
calls = []
class Counting(Board):
    async def join(self, *arguments):
        calls.append("join")
    def leave(self):
        calls.append("leave")
    async def set_time(self, server):
        calls.append(server)
class Agent:
    failures = 1
frame = main.Frame(Counting())
frame.agent = Agent()
def check(expected):
    asyncio.run(frame.ready())
    assert calls == expected, calls
    calls.clear()
def silence():
    frame.on_event("failed", {"type": "PeerError", "operation": "x", "text": "no answer"})
"""


@pytest.mark.parametrize(
    "code",
    [
        # Two attempts that nobody answered.
        'frame.config = {"ssid": "x"}\ncheck(["join", "pool.ntp.org"])\nsilence()\n'
        'check(["join"])\nsilence()\ncheck(["leave", "join"])\nsilence()\ncheck(["join"])',
        # One that was answered comes between.
        'frame.config = {"ssid": "x", "ntp": None}\nsilence()\n'
        'frame.on_event("waiting", {"text": "not now"})\nsilence()\ncheck(["join"])',
        # The agent had no failures in between.
        'frame.config = {"ssid": "x", "ntp": None}\nsilence()\nAgent.failures = 0\n'
        'check(["join"])\nAgent.failures = 1\nsilence()\ncheck(["join"])',
        # The application's network is not left.
        'frame.config = {"ntp": "a"}\nsilence()\nsilence()\ncheck(["join", "a"])',
    ],
)
def test_wifi_is_joined_anew(board: Path, program: Find, code: str) -> None:
    with running(board, program, FRAME + code) as process:
        assert process.process.wait(100) == 0, process.lines


def test_the_watchdog_bites_where_the_agent_hangs(board: Path, program: Find) -> None:
    code = """
import asyncio
import main
import wiring
fed = []
class Dog:
    def feed(self):
        fed.append(1)
wiring.Board.watchdog = lambda self, seconds: Dog()
async def die(frame):
    pass
async def live(frame):
    await asyncio.sleep(1000)
ways = {
    "dead": (die, None),
    "hung": (live, lambda frame: False),
    "lives": (live, None),
}
usual = main.Frame.is_alive
async def watch(name):
    main.Frame.keep, alive = ways[name]
    main.Frame.is_alive = alive or usual
    fed.clear()
    task = asyncio.create_task(main.main())
    await asyncio.sleep(3.5)
    task.cancel()
    print(name, len(fed) > 1)
async def all():
    for name in sorted(ways):
        await watch(name)
asyncio.run(all())
"""
    with server_for(board), running(board, program, code) as process:
        assert process.process.wait(100) == 0, process.lines
    assert process.lines == ["dead False", "hung False", "lives True"]


def test_the_application_makes_room(board: Path, program: Find) -> None:
    (board / "app.py").write_text("async def make_room():\n    print('made')\n")
    code = FRAME + "asyncio.run(frame.make_room())\nimport app\nasyncio.run(frame.make_room())\n"
    with running(board, program, code) as process:
        assert process.process.wait(100) == 0, process.lines
    assert process.lines == ["made"]


def test_the_application_of_the_document(board: Path, program: Find) -> None:
    code = block("docs/board.md", "async def main(identity)")
    (board / "app.py").write_text(code)
    with server_for(board), running(board, program) as process:
        process.says("the certificate in use ends at")
    assert not process.count("app.py")


def test_the_program_of_the_readme_enrols_once_and_renews(board: Path, program: Find) -> None:
    code = block("README.md", "agent.step()")
    with server_for(board, SHORT) as server:
        for old, new in (
            ("https://est.example.com/.well-known/est", server.url),
            ("...64 digits, SHA-256 of the CA certificate...", server.fingerprint),
            ('"device-1", "one-time password"', '"board", "geheim"'),
            ('Store("/")', 'Store(".")'),
            ("while True:", "agent.share, agent.spread = 32768, 0\nwhile True:"),
        ):
            assert code.count(old) == 1
            code = code.replace(old, new)
        with running(board, program, code) as process:
            process.says("renewed ")
        server.config.users = {}  # the password was for one time
        with running(board, program, code) as process:
            process.says("renewed ", 2)
        requests = [event["path"].rpartition("/")[2] for event in server.events if "path" in event]
    assert requests.count("simpleenroll") == 2  # one is challenged for the password
    assert "simplereenroll" in requests

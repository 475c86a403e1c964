"""Every example of docs/use.md runs, and does what the page says."""

import contextlib
import re
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path

import broker
import in_use
import microdot
import ports
import pytest
import test_contracts
import test_requests
from documents import block
from in_use import Pki

AGENT = """
class agent:
    pass

agent.known = known
take("own")
trust("root")
"""


def example(code: str, host: str = "localhost", port: int = 0) -> str:
    """For a server that is here."""
    for name, usual in (("mqtt", 8883), ("api", 443)):
        code = code.replace(f"https://{name}.example.com", f"https://{host}:{port}")
        code = code.replace(f"{name}.example.com", host)
        code = re.sub(rf"\b{usual}\b", str(port), code)
    return code


def run(code: str, folder: Path, pki: Pki, *path: Path) -> str:
    board = in_use.start(
        "micropython",
        AGENT + code,
        folder / "board",
        *path,
        own=in_use.items(pki.issue("own")),
        root=pki.root.hex(),
    )
    output, errors = board.communicate(timeout=100)
    assert board.returncode == 0, output + errors
    return output


@pytest.fixture(autouse=True)
def runtime(program) -> None:  # type: ignore[no-untyped-def]
    program("micropython")


def test_context(tmp_path: Path) -> None:
    pki = Pki.of(3)
    with in_use.line_server(pki.issue("server", "localhost"), pki) as port:
        code = example(block("docs/use.md", "stream = context.wrap_socket"), port=port)
        assert run(code + "tell(ask(stream))", tmp_path, pki) == '"own"\n'


def test_requests_(tmp_path: Path) -> None:
    pki = Pki.of(2)
    with test_requests.serving(pki.issue("server", "localhost"), pki) as port:
        output = run(
            example(block("docs/use.md", "requests.use(agent.known)"), port=port), tmp_path, pki
        )
    assert output.startswith("200 {")


def test_asyncio(tmp_path: Path) -> None:
    pki = Pki.of(2)
    with test_contracts.web_server(pki.issue("server", "localhost"), pki) as port:
        output = run(
            example(block("docs/use.md", "asyncio.open_connection("), port=port), tmp_path, pki
        )
    assert output == "HTTP/1.0 200 OK\n"


def test_microdot(tmp_path: Path) -> None:
    pki = Pki.of(2)
    library = tmp_path / "lib"
    shutil.copytree(Path(microdot.__file__).parent, library / "microdot")
    port = ports.reserve()
    code = AGENT + example(block("docs/use.md", "app = Microdot()"), port=port).replace(
        "app.run(", 'tell("ready")\napp.run('
    )
    own = in_use.items(pki.issue("own", "localhost"))
    root = pki.root.hex()
    board = in_use.start("micropython", code, tmp_path / "board", library, own=own, root=root)
    try:
        assert board.stdout
        assert board.stdout.readline() == '"ready"\n', board.communicate()
        known = in_use.client_context(pki, pki.issue("client"))
        url = f"https://localhost:{port}/"
        until = time.monotonic() + 60
        while time.monotonic() < until and board.poll() is None:
            with (
                contextlib.suppress(ConnectionError, urllib.error.URLError),
                urllib.request.urlopen(url, context=known, timeout=60) as answer,
            ):
                assert answer.read() == b"hello"
                return
            time.sleep(0.1)
        pytest.fail("it does not serve")
    finally:
        board.kill()
        board.communicate()


# Where the original needs what unix MicroPython lacks.
STANDINS = """
import asyncio, sys

class network:
    STA_IF = STAT_CONNECTING = 0

    class WLAN:
        isconnected = connect = active = status = config = lambda *_, **__: 1
        __init__ = disconnect = lambda *_: None

class machine:
    unique_id = lambda: b"board"

sys.modules["network"] = network
sys.modules["machine"] = machine
import errno
"""


def mqtt(tmp_path: Path, code: str, pki: Pki, port: int) -> str:
    return run(STANDINS + code, tmp_path, pki, *test_contracts.libraries())


@pytest.mark.parametrize("number", [0, 1, 2])
def test_mqtt(tmp_path: Path, number: int) -> None:
    """By umqtt, robust and not, and mqtt_as, with a chain of three: the message arrives."""
    broker.need()
    pki = Pki.of(3)
    server = pki.issue("server", "localhost")
    with broker.Broker(server, pki.signers[0].certificate) as mosquitto:
        subscriber = broker.Subscriber(mosquitto.open_port, "status")
        port = mosquitto.port
        code = (
            example(block("docs/use.md", "from umqtt.simple import"), port=port),
            example(block("docs/use.md", "class Client(MQTTClient)"), port=port),
            example(block("docs/use.md", "from mqtt_as import"), port=port),
        )[number]
        mqtt(tmp_path, code, pki, port)
        until = time.monotonic() + 60
        while not subscriber.texts and time.monotonic() < until:
            time.sleep(0.05)
    assert subscriber.texts == ["up"]


def test_a_refusal_is_handed_on(tmp_path: Path) -> None:
    broker.need()
    pki = Pki.of(2)
    other = Pki.of(2, "other").signers[0].certificate
    with broker.Broker(pki.issue("server", "localhost"), other) as mosquitto:
        code = example(block("docs/use.md", "from umqtt.simple import"), port=mosquitto.port)
        code = code[: code.index("client.connect()")]
        code += (
            example(block("docs/use.md", "agent.known.refused(error)"))
            + "tell(agent.known.doubt > '')\n"
        )
        assert mqtt(tmp_path, code, pki, mosquitto.port) == "true\n"

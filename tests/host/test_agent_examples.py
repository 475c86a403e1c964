"""Every example of docs/agent.md runs on MicroPython against a server, and does what it says."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from documents import block
from test_application import Running

from mpest import shipped
from mpest.runtimes import Program
from mpest.server import EstServer, ServerConfig, running_server

AGENT = """
import gc
gc.threshold(4096)
from est import auth
from est.agent import Agent
from est.store import Store

def make(password="geheim", **more):
    return Agent(
        Store("."), URL, "CN=device-1", trust=bytes.fromhex(TRUST),
        credentials=auth.Password("board", password), **more
    )

"""
ENROLLED = AGENT + "agent = make()\nagent.enroll()\n"
Run = Callable[..., list[str]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EstServer]:
    config = ServerConfig(
        directory=tmp_path / "ca", port=0, auth="basic", users={"board": "geheim"}
    )
    with running_server(config) as running:
        yield running


@pytest.fixture
def run(tmp_path: Path, server: EstServer, program: Callable[[str], Program]) -> Run:
    """Runs code, until it ends or says `words`; the lines it printed."""
    folder = tmp_path / "board"
    folder.mkdir()
    (folder / "est").symlink_to(shipped.folder("firmware") / "est")

    def run(code: str, words: str = "") -> list[str]:
        known = f"URL = {server.url!r}\nTRUST = {server.fingerprint!r}\n"
        (folder / "program.py").write_text(known + code)
        running = Running(folder, program("micropython"), "program.py")
        try:
            if words:
                running.says(words)
            else:
                assert running.process.wait(40) == 0, running.lines
            return running.lines
        finally:
            running.process.kill()
            running.process.wait()

    return run


def dial(code: str, name: str, server: EstServer) -> str:
    return code.replace(name, "localhost").replace("443)", f"{server.port})")


def test_events(run: Run) -> None:
    code = block("docs/agent.md", "def on_event(name, detail)")
    code = AGENT + code + "agent = make('wrong', on_event=on_event)\n" + "agent.step()\n" * 2
    assert "refused with HTTP 401" in run(code)[-1]


def test_loop(run: Run, server: EstServer) -> None:
    code = block("docs/agent.md", "seconds = agent.step()")
    run(AGENT + "agent = make(on_event=print)\n" + code, "renewed ")
    assert len(server.issued()) == 1


def test_task(run: Run, server: EstServer) -> None:
    code = block("docs/agent.md", "create_task(agent.run())")
    run(AGENT + "agent = make(on_event=print)\n" + code, "renewed ")
    assert len(server.issued()) == 1


def test_make_room(run: Run) -> None:
    code = "class mqtt:\n    async def disconnect():\n        print('closed')\n"
    code += block("docs/agent.md", "async def make_room()")
    assert run(code + "import asyncio\nasyncio.run(make_room())\n") == ["closed"]


@pytest.mark.parametrize(("path", "good"), [("/.well-known/est/cacerts", True), ("/me", False)])
def test_proof(run: Run, server: EstServer, path: str, good: bool) -> None:
    code = dial(block("docs/agent.md", "def prove(context)"), "api.example.com", server)
    code = ENROLLED + code.replace("/me", path) + "prove(agent.known.context())\n"
    if good:
        assert run(code) == []
    else:
        with pytest.raises(AssertionError, match="ValueError: not accepted"):
            run(code)


def test_identity(run: Run) -> None:
    code = block("docs/agent.md", "chain, key = agent.known")
    (line,) = run(ENROLLED + code + "assert len(chain) == 1 and len(key) > 99\n")
    assert line.startswith("1 ")
    code = block("docs/agent.md", "json.dumps(agent.known.status())")
    (line,) = run(ENROLLED + code)
    assert '"enrolled": true' in line
    code = block("docs/agent.md", "agent.known.erase()")
    assert run(ENROLLED + code + "print(agent.known.chain)\n") == ["[]"]


def test_context(run: Run, server: EstServer) -> None:
    code = "import socket\nsock = socket.socket()\n"
    code += f"sock.connect(socket.getaddrinfo('localhost', {server.port})[0][-1])\n"
    code += dial(
        block("docs/agent.md", "takes the place of an SSLContext"), "mqtt.example.com", server
    )
    code += "stream.write(b'GET / HTTP/1.0\\r\\n\\r\\n')\nprint(stream.readline())\n"
    assert run(ENROLLED + code) == ["b'HTTP/1.0 404 Not Found\\r\\n'"]


def test_a_refusal(run: Run) -> None:
    code = "class mqtt:\n    def connect():\n        raise OSError(104)\n"
    code += block("docs/agent.md", "agent.known.refused(error)")
    assert run(ENROLLED + code + "print(agent.known.doubt > '')\n") == ["True"]


def test_secure_element(run: Run, server: EstServer) -> None:
    """It enrols by what the example makes of the element's public point and signatures."""
    code = (
        "from est.ec import P256\nprivate = P256.generate()\npublic_point = P256.public(private)\n"
    )
    code += "def sign(digest):\n    return P256.sign(private, digest)\n"
    code += block("docs/agent.md", "element.ElementKey(").replace("Agent(...", "make(")
    code = code.replace("make(, ", "make(")
    assert run(AGENT + code + "agent.enroll()\nprint(len(agent.known.chain))\n")[-1] == "1"

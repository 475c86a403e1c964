"""Bouncy Castle's EST client enrols at the test server."""

from contextlib import ExitStack
from pathlib import Path

import bouncy_castle
import pytest

from mpest.server import ServerConfig, running_server

CLIENT = Path(__file__).with_name("BouncyCastleClient.java")
USER, PASSWORD = "board-1", "a password: näher"

BASIC, WAITING = {"auth": "basic"}, {"auth": "basic", "approve_after": 1}
SHA256, MD5 = ({"auth": "digest", "digest_algorithms": [name]} for name in ("SHA-256", "MD5"))
# Settings of the server, password, operation of the client, what it says.
RUNS = {
    "cacerts": (BASIC, PASSWORD, "cacerts", "1 certificates"),
    "csrattrs": (BASIC, PASSWORD, "csrattrs", "none"),
    "basic": (BASIC, PASSWORD, "enroll", "CN=board-1"),
    "certificate": (BASIC, PASSWORD, "reenroll", "CN=board-1"),
    "key": (BASIC, PASSWORD, "serverkeygen", "CN=board-1 and 1.2.840.10045.2.1"),
    "no attributes": (BASIC, PASSWORD, "enroll-bare", "CN=board-1"),
    "basic, wrong": (BASIC, "another", "enroll", "refused with 401"),
    "waiting": (WAITING, PASSWORD, "enroll-twice", "CN=board-1 after waiting"),
    "SHA-256": (SHA256, PASSWORD, "enroll", "CN=board-1"),
    "SHA-256, wrong": (SHA256, "another", "enroll", "refused with 401"),
    "MD5": (MD5, PASSWORD, "enroll", "CN=board-1"),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the client says of each of RUNS: starting Java takes longer than all of them."""
    with ExitStack() as stack:
        servers = {}
        arguments: list[object] = []
        for settings, password, operation, _ in RUNS.values():
            if id(settings) not in servers:
                directory = tmp_path_factory.mktemp("ca")
                config = ServerConfig(directory=directory, users={USER: PASSWORD}, **settings)
                servers[id(settings)] = stack.enter_context(running_server(config))
            server = servers[id(settings)]
            arguments += [operation, server.port, server.ca_pem, password]
        lines = bouncy_castle.run(CLIENT, USER, *arguments).splitlines()
    return dict(zip(RUNS, lines, strict=True))


@pytest.mark.parametrize("name", RUNS)
def test_operation(said: dict[str, str], name: str) -> None:
    assert said[name] == RUNS[name][-1]

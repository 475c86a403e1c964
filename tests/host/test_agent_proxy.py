"""`mpest agent` behind an HTTP proxy, with a login and without."""

import base64
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from linux_agent import LinuxAgent

from mpest.server import EstServer, ServerConfig, running_server


@pytest.fixture
def est(tmp_path: Path) -> Iterator[EstServer]:
    config = ServerConfig(
        directory=tmp_path / "ca", auth="basic", users={"board": "correct horse"}
    )
    with running_server(config) as server:
        yield server


def linux_agent(est: EstServer, folder: Path, runtime: str, program) -> LinuxAgent:
    if runtime != "cpython":
        program(runtime)
    return LinuxAgent(est.url, est.ca_pem, folder / "agent", runtime)


class _Proxy(socketserver.ThreadingTCPServer):
    """An HTTP proxy that knows CONNECT alone; `asked` holds its requests' first lines.

    wanted: the login, as Proxy-Authorization has it; None where there is none.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.asked: list[str] = []
        self.wanted: str | None = None


class _Tunnel(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _Proxy)
        line = self.rfile.readline().decode()
        fields = [name.decode().strip() for name in iter(self.rfile.readline, b"\r\n")]
        self.server.asked.append(line.strip())
        wanted = self.server.wanted
        if wanted and f"Proxy-Authorization: {wanted}" not in fields:
            self.wfile.write(
                b"HTTP/1.1 407 You sent %s\r\n" % " ".join(fields).encode()
                + b'Proxy-Authenticate: Basic realm="plant"\r\n\r\n'
            )
            return
        host, _, port = line.split()[1].rpartition(":")
        with socket.create_connection((host, int(port))) as server:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_copy, args=(server, self.connection), daemon=True)
            back.start()
            _copy(self.connection, server)
            back.join()


def _copy(source: socket.socket, to: socket.socket) -> None:
    try:
        while octets := source.recv(65536):
            to.sendall(octets)
        to.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@contextmanager
def proxy() -> Iterator[_Proxy]:
    with _Proxy() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("runtime", ["cpython", "micropython"])
def test_through_a_proxy(est: EstServer, tmp_path: Path, runtime: str, program) -> None:
    agent = linux_agent(est, tmp_path, runtime, program)
    with proxy() as between:
        port = between.server_address[1]
        done = agent.run("--once", proxy=f"http://127.0.0.1:{port}")
        assert done.returncode == 0, done.stderr
        authority = est.url.split("/")[2]
        assert between.asked == [f"CONNECT {authority} HTTP/1.1"]
    done = agent.run("renew", "--now", proxy=f"http://127.0.0.1:{port}")
    assert done.returncode == 6 and f"cannot reach 127.0.0.1 port {port}" in done.stderr


@pytest.mark.parametrize("runtime", ["cpython", "micropython"])
def test_a_proxy_that_wants_a_login(est: EstServer, tmp_path: Path, runtime: str, program) -> None:
    agent = linux_agent(est, tmp_path, runtime, program)
    password = "open: sesame ä"
    with proxy() as between:
        port = between.server_address[1]
        between.wanted = "Basic " + base64.b64encode(f"us@r:{password}".encode()).decode()
        done = agent.run("--once", proxy=f"http://127.0.0.1:{port}")
        assert done.returncode == 6
        assert "wants a login: proxy as http://USER@HOST:PORT, and proxy_password" in done.stderr
        login = {"proxy": f"http://us%40r@127.0.0.1:{port}", "proxy_password_file": "proxy.secret"}
        (agent.folder / "proxy.secret").write_text("a wrong one\n")
        done = agent.run("renew", "--now", "--json", **login)
        assert done.returncode == 6
        assert "refuses the login: check the user in proxy" in done.stderr
        wrong = base64.b64encode(b"us@r:a wrong one").decode()
        for said in (done.stderr, done.stdout, agent.run("status", **login).stdout):
            assert "a wrong one" not in said and wrong not in said
        (agent.folder / "proxy.secret").write_text(password + "\n")
        done = agent.run("renew", "--now", **login)
        assert done.returncode == 0, done.stderr
        assert password not in done.stderr
    assert (agent.export / "cert.pem").exists()

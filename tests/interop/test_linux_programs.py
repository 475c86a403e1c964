"""Programs of a Linux machine take a renewed certificate, and no connection is lost.

Each row of the table in docs/linux.md, as `export` and `hooks` of the configuration have it: the
reader's user and group, the form of chain and key, what reloads it. `verify` looks on.
"""

import contextlib
import grp
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import broker
import nginx
import ports
import postgres
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from deployed import SECONDS, Machine, hooks, wait

from mpest.runtimes import Program

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="other users' files need root")


def known(find: Callable[[str], object], name: str) -> str:
    try:
        find(name)
    except KeyError:
        pytest.skip(f"there is no {name} here")
    return name


def shown(port: int) -> bytes:
    """The certificate that a server shows to a client that trusts nobody."""
    context = ssl._create_unverified_context()
    with (
        socket.create_connection(("localhost", port), SECONDS) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as stream,
    ):
        found = stream.getpeercert(binary_form=True)
        assert found
        return found


@contextlib.contextmanager
def running(command: list[Any], folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A program that listens at `port`; its output is FOLDER/log."""
    log = folder / "log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder
        )
    try:
        wait(lambda: shown(port), process, log)
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def mosquitto(machine: Machine, more: str = "") -> Iterator[int]:
    """Debian's, as its package configures it; returns the port."""
    broker.need()
    port = ports.reserve()
    configuration = machine.folder / "mosquitto.conf"
    configuration.write_text(
        f"user mosquitto\npid_file {machine.folder}/pid/pid\n"
        f"listener {port} 127.0.0.1\nallow_anonymous true\n"
        f"cafile {machine.path('ca.pem')}\ncertfile {machine.path('fullchain.pem')}\n"
        f"keyfile {machine.path('key.pem')}\n{more}"
    )
    (machine.folder / "pid").mkdir()
    shutil.chown(machine.folder / "pid", "mosquitto")
    with running([broker._PROGRAM, "-c", configuration], machine.folder, port):
        yield port


def mqtt(port: int) -> Any:
    sys.path.insert(0, str(broker.DOUBLES))
    from umqtt.simple import MQTTClient

    client = MQTTClient(f"client-{time.monotonic_ns()}", "localhost", port)
    client.ssl = ssl._create_unverified_context()
    client.set_callback(lambda topic, message: client.heard.append(message))
    client.heard = []
    client.connect()
    client.subscribe("t", 1)
    return client


@needs_root
@pytest.mark.parametrize("demand", ["", "require_certificate true\n"])
def test_mosquitto(machine, demand):
    """It has given up root, and reads as its own user."""
    host = machine(group=known(grp.getgrnam, "mosquitto"), chain=None)
    first = host.renew()
    with mosquitto(host, demand) as port:
        assert shown(port) == first
        host.hooks = {
            "reload": [{"signal": "HUP", "pid_file": str(host.folder / "pid/pid")}],
            "verify": f"127.0.0.1:{port}",
        }
        client = None if demand else mqtt(port)
        second = host.renew()
        assert shown(port) == second != first
        if client:
            client.publish("t", b"still there", qos=1)
            while not client.heard:
                client.wait_msg()
            assert client.heard == [b"still there"]


@needs_root
def test_a_reader_that_may_not_read_is_found_out(machine, monkeypatch):
    """Whose group it is not, which mosquitto tells at its next reload alone."""
    host = machine(group=known(grp.getgrnam, "mosquitto"))
    monkeypatch.setattr(hooks, "_VERIFY_WAITS", (0, 0.3))
    host.renew()
    with mosquitto(host) as port:
        host.wanted["group"] = "root"
        host.hooks = {
            "reload": [{"signal": "HUP", "pid_file": str(host.folder / "pid/pid")}],
            "verify": f"127.0.0.1:{port}",
        }
        with pytest.raises(AssertionError, match="show"):
            host.renew()


class Remote(threading.Thread):
    """A broker that a bridge logs in to, which notes the certificate that it shows each time.

    Each `drop` ends a connection.
    """

    def __init__(self, host: Machine) -> None:
        super().__init__(daemon=True)
        self.shown: list[bytes | None] = []
        self.drop = threading.Semaphore(0)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(host.path("fullchain.pem"), host.path("key.pem"))
        self._context.load_verify_locations(host.path("ca.pem"))
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.start()

    def run(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            with contextlib.suppress(OSError), self._context.wrap_socket(sock, True) as stream:
                stream.recv(65536)
                stream.sendall(b"\x20\x02\x00\x00")  # CONNACK
                self.shown.append(stream.getpeercert(binary_form=True))
                self.drop.acquire()


@needs_root
def test_bridge(machine):
    """mosquitto reads for each connection of a bridge, as its own user. None is to be reloaded."""
    host = machine(group=known(grp.getgrnam, "mosquitto"))
    first = host.renew()
    remote = Remote(host)
    bridge = (
        f"connection remote\naddress localhost:{remote.port}\ntopic # both\n"
        f"bridge_cafile {host.path('ca.pem')}\nbridge_certfile {host.path('fullchain.pem')}\n"
        f"bridge_keyfile {host.path('key.pem')}\nrestart_timeout 1\n"
        "bridge_protocol_version mqttv311\n"
    )
    with mosquitto(host, bridge) as port:
        log = host.folder / "log"
        wait(lambda: remote.shown, None, log)
        host.hooks = {
            "reload": [{"signal": "HUP", "pid_file": str(host.folder / "pid/pid")}],
            "verify": f"127.0.0.1:{port}",
        }
        second = host.renew()
        # The connection goes on; the next one shows the new certificate.
        assert remote.shown == [first]
        remote.drop.release()
        wait(lambda: len(remote.shown) > 1, None, log)
        assert remote.shown == [first, second]


class Slow(threading.Thread):
    """A server of HTTP that answers once `answer` is set."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.answer = threading.Event()
        self.asked = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.start()

    def run(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            sock.recv(65536)
            self.asked.set()
            self.answer.wait()
            sock.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nwhole")
            sock.close()


def ask(port: int) -> ssl.SSLSocket:
    context = ssl._create_unverified_context()
    sock = socket.create_connection(("localhost", port), SECONDS)
    stream = context.wrap_socket(sock, server_hostname="localhost")
    stream.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
    return stream


def answered(stream: ssl.SSLSocket) -> bool:
    octets = b""
    while data := stream.recv(65536):
        octets += data
    return octets.endswith(b"whole")


NGINX = nginx.https(
    "{live}/fullchain.pem",
    "{live}/key.pem",
    "location / {{ proxy_pass http://127.0.0.1:{behind}; }}",
).replace("worker_processes 1;", "worker_processes 2;")


def test_nginx(machine, program):
    """Its master reads, as root."""
    found: Program = program("nginx")
    host = machine(folder_mode="700", mode="600")
    first = host.renew()
    slow, port = Slow(), ports.reserve()
    settings = host.folder / "nginx.conf"
    settings.write_text(
        NGINX.format(
            load="",
            folder=host.folder,
            user="user nobody nogroup;" if os.getuid() == 0 else "",
            port=port,
            live=host.path(""),
            behind=slow.port,
        )
    )
    command = [*found.argv, "-p", host.folder, "-e", host.folder / "error.log", "-c", settings]
    with running(command, host.folder, port):
        stream = ask(port)
        assert slow.asked.wait(SECONDS)
        assert stream.getpeercert(binary_form=True) == first
        host.hooks = {
            "reload": [{"signal": "HUP", "pid_file": str(host.folder / "pid")}],
            "verify": f"localhost:{port}",
        }
        second = host.renew()
        assert shown(port) == second != first
        slow.answer.set()
        assert answered(stream)


HAPROXY = """
global
    log stderr format raw local0
    stats socket {folder}/socket mode 600 level admin expose-fd listeners
defaults
    mode http
    timeout connect 60s
    timeout client 60s
    timeout server 60s
frontend site
    bind 127.0.0.1:{port} ssl crt {live}/combined.pem
    default_backend behind
backend behind
    server one 127.0.0.1:{behind}
"""


def test_haproxy(machine, program):
    """It reads before it gives up root. A reload is a new process; the old one ends its work."""
    found: Program = program("haproxy")
    host = machine(combined="combined.pem", cert=None, chain=None, fullchain=None, key=None)
    host.new_key = lambda: rsa.generate_private_key(65537, 2048)
    first = host.renew()
    slow, port = Slow(), ports.reserve()
    settings = host.folder / "haproxy.cfg"
    settings.write_text(
        HAPROXY.format(folder=host.folder, port=port, live=host.path(""), behind=slow.port)
    )
    pid_file = host.folder / "pid"
    start = [*map(str, found.argv), "-f", str(settings), "-p", str(pid_file)]
    processes = []
    with running([*start, "-db"], host.folder, port) as process:
        pid_file.write_text(str(process.pid))
        stream = ask(port)
        assert slow.asked.wait(SECONDS)
        # What `systemctl reload haproxy` comes to; the hook leaves a daemon.
        again = [*start, "-D", "-x", str(host.folder / "socket"), "-sf", str(process.pid)]
        host.hooks = {"on_renewed": again, "verify": f"localhost:{port}"}
        second = host.renew()
        processes = [int(line) for line in pid_file.read_text().split()]
        try:
            assert shown(port) == second != first
            slow.answer.set()
            assert answered(stream)
        finally:
            for number in processes:
                os.kill(number, 15)


@needs_root
def test_postgresql(machine):
    """It wants the key to be its own user's alone, or root's and its group's."""
    with postgres.running() as server:
        user = pwd.getpwnam(server.user)
        group = grp.getgrgid(user.pw_gid).gr_name
        host = machine(owner=server.user, group=group, mode="600")
        first = host.renew()
        folder = server.folder / "data"
        with (folder / "postgresql.conf").open("a") as settings:
            for name, file in (("cert", "fullchain.pem"), ("key", "key.pem"), ("ca", "ca.pem")):
                settings.write(f"ssl_{name}_file = '{host.path(file)}'\n")
            settings.write("ssl = on\n")
        server.stop()
        server.start()
        url = f"{server.url()}&sslmode=verify-full&sslrootcert={host.path('ca.pem')}"
        host.hooks = {
            "reload": [{"signal": "HUP", "pid_file": str(folder / "postmaster.pid")}],
            "verify": f"postgres:127.0.0.1:{server.port}",
        }
        with psycopg.connect(url) as connection:
            second = host.renew()
            assert second != first
            assert connection.execute("SELECT 1").fetchone() == (1,)
        psycopg.connect(url).close()
        # Root's, for its group.
        host.wanted |= {"owner": "root", "mode": "640"}
        host.renew()
        psycopg.connect(url).close()

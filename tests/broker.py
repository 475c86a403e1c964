"""Debian's mosquitto, which demands certificates, and a wire to it that fails when told."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import ports
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mpest.server.tls import TlsIdentity

DOUBLES = Path(__file__).with_name("doubles")
# Debian installs it where only root's PATH looks.
_PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


def need() -> None:
    """Skip the test where mosquitto is missing; CI must have it."""
    if not _PROGRAM:
        reason = "needs mosquitto (Debian: apt install mosquitto)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


class Broker:
    """Listens with TLS at `port` for clients of root `clients`, and in the clear at `open_port`.

    TLS is 1.2, which shows certificates on the wire. crl: PEM, or None for no list.
    """

    def __init__(
        self, identity: TlsIdentity, clients: x509.Certificate, crl: bytes | None = None
    ) -> None:
        self.port, self.open_port = ports.reserve(), ports.reserve()
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self._crl = folder / "crl.pem"
        if crl:
            self._crl.write_bytes(crl)
        (folder / "ca.pem").write_bytes(clients.public_bytes(Encoding.PEM))
        chain = [one.public_bytes(Encoding.PEM) for one in identity.chain]
        (folder / "server.pem").write_bytes(b"".join(chain))
        key = identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "server.key").write_bytes(key)
        self._configuration = folder / "mosquitto.conf"
        user = "user root\n" if os.getuid() == 0 else ""
        self._configuration.write_text(
            f"{user}per_listener_settings true\nautosave_interval 0\n"
            f"listener {self.open_port} 127.0.0.1\nallow_anonymous true\n"
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\n"
            f"require_certificate true\nuse_identity_as_username true\n"
            f"cafile {folder}/ca.pem\ncertfile {folder}/server.pem\nkeyfile {folder}/server.key\n"
            + (f"crlfile {self._crl}\n" if crl else "")
        )
        self._log = folder / "log"  # not a pipe, which would be full one day
        self._openssl = folder / "openssl.cnf"
        self._openssl.write_text(
            "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = tls\n"
            "[tls]\nMaxProtocol = TLSv1.2\n"
        )
        self.start()

    def start(self) -> None:
        assert _PROGRAM
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [_PROGRAM, "-c", self._configuration],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, "OPENSSL_CONF": str(self._openssl)},
            )
        until = time.monotonic() + 20
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.open_port), 1).close()
                return
            time.sleep(0.05)
        self._process.kill()
        raise AssertionError(self._log.read_text())

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def revoke(self, crl: bytes) -> None:
        """From now on it goes by another list."""
        self.stop()
        self._crl.write_bytes(crl)
        self.start()

    def __enter__(self) -> "Broker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._folder.cleanup()


class Subscriber:
    """What the broker has: the texts of all messages so far."""

    def __init__(self, port: int, topic: str = "t") -> None:
        self.texts: list[str] = []
        self._port = port
        self._topic = topic
        self.again()

    def again(self) -> None:
        """Subscribe anew, as after a restart of the broker."""
        sys.path.insert(0, str(DOUBLES))
        from umqtt.simple import MQTTClient

        client = MQTTClient("host", "127.0.0.1", self._port)
        client.set_callback(lambda topic, message: self.texts.append(message.decode()))
        client.connect()
        client.subscribe(self._topic, 1)
        threading.Thread(target=self._listen, args=(client,), daemon=True).start()

    def _listen(self, client: Any) -> None:
        with contextlib.suppress(OSError, IndexError):
            while True:
                client.wait_msg()


class Wire:
    """A relay to `port` that notes what the board sends, falls silent, or cuts a connection.

    sent: what each connection sent. silent: nothing passes any more on those that are open now,
    and they stay open. cut: how many of the next connections are closed after their first octets.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.sent: list[bytearray] = []
        self.cut = 0
        self._deaf: set[int] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def fall_silent(self) -> None:
        self._deaf = set(range(len(self.sent)))

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                board, _ = self._listener.accept()
            except OSError:
                return
            number = len(self.sent)
            self.sent.append(bytearray())
            cut, self.cut = self.cut > 0, max(self.cut - 1, 0)
            try:
                broker = socket.create_connection(("127.0.0.1", self._target), 60)
            except OSError:
                board.close()
                continue
            for pair in ((board, broker), (broker, board)):
                arguments = (number, *pair, pair[0] is board, cut)
                threading.Thread(target=self._pass, args=arguments, daemon=True).start()

    def _pass(
        self, number: int, source: socket.socket, target: socket.socket, up: bool, cut: bool
    ) -> None:
        source.settimeout(None)
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if number in self._deaf:
                    continue
                if up:
                    self.sent[number] += data
                    if cut and len(self.sent[number]) > 1000:
                        break  # amid the handshake, after the certificate
                target.sendall(data)
        if number in self._deaf and not up:
            return
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

"""What an agent exports on a machine, and the hooks that follow, without agent and server."""

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mpest.server.authority import Authority
from mpest.server.ca import Order, common_name, new_key, now
from mpest.server.tls import general_name
from mpest.sim import cpython

cpython.install()

from est import posix  # noqa: E402
from estd import export, hooks  # noqa: E402

SECONDS = 60


class Machine:
    """A CA, what it issues for "localhost", and the folder that programs read it from."""

    def __init__(self, folder: Path, **wanted: Any) -> None:
        self.folder = folder
        (folder / "ca").mkdir()
        (folder / "state").mkdir(mode=0o700)
        self.authority = Authority.open(folder / "ca", 3)
        self.wanted = {"folder": str(folder / "live"), "anchors": "ca.pem", **wanted}
        self.hooks: dict[str, Any] = {}
        self.new_key: Callable[[], Any] = new_key

    def path(self, name: str) -> Path:
        return self.folder / "live" / name

    def renew(self, name: str = "localhost") -> bytes:
        """Deploy another certificate and have it used; returns it, DER."""
        key = self.new_key()
        names = x509.SubjectAlternativeName([general_name("localhost"), general_name("127.0.0.1")])
        order = Order(common_name(name), key.public_key(), names)
        leaf = self.authority.issuer.sign(order, now() + timedelta(days=1))
        chain = [leaf, *self.authority.sent]
        anchors = [self.authority.root.certificate.public_bytes(Encoding.DER)]
        der = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        listed = [one.public_bytes(Encoding.DER) for one in chain]
        # Every program is given both.
        traditional = self.wanted.get("key_form") == "pkcs8"
        self.wanted["key_form"] = "traditional" if traditional else "pkcs8"
        assert export.deploy([self.wanted], listed, der, anchors)
        state = str(self.folder / "state")
        facts = {"sha256": leaf.fingerprint(SHA256()).hex()}
        hooks.due(state, hooks.RENEWED, facts)
        told: list[Any] = []
        try:
            left = hooks.run_due(state, self.hooks, lambda *event: told.append(event))
        finally:
            posix.close(state)
        assert left is None, (told, self.log())
        return listed[0]

    def log(self) -> str:
        with contextlib.suppress(OSError):
            return (self.folder / "state/hooks.log").read_text()
        return ""


@contextlib.contextmanager
def maker() -> Iterator[Callable[..., Machine]]:
    """Makes a Machine whose folder other users may enter."""
    with tempfile.TemporaryDirectory(prefix="mpest-programs-") as name:
        os.chmod(name, 0o755)
        yield lambda **wanted: Machine(Path(name), **wanted)


def wait(until: Callable[[], object], process: subprocess.Popen[bytes] | None, log: Path) -> None:
    """Wait until it is so, while the process runs that writes to `log`."""
    end = time.monotonic() + SECONDS
    while True:
        with contextlib.suppress(OSError):
            if until():
                return
        ended = process and process.poll() is not None
        assert not ended and time.monotonic() < end, log.read_text()
        time.sleep(0.05)

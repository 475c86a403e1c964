"""A simulated board beside a test server that it knows."""

from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mpest.server import EstServer
from mpest.sim import cpython
from mpest.sim.board_process import Event, run_board


class Bench:
    """A server, and a board that knows its CA and a password, with other `settings` of its own."""

    def __init__(self, server: EstServer, state: Path, runtime: str, **settings: Any) -> None:
        self.server = server
        self.state = state
        self.runtime = runtime
        root = x509.load_pem_x509_certificates(server.ca_pem.read_bytes())
        self.config: dict[str, Any] = {
            "url": server.url,
            "anchors": [one.public_bytes(Encoding.DER).hex() for one in root],
            "subject": "CN=board-1,O=Example",
            "san": ["DNS:board-1.example"],
            "user": "board",
            "password": "correct horse",
            **settings,
        }

    def events(self, *operations: str, **changes: Any) -> list[Event]:
        config = {**self.config, **changes, "operations": operations}
        return list(run_board(config, self.runtime, self.state))

    def run(self, *operations: str, **changes: Any) -> Event:
        """Last event of the board."""
        return self.events(*operations, **changes)[-1]

    def files(self) -> dict[str, bytes]:
        return {name: (self.state / name).read_bytes() for name in ("cert.pem", "key.pem")}

    def hasten(self) -> None:
        """Make the board believe that the time it was asked to wait has passed."""
        cpython.install()
        from est import posix, store

        records = store.Store(str(self.state))
        meta, *rest = store.unpack(records.load("order"))
        meta["until"] -= meta["wait"]
        records.save("order", store.pack(meta, *rest))
        posix.close(str(self.state))

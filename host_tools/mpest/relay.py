"""A TCP relay on 127.0.0.1 that counts the bytes which pass through it."""

import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Relay(socketserver.ThreadingTCPServer):
    """Forwards each connection to `target`; `sent` is towards it, `received` from it."""

    daemon_threads = True

    def __init__(self, target: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.target = target
        self.port: int = self.server_address[1]
        self.sent = 0
        self.received = 0
        self.lock = threading.Lock()


class _Connection(socketserver.BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        client: socket.socket = self.request
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", self.server.target)) as target,
        ):
            while True:
                for ready in select.select([client, target], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    (target if ready is client else client).sendall(data)
                    with self.server.lock:
                        if ready is client:
                            self.server.sent += len(data)
                        else:
                            self.server.received += len(data)


@contextmanager
def running_relay(target: int) -> Iterator[Relay]:
    """A Relay to port `target`, in a thread."""
    with Relay(target) as relay:
        thread = threading.Thread(target=relay.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            thread.join()

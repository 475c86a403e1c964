"""The EST client for asyncio: est.client's, whose operations are awaited."""

import select
import socket
import time

from micropython import const

from est import client, lookup, steps
from est.errors import PeerError

# Of poll: an error, or the end of the connection.
_FAILED = const(0x18)
# EINPROGRESS, which lwIP on the ESP32 numbers in its own way.
_CONNECTING = const((115, 119))


class Client(client.Client):
    """As est.client.Client, but that `run`, and with it each operation, is a coroutine.

    Neither finding the server's addresses nor connecting holds the loop, and all addresses are
    tried within one `timeout`. Cancelled, an operation closes the connection.
    """

    def run(self, operation):
        return steps.wait(self.steps(operation))

    def _connect(self):
        try:
            addresses = yield from lookup.find(self._host, self._port, self._left)
        except OSError as error:
            raise PeerError("no address known for %s (%s)" % (self._host, error))
        end = self._deadline
        for number, address in enumerate(addresses):
            # One that is silent leaves time for the others.
            share = self._left() // (len(addresses) - number)
            self._deadline = time.ticks_add(time.ticks_ms(), share)
            try:
                yield from self._open(address)
                break
            except (OSError, PeerError) as error:
                reason = error
                self.close()
            finally:
                self._deadline = end
        else:
            raise self.error(reason)
        self.wrap()

    def _open(self, address):
        self._sock = sock = socket.socket(address[0], address[1], address[2])
        sock.setblocking(False)
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        try:
            sock.connect(address[-1])
        except OSError as error:
            if error.errno not in _CONNECTING:
                raise
        ready = poll.poll(0)
        while not ready:
            self._left()
            yield poll
            ready = poll.poll(0)
        if ready[0][1] & _FAILED:
            sock.recv(1)  # raises what it was
            raise OSError(111)  # ECONNREFUSED

"""Connecting: every address of a name within one deadline, or a proxy by CONNECT (RFC 9110 9.3.6).

An address that is silent, as IPv6 where the router only pretends, holds the others up for a
moment: the next one is tried beside it (RFC 8305).
"""

import select
import socket
import sys
import time

from micropython import const

from est import client, lookup
from est.errors import PeerError

# Until the next address is tried beside those that are silent.
_NEXT_MS = const(500)
# More of one name are not tried.
_MAX_ADDRESSES = const(16)
# Of a proxy's answer.
_MAX_HEAD = const(8192)
# EINPROGRESS.
_CONNECTING = const(115)
# Of poll: an error, or the end of the connection.
_FAILED = const(0x18)


def client_class(proxy=None):
    """What takes the place of est.client.Client. proxy: (host, port) of an HTTP proxy, or None."""

    class Client(client.Client):
        def _connect(self):
            host, port = proxy or (self._host, self._port)
            found = yield from find(host, port, self._left)
            self._sock = connect(found, host, port, self._left)
            if proxy:
                try:
                    tunnel(self._sock, self._host, self._port, self._left)
                except OSError as error:
                    raise PeerError("the proxy %s ends the connection (%s)" % (host, error))
            self.wrap()

    return Client


def parse_proxy(url):
    """(host, port) of http://HOST:PORT, None for None."""
    if not url:
        return None
    host, _, port = url[7:].rstrip("/").rpartition(":")
    return host.strip("[]"), int(port)


def find(host, port, left):
    """What socket.getaddrinfo gives of a host, in steps (est.run). Raises PeerError.

    left: gives the milliseconds left, raises PeerError without any.
    """
    try:
        if sys.implementation.name == "cpython":
            return (yield from lookup.find(host, port, left))
        # Without threads that take turns it takes the time that the system's resolver does.
        return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    except OSError as error:
        raise PeerError("no address known for %s (%s)" % (host, error))


def connect(addresses, host, port, left):
    """A TCP socket that is connected to one of the addresses of `host`, as `find` gives them.

    left: as there. Raises PeerError.
    """
    waiting = []
    reason = "no answer"
    for address in addresses[:_MAX_ADDRESSES] + [None]:
        if address:
            try:
                sock = socket.socket(address[0], address[1], address[2])
                sock.setblocking(False)
                waiting.append(sock)
                sock.connect(address[-1])
            except OSError as error:
                if error.errno != _CONNECTING:
                    # Such as ENETUNREACH, without IPv6.
                    reason = error
                    continue
        end = time.ticks_add(time.ticks_ms(), _NEXT_MS)
        while waiting:
            try:
                ms = left()
            except PeerError:
                _close(waiting)
                raise
            if address:
                ms = min(ms, time.ticks_diff(end, time.ticks_ms()))
                if ms <= 0:
                    break
            connected, error = _look(waiting, ms)
            reason = error or reason
            if connected:
                waiting.remove(connected)
                _close(waiting)
                connected.setblocking(True)
                return connected
            if error and address:
                break  # the next one at once
    raise PeerError("cannot reach %s port %d: is the network up? (%s)" % (host, port, reason))


def _look(waiting, ms):
    # (The first socket that is connected or None, the error of one that failed or None).
    poll = select.poll()
    for sock in waiting:
        poll.register(sock, select.POLLOUT)
    for ready, event in poll.poll(ms):
        number = ready if isinstance(ready, int) else ready.fileno()
        for sock in waiting:
            if sock.fileno() == number:
                break
        if not event & _FAILED:
            return sock, None
        waiting.remove(sock)
        error = OSError(111)  # ECONNREFUSED
        try:
            sock.recv(1)  # raises what it was
        except OSError as raised:
            error = raised
        sock.close()
        return None, error
    return None, None


def _close(sockets):
    for sock in sockets:
        sock.close()


def tunnel(sock, host, port, left):
    """Have the proxy at the other end of `sock` connect to `host`. Raises PeerError, OSError."""
    authority = "%s:%d" % ("[%s]" % host if ":" in host else host, port)
    sock.setblocking(False)
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    # It is short: what is sent goes into the socket's buffer whole.
    sock.send(("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (authority, authority)).encode())
    head = b""
    # One octet at a time: what follows the head is TLS.
    while not head.endswith(b"\r\n\r\n"):
        if not poll.poll(left()):
            continue
        octet = sock.recv(1)
        if not octet or len(head) >= _MAX_HEAD:
            raise PeerError("the proxy does not answer CONNECT as it should")
        head += octet
    words = head.split(b"\r\n")[0].split(b" ", 2)
    status = words[1] if len(words) > 1 else b""
    if status[:1] == b"2" and len(status) == 3:
        return
    shown = "".join([chr(octet) for octet in head.split(b"\r\n")[0][:100] if 31 < octet < 127])
    text = "the proxy does not let %s through: %s" % (authority, shown)
    if status in (b"502", b"503", b"504"):
        raise PeerError(text + "; is the EST server up?")
    if status == b"407":
        text += "; proxies that ask for a login are not supported"
    raise PeerError(text)

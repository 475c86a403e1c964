"""Connecting: every address of a name within one deadline, or a proxy by CONNECT (RFC 9110 9.3.6).

An address that is silent, as IPv6 where the router only pretends, holds the others up for a
moment: the next one is tried beside it (RFC 8305).
"""

import select
import socket
import sys
import time

from micropython import const

from est import auth, client, lookup
from est.errors import PeerError, UsageError

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
    """What takes the place of est.client.Client. proxy: as `parse_proxy` gives it."""

    class Client(client.Client):
        def _connect(self):
            host, port, login = proxy or (self._host, self._port, None)
            found = yield from find(host, port, self._left)
            self._sock = connect(found, host, port, self._left)
            if proxy:
                try:
                    tunnel(self._sock, self._host, self._port, self._left, login)
                except OSError as error:
                    raise PeerError("the proxy %s ends the connection (%s)" % (host, error))
            self.wrap()

    return Client


def parse_proxy(url, password=None):
    """(host, port, est.auth.Password or None) of http://[USER@]HOST:PORT, None for None.

    USER is as in a URL, with % for octets. Raises UsageError.
    """
    if not url:
        return None
    user, at, place = url[7:].rstrip("/").rpartition("@")
    host, _, port = place.rpartition(":")
    login = None
    if at:
        login = auth.Password(_unquoted(user), password)
        login.basic = True
    return host.strip("[]"), int(port), login


def _unquoted(user):
    first, *parts = user.split("%")
    try:
        octets = first.encode()
        for part in parts:
            octets += bytes([int(part[:2], 16)]) + part[2:].encode()
        user = octets.decode()
    except ValueError:
        raise UsageError("a % in the user begins no octet of UTF-8")
    if ":" in user:
        raise UsageError("Basic knows no user with a colon")
    return user


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


def tunnel(sock, host, port, left, login=None):
    """Have the proxy at the other end of `sock` connect to `host`. Raises PeerError, OSError.

    login: sent at once, as curl does: its header is Basic's (RFC 7617).
    """
    authority = "%s:%d" % ("[%s]" % host if ":" in host else host, port)
    sock.setblocking(False)
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    asked = "CONNECT %s HTTP/1.1\r\nHost: %s\r\n" % (authority, authority)
    if login:
        asked += "Proxy-Authorization: %s\r\n" % login.header("CONNECT", authority)
    # It is short: what is sent goes into the socket's buffer whole.
    sock.send((asked + "\r\n").encode())
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
    # What it says may hold the password again.
    shown = status[:3] if login else head.split(b"\r\n")[0][:100]
    shown = "".join([chr(octet) for octet in shown if 31 < octet < 127])
    text = "the proxy does not let %s through: %s" % (authority, shown)
    if status in (b"502", b"503", b"504"):
        raise PeerError(text + "; is the EST server up?")
    if status == b"407":
        text += "; " + _about_login(head, login)
    raise PeerError(text)


def _about_login(head, login):
    # What to do about a 407 (RFC 9110 15.5.8).
    schemes = [
        line.split(b":", 1)[1].strip().lower()
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"proxy-authenticate:")
    ]
    if schemes and not [scheme for scheme in schemes if scheme[:5] == b"basic"]:
        return "it wants a login of a kind that is not supported: only Basic is"
    if login:
        return "it refuses the login: check the user in proxy, and proxy_password_file"
    return "it wants a login: proxy as http://USER@HOST:PORT, and proxy_password_file"

"""The running agent is told what to do by another process: a socket in the folder of its state.

The agent says {} first: it listens. A request is one line, a JSON object whose "action" is a name.
The answer is one object a line: the events, then {"exit": exit code}, with what was asked for.
"""

import json
import os
import select
import socket

from micropython import const

_NAME = const("/control")
_MAX_REQUEST = const(4096)
# sun_path of sockaddr_un, with its end.
_MAX_PATH = const(107)
# What asks is on this machine, and has the whole line by then.
_READ_MS = const(2000)
_AF_UNIX = const(1)
# An agent that sleeps answers at once. One that works does so between two steps.
LISTENS_MS = 3000
# EAGAIN, ETIMEDOUT; CPython's TimeoutError has no number.
_TIMED_OUT = const((11, 110, None))


class Busy(OSError):
    """An agent runs and does not listen now: a hook or a step takes its time, or it is stopped."""


def endpoint(path):
    """What a socket of the UNIX domain binds or connects to. "@" begins an abstract name."""
    name = path.encode()
    if name[:1] == b"@":
        name = b"\0" + name[1:]
    if hasattr(os, "fspath"):
        return name
    import struct

    # MicroPython takes a sockaddr_un.
    return struct.pack("H", _AF_UNIX) + name + (b"" if name[:1] == b"\0" else b"\0")


def listen(state):
    """The socket to listen at, in folder `state`. Raises OSError.

    The store's lock is this process's: what lies there is left of one before.
    """
    path = state + _NAME
    if len(path.encode()) > _MAX_PATH:
        raise OSError("its path is too long: %s" % path)
    try:
        os.remove(path)
    except OSError:
        pass
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(endpoint(path))
        sock.listen(4)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def connect(state):
    """A socket to the agent that runs, or None. Raises Busy; OSError for another user's."""
    path = state + _NAME
    if len(path.encode()) > _MAX_PATH:
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # While many wait at one that does not listen.
    sock.settimeout(LISTENS_MS // 1000)
    try:
        sock.connect(endpoint(path))
    except OSError as error:
        sock.close()
        if error.errno in (2, 20, 111):  # ENOENT, ENOTDIR, ECONNREFUSED
            return None
        raise _busy() if error.errno in _TIMED_OUT else error
    sock.settimeout(None)
    return sock


def runs(state):
    """Whether an agent runs. Raises OSError where it is another user's."""
    try:
        sock = connect(state)
    except Busy:
        return True
    if sock:
        sock.close()
    return bool(sock)


def _busy():
    return Busy("the agent that runs is busy, such as with a hook, or is stopped")


def ask(sock, request):
    """Send a request; yields the objects of the answer. Raises OSError where it is cut off.

    Raises Busy where nothing comes, before the request is sent: it is not done later.
    """
    data = b""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    # A status is told at once, a renewal takes its time.
    limit = LISTENS_MS
    try:
        while True:
            line, end, rest = data.partition(b"\n")
            if not end:
                if not poll.poll(limit):
                    raise _busy()
                received = sock.recv(4096)
                if not received:
                    raise OSError("the agent ended before it answered")
                data += received
                continue
            data = rest
            answer = json.loads(line)
            if not answer:
                sock.send(json.dumps(request).encode() + b"\n")
                limit = LISTENS_MS if request["action"] == "status" else -1
                continue
            yield answer
            if "exit" in answer:
                return
    finally:
        sock.close()


class Caller:
    """Another process that asks. `request`: what it sent, None where that cannot be understood."""

    def __init__(self, sock):
        self.sock = sock
        # Who does not read holds nothing up for long.
        sock.settimeout(_READ_MS // 1000)
        self.tell({})
        self.request = self._read() if self.sock else None

    def _read(self):
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        line = b""
        try:
            while not line.endswith(b"\n") and len(line) < _MAX_REQUEST:
                if not poll.poll(_READ_MS):
                    return None
                data = self.sock.recv(_MAX_REQUEST)
                if not data:
                    return None
                line += data
            request = json.loads(line)
        except (OSError, ValueError):
            return None
        return request if isinstance(request, dict) else None

    def tell(self, answer):
        """Send one object. One who is gone, or does not read, is left."""
        if self.sock:
            try:
                data = memoryview(json.dumps(answer).encode() + b"\n")
                while data:
                    data = data[self.sock.send(data) :]
            except OSError:
                self.close()

    def close(self):
        if self.sock:
            self.sock.close()
            self.sock = None


def accept(sock):
    """The Caller that waits at the socket `sock`, or None."""
    try:
        return Caller(sock.accept()[0])
    except OSError:
        return None

import io
import sys
import time

from est import client, clock, errors, run, store
from est.agent import Agent

ANSWERS = {}


class Handed(errors.PeerError):
    """The request is the station's now."""


class Line:
    """In place of a TLS connection: a request that is written has the station's answer."""

    def __init__(self):
        self.answer = io.BytesIO(b"")

    def write(self, data):
        operation = bytes(data).split(b" ", 2)[1].decode().rpartition("/")[2]
        if operation in ANSWERS:
            status, body = b"200 OK", binascii.a2b_base64(ANSWERS[operation])
        elif operation == "csrattrs":
            status, body = b"404 Not Found", b""
        else:
            raise Handed("the station has the request")
        head = b"HTTP/1.1 %s\r\nDate: %s\r\nContent-Length: %d\r\n\r\n"
        self.answer = io.BytesIO(head % (status, ANSWERS["date"].encode(), len(body)) + body)
        return len(data)

    def read(self, size):
        return self.answer.read(size) or None

    def readline(self, size):
        return self.answer.readline(size) or None

    def close(self):
        pass


class Station(client.Client):
    """The agent's client, connected to the station: which is not verified, and proves nothing."""

    def _connect(self):
        self._poll = None
        self._stream = Line()
        return ()


def set_clock(seconds):
    """Unix seconds, unless the clock agrees within a minute."""
    if abs(clock.now_or_0() - seconds) > 60:
        import machine

        if time.gmtime(0)[0] == 2000:
            seconds -= 946684800
        year, month, day, hour, minute, second, weekday = time.gmtime(seconds)[:7]
        machine.RTC().datetime((year, month, day, weekday + 1, hour, minute, second, 0))


def radio_on(board):
    # Some boards' random numbers are none while it is off.
    if board.radio_random:
        import network

        network.WLAN(network.STA_IF).active(True)


def agent_for(order):
    """The agent of config.json, or of the settings that come with the order."""
    from wiring import Board

    import configuration

    board = Board()
    set_clock(order["now"])
    radio_on(board)
    config = order["config"]
    if config is None:
        config, lines = configuration.read("/" + configuration.FILE)
        if lines:
            raise errors.UsageError("; ".join(lines))
    records = store.Store(board.check_storage())
    agent = configuration.agent(Agent, config, records, board.unique_id())
    sys.modules.pop("configuration", None)
    ANSWERS.update(order["answers"])
    agent.Client = Station
    # New roots are taken over from a server that TLS verified: later.
    agent.adopt = lambda offered: anchors(agent)
    return agent


def anchors(agent):
    return agent.anchors()
    yield


def at_hand(agent):
    """The order, as far as the station may go on with it; None without."""
    current = agent.resume()
    if current and current.kind != "simpleenroll":
        raise errors.UsageError("the board has an order of another kind: " + current.kind)
    return current


def make(order):
    """The order made and stored, unless it is already: (its request, whether it is new)."""
    agent = agent_for(order)
    current = at_hand(agent)
    new = not current
    if new:
        if agent.known.chain:
            raise errors.UsageError("the board has a certificate already")
        try:
            run(agent.have())
        except Handed:
            pass
        current = agent.resume()
    return base64(current.request), new


def install(order):
    """Have the agent take the answer; what is stored then is read by `identity.show`."""
    agent = agent_for(order)
    current = at_hand(agent)
    if current:
        run(agent.have())
    elif not agent.known.chain:
        raise errors.UsageError("the board has no order and no certificate")

import sys
import time

from est import clock, errors, run, store
from est.agent import Agent

ANSWERS = {}


class Handed(errors.PeerError):
    """The request is the station's now."""


class Station:
    """In place of est.client.Client, without TLS: the station answers, whom nothing verifies.

    So nothing but what the agent judges itself is trusted: a fingerprint, and a path to an anchor.
    """

    leaf = room = date = None

    def __init__(self):
        self.context = self

    def __getattr__(self, name):
        if name != "est":
            raise AttributeError(name)
        from est.protocol import Est

        self.est = Est("station")
        return self.est

    def steps(self, operation):
        try:
            while True:
                self.answer(next(operation))
                yield
        except StopIteration as stop:
            return stop.value

    def answer(self, request):
        operation = request.path.rpartition("/")[2]
        status, body = b"200 OK", b""
        if operation in ANSWERS:
            body = binascii.a2b_base64(ANSWERS[operation])
        elif operation == "csrattrs":
            status = b"404 Not Found"
        else:
            raise Handed("the station has the request")
        self.date = ANSWERS["date"]
        head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        request.encode("station")  # from then on there is a response
        request.response.feed(head)
        request.response.feed(body)

    def close(self):
        pass


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
    """The agent of config.json, or one of a folder of its own for a birth certificate."""
    from wiring import Board

    board = Board()
    set_clock(order["now"])
    radio_on(board)
    ANSWERS.update(order["answers"])
    if order["birth"]:
        agent = birth_agent(**order["birth"])
    else:
        agent = fleet_agent(store.Store(board.check_storage()), board.unique_id())
    agent.connect = lambda *_, **named: Station()
    # New roots are taken over from a server that TLS verified: later.
    agent.adopt = lambda offered: anchors(agent)
    return agent


def fleet_agent(records, number):
    import configuration

    config, lines = configuration.read("/" + configuration.FILE)
    if lines:
        raise errors.UsageError("; ".join(lines))
    try:
        return configuration.agent(Agent, config, records, number)
    finally:
        sys.modules.pop("configuration", None)


def birth_agent(folder, subject, extra, key, anchors):
    if not exists(folder):
        os.mkdir(folder)
    return Agent(
        store.Store(folder),
        "https://station",
        subject,
        trust=[binascii.a2b_base64(der) for der in anchors],
        extra=[(binascii.unhexlify(oid), binascii.unhexlify(value)) for oid, value in extra],
        key=key,
    )


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

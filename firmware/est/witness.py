"""The board's clock beside the Date of a verified server: a witness, not a judge."""

from micropython import const

from est import apart, clock, der, httpdate
from est.errors import EstError, RetryLater

_DAY = const(86400)
# What network and rounding explain, and small drift.
_TOLERANCE = const(300)
_HOUR = const(3600)


def check(agent, date):
    """Compare the clock with `date`, the Date header of a server that TLS verified, or None.

    Beyond some minutes est.agent.Agent `agent` counts by the server's time (its `skew`), unless
    that is disbelieved. Within a day, both have agreed. Returns the Unix seconds of `date`, or 0
    if it is of no use: also where the server's certificate, which vouches for it, or the board's
    is not valid then. The server has answered: the certificate that it was shown is not refused.
    """
    if agent.shown is agent.known:
        agent.refusals = 0
    try:
        seconds = httpdate.unix_time(date or "")
    except ValueError:
        return 0
    now = clock.now()
    useless = seconds < agent.known.earliest()
    if agent.validity and not useless:
        validity = der.Reader(agent.validity[0]).enter()
        useless = not _time(validity) <= seconds <= _time(validity)
    if useless:
        agent.log("the server's Date contradicts the certificates in use: the clock counts")
        return 0
    ahead = now - seconds
    if abs(ahead) < _DAY:
        agent.agreed = now
    if abs(ahead - agent.disbelieved) > _TOLERANCE:
        agent.disbelieved = 0
    agent.skew = -ahead if abs(ahead) > _TOLERANCE and not agent.disbelieved else 0
    if abs(ahead) > _TOLERANCE and abs(ahead - agent.told_ahead) > _TOLERANCE:
        text = "the clock is %d s ahead of the server's" % ahead
        if ahead < 0:
            text = "the clock is %d s behind the server's" % -ahead
        if (ahead + _TOLERANCE) % _HOUR <= 2 * _TOLERANCE and abs(ahead) < _DAY:
            text += ", by whole hours: it probably shows local time, and must show UTC"
        agent.tell("clock", ahead=ahead, text=text)
    agent.told_ahead = ahead
    return 0 if agent.disbelieved else seconds


def _time(reader):
    # Of X.509, as TLS has read it; est.x509 would find no room beside TLS.
    text = reader.bytes(0)
    text = b"20"[: 15 - len(text)] + text  # UTCTime has no century
    return clock.unix_time(int(text[:4]), *[int(text[at : at + 2]) for at in range(4, 14, 2)])


def disbelieve(agent, current):
    """Whether the answer of order `current`, not valid by the server's Date, is by the clock.

    If it has just come, and both are less than a day apart, or what was issued begins within a day
    of the clock, it is the Date that is wrong, and the clock counts. In steps.
    """
    meta = current.meta
    ahead = -agent.skew
    if not ahead or abs(agent.now() - meta["since"]) > _TOLERANCE:
        return False
    now = clock.now()
    try:
        items = yield from current.accept([], agent.judges(), now, agent.log)
    except EstError:
        return False
    if agent.known.erasures != agent.erasures:
        return False  # by a person, meanwhile
    if abs(ahead) >= _DAY and abs(apart(_begins, items[1]) - now) >= _DAY:
        return False
    agent.disbelieved = ahead
    agent.skew = meta["date"] = 0
    agent.log("the server's Date contradicts what it issued: the clock counts")
    agent.keep(current, "answered")
    return True


def _begins(leaf):
    from est import x509

    return x509.Certificate(leaf).not_before


def hold_back(agent, date):
    """As `check`. Raises RetryLater if a step of the agent must think again what is due."""
    skew = agent.skew
    check(agent, date)
    planned = agent.planned
    agent.planned = False
    # Twice at most: of two servers behind one name, each may have a time of its own.
    if planned and agent.polls < 2 and abs(agent.skew - skew) > _TOLERANCE:
        raise RetryLater("the clock is wrong: what is due is judged by the server's", 0)

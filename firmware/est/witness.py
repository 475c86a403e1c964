"""The board's clock beside the Date of a verified server: a witness, not a judge."""

from micropython import const

from est import clock, httpdate
from est.errors import EstError, RetryLater

_DAY = const(86400)
# What network and rounding explain, and small drift.
_TOLERANCE = const(300)
_HOUR = const(3600)


def check(agent, date):
    """Compare the clock with `date`, the Date header of a server that TLS verified, or None.

    Beyond some minutes est.agent.Agent `agent` counts by the server's time (its `skew`), unless
    that is disbelieved. Within a day, both have agreed. Returns the Unix seconds of `date`, or 0
    if it is of no use. The server has answered: the certificate that it was shown is not refused.
    """
    if agent.shown is agent.known:
        agent.refusals = 0
    try:
        seconds = httpdate.unix_time(date or "")
    except ValueError:
        return 0
    now = clock.now()
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


def disbelieve(agent, current):
    """Whether the answer of order `current`, not valid by the server's Date, is by the clock.

    If it has just come, and both are less than a day apart, it is the Date that is wrong, and the
    clock counts. In steps.
    """
    meta = current.meta
    ahead = -agent.skew
    if not 0 < abs(ahead) < _DAY or abs(agent.now() - meta["since"]) > _TOLERANCE:
        return False
    try:
        yield from current.accept([], agent.judges(), clock.now(), agent.log)
    except EstError:
        return False
    agent.disbelieved = ahead
    agent.skew = meta["date"] = 0
    agent.log("the server's Date contradicts what it issued: the clock counts")
    agent.keep(current, "answered")
    return True


def hold_back(agent, date):
    """As `check`. Raises RetryLater if a step of the agent must think again what is due."""
    skew = agent.skew
    check(agent, date)
    planned = agent.planned
    agent.planned = False
    if planned and abs(agent.skew - skew) > _TOLERANCE:
        raise RetryLater("the clock is wrong: what is due is judged by the server's", 0)

"""What makes a life of est.agent: the optional parts, each loaded for a moment (est.apart).

The agent calls the functions here, which stay in the heap, with itself as the first argument.
What a part that is not installed would give is None.
"""

from est import apart, order
from est.errors import UsageError


def _part(function, *arguments):
    try:
        return apart(function, *arguments)
    except ImportError:
        return None


def begin(agent):
    """Take over what an older version stored, and what outlived a reset."""
    # Of `plan`: no step before `until`, `wait` seconds later than when that was said; no order
    # before `floor`, `floored` seconds later; how often in a row the server said to wait.
    agent.until = agent.wait = agent.floor = agent.floored = agent.polls = 0
    agent.kept_floor = 0
    # By the clock: when clock and server agreed, by how much they disagreed, when the server last
    # showed its CA certificates.
    agent.agreed = agent.told_ahead = agent.contact = 0
    # Whether the certificate aside was tried, and the server's certificate was not trusted.
    agent.aside_tried = agent.lost_trust = False
    # How often all was refused while nothing worked; what was told then.
    agent.vain = 0
    agent.stranded = None
    if agent.on_event and not isinstance(agent.on_event, _Guard):
        agent.on_event = _Guard(agent.on_event, agent.log)
    for part in (_upgrade, _restore):
        _part(part, agent)


class _Guard:
    # An application's hook that cannot stop a renewal, whatever it raises.
    def __init__(self, hook, log):
        self._hook = hook
        self._log = log

    def __call__(self, event, detail):
        try:
            self._hook(event, detail)
        except Exception as error:
            self._log("on_event raised %r" % error)


def _upgrade(agent):
    from est import layout1

    layout1.upgrade(agent.store)


def _restore(agent):
    from est import retry

    retry.load(agent)


def plan(agent):
    """As est.duty.plan."""
    return apart(_plan, agent)


def _plan(agent):
    from est import duty

    return duty.plan(agent)


def failed(agent, error):
    """As est.duty.failed."""
    return apart(_failed, agent, error)


def _failed(agent, error):
    from est import duty

    return duty.failed(agent, error)


def leftover(agent, current, leaf, key):
    """As est.duty.leftover."""
    return apart(_leftover, agent, current, leaf, key)


def _leftover(agent, current, leaf, key):
    from est import duty

    return duty.leftover(agent, current, leaf, key)


def of_kind(current, kind):
    """`current`, or a new order of the kind of that name. Raises UsageError without its part."""
    if current.kind == kind:
        return current
    if kind == "simpleenroll":
        return order.Enrolment()
    if kind == "simplereenroll":
        return order.Renewal()
    try:
        if kind == "serverkeygen":
            from est.serverkeygen import ServerKey as found
        elif kind == "fullcmc":
            from est.fullcmc import FullCmc as found
        else:
            from est.linking import Linked as found
    except ImportError:
        raise UsageError("a stored order needs the part of est for %s" % kind)
    return found()


def prepare(agent, shown):
    """Before an order is made: room for it, and the server's est.csrattrs.CsrAttrs, or None."""
    _part(_make_room, agent)
    found = _part(_attributes, agent, shown)
    if found:
        _part(_doubt_clock, agent, agent.client(shown).date)
    return found


def _make_room(agent):
    from est import room

    room.make(agent.store)


def _attributes(agent, shown):
    from est import csrattrs

    # Loaded before TLS has its share of the heap.
    _ = csrattrs.parse
    return agent.client(shown).csrattrs()


def _doubt_clock(agent, date):
    from est import witness

    witness.hold_back(agent, date)


def ordered(agent, current, leaf):
    """Add to a new order what the agent wants to know of it later."""
    agent.tell("ordered", operation=current.kind)
    meta = current.meta
    meta["terms"] = current.terms
    meta["url"] = agent.url
    # A renewal keeps what the first certificate was asked by.
    settings = agent.known.meta.get("settings", "")
    meta["settings"] = settings if leaf else agent.asked(None, agent.key)


def interrupted(agent, current, shown, error, final):
    """What to raise for an EstError that ended the sending of an order."""
    agent.close()
    return _part(_interrupted, agent, current, shown, error, final) or error


def _interrupted(agent, current, shown, error, final):
    from est import waiting

    return waiting.interrupted(agent, current, shown, error, final)


def rejected(agent, current, error):
    """As est.waiting.rejected."""
    apart(_rejected, agent, current, error)


def _rejected(agent, current, error):
    from est import waiting

    waiting.rejected(agent, current, error)


def answered(agent, current, date):
    """Unix seconds of the server's Date, or 0."""
    agent.tell("answered", operation=current.kind)
    return check_clock(agent, date)


def check_clock(agent, date):
    """As est.witness.check; 0 without it. The server has answered the connection in use."""
    if agent.shown is agent.known:
        agent.refusals = 0
    return _part(_check_clock, agent, date) or 0


def _check_clock(agent, date):
    from est import witness

    return witness.check(agent, date)


def prove(agent, current, candidate):
    """As est.proof.prove; without it what the agent has."""
    agent.tell("candidate", generation=agent.known.generation + 1)
    try:
        return apart(_prove, agent, current, candidate)
    except ImportError:
        return bool(agent.cacerts(candidate))


def _prove(agent, current, candidate):
    from est import proof

    return proof.prove(agent, current, candidate)


def memo(agent, current, leaf):
    """As est.duty.memo."""
    return apart(_memo, agent, current, leaf)


def _memo(agent, current, leaf):
    from est import duty

    return duty.memo(agent, current, leaf)


def taken(agent, proven):
    """As est.duty.taken."""
    apart(_taken, agent, proven)


def _taken(agent, proven):
    from est import duty

    duty.taken(agent, proven)


def adopt(agent, anchors, offered):
    """As est.rollover.adopt."""
    return _part(_adopt, agent, anchors, offered)


def _adopt(agent, anchors, offered):
    from est import rollover

    return rollover.adopt(agent, anchors, offered)


def follow(agent):
    """As est.rollover.follow."""
    return _part(_follow, agent)


def _follow(agent):
    from est import rollover

    return rollover.follow(agent)

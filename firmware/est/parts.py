"""What makes a life of est.agent: the optional parts, each loaded for a moment (est.apart).

The agent calls the functions here, which stay in the heap, with itself as the first argument.
What a part that is not installed would give is None.
"""

import gc

from micropython import const

from est import apart, order
from est.errors import StorageError, UsageError

_RETRY = const(60)


def _apart(function):
    # What the function gives; None where the part that it imports is not installed.
    def call(*arguments):
        try:
            return apart(function, *arguments)
        except ImportError:
            return None

    return call


def begin(agent):
    """Take over what an older version stored, and what outlived a reset."""
    # Of `plan`: no step before `until`, `wait` seconds later than when that was said; no order
    # before `floor`, `floored` seconds later; how often in a row the server said to wait.
    agent.until = agent.wait = agent.floor = agent.floored = agent.polls = 0
    agent.kept_floor = 0
    agent.floor_of = ""
    # By the clock: when clock and server agreed, by how much they disagreed, when the server last
    # showed its CA certificates.
    agent.agreed = agent.told_ahead = agent.contact = 0
    # By how much it disagrees with a Date that is wrong itself.
    agent.disbelieved = 0
    # Whether the certificate aside was tried, and the server's certificate was not trusted.
    agent.aside_tried = agent.lost_trust = False
    # Which ways were refused while nothing worked (est.duty); what was told then.
    agent.vain = 0
    agent.stranded = agent.shown = None
    # Whether `plan` wants the order that is being made.
    agent.planned = False
    agent.tell = _Events(agent)
    try:
        _reserve(agent)
    except StorageError as error:
        agent.log(str(error))  # what is there stays in use
    _upgrade(agent)
    _restore(agent)


class _Events:
    # Hands events to the application, which cannot stop a renewal by what it raises.
    def __init__(self, agent):
        self._agent = agent

    def __call__(self, event, **detail):
        agent = self._agent
        try:
            if agent.on_event:
                agent.on_event(event, detail)
        except Exception as error:
            agent.log("on_event raised %r" % error)


@_apart
def _reserve(agent):
    from est import room

    room.reserve(agent.store)


@_apart
def _upgrade(agent):
    from est import layout1

    layout1.upgrade(agent.store)


@_apart
def _restore(agent):
    from est import retry

    retry.load(agent)


@_apart
def plan(agent):
    """As est.duty.plan."""
    from est import duty

    return duty.plan(agent)


def failed(agent, error):
    """As est.duty.failed, whatever else fails then."""
    try:
        return _failed(agent, error)
    except Exception as other:
        agent.log("%s, and then %r" % (error, other))
        return _RETRY


@_apart
def _failed(agent, error):
    from est import duty

    return duty.failed(agent, error)


@_apart
def leftover(agent, current, leaf, key):
    """As est.duty.leftover."""
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
    _make_room(agent)
    _rehearse()
    found = _attributes(agent, shown)
    _doubt_clock(agent, agent.client(shown).date)
    return found


@_apart
def _make_room(agent):
    from est import room

    room.make(agent.store)


@_apart
def _rehearse():
    # What is broken or finds no room in the heap must show before a server issues.
    from est import cms, verdict

    return bool(cms and verdict)


@_apart
def _attributes(agent, shown):
    return agent.client(shown).csrattrs()


@_apart
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
    settings = leaf and agent.known.meta.get("settings")
    meta["settings"] = settings or agent.asked(None, agent.key)


def interrupted(agent, current, shown, error, final):
    """What to raise for an EstError that ended the sending of an order."""
    date = agent.connection.date if agent.connection else None
    agent.close()
    if date is not None:
        shown = None  # the server has answered before: it is not the certificate
        refusals = agent.refusals
        check_clock(agent, date)
        agent.refusals = refusals
    return _interrupted(agent, current, shown, error, final) or error


@_apart
def _interrupted(agent, current, shown, error, final):
    from est import waiting

    return waiting.interrupted(agent, current, shown, error, final)


@_apart
def rejected(agent, current, error):
    """As est.waiting.rejected."""
    from est import waiting

    waiting.rejected(agent, current, error)


def answered(agent, current, date):
    """Unix seconds of the server's Date, or 0."""
    agent.tell("answered", operation=current.kind)
    return check_clock(agent, date) or 0


@_apart
def check_clock(agent, date):
    """As est.witness.check."""
    from est import witness

    return witness.check(agent, date)


def prove(agent, current, items):
    """As est.proof.prove, for the identity of these items."""
    # TLS takes 17 KB in one piece. The answer is stored, and copies come to lie together.
    current.answer = agent.candidate = None
    gc.collect()
    items[:] = [bytes(memoryview(item)) for item in items]
    agent.tell("candidate", generation=agent.known.generation + 1)
    proven = _prove(agent, (items[1:], items[0]))
    if proven is None:
        agent.cacerts((items[1:], items[0]))
    return proven is not False


@_apart
def _prove(agent, candidate):
    from est import proof

    return proof.prove(agent, candidate)


@_apart
def memo(agent, current, leaf):
    """As est.duty.memo."""
    from est import duty

    return duty.memo(agent, current, leaf)


@_apart
def taken(agent, proven):
    """As est.duty.taken."""
    from est import duty

    duty.taken(agent, proven)


@_apart
def adopt(agent, anchors, offered):
    """As est.rollover.adopt."""
    from est import rollover

    return rollover.adopt(agent, anchors, offered)


@_apart
def follow(agent):
    """As est.rollover.follow."""
    from est import rollover

    return rollover.follow(agent)

"""What makes a life of est.agent: the optional parts, each loaded for a moment (est.apart).

The agent calls the functions here, which stay in the heap, with itself as the first argument. What
runs between connections anyway is in est.between. What a part that is not installed would give is
None.
"""

import gc

from micropython import const

from est import apart

_RETRY = const(60)


def optional(function):
    """The function, run by est.apart. It gives None where a part that it imports is missing."""

    def call(*arguments):
        try:
            return apart(function, *arguments)
        except ImportError:
            return None

    return call


@optional
def begin(agent):
    """As est.between.begin."""
    from est import between

    between.begin(agent)


class Events:
    """Hands events of est.agent.Agent `agent` to the application, which cannot stop a renewal by
    what it raises."""

    def __init__(self, agent):
        self._agent = agent

    def __call__(self, event, **detail):
        agent = self._agent
        try:
            if agent.on_event:
                agent.on_event(event, detail)
        except Exception as error:
            agent.log("on_event raised %r" % error)


@optional
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


@optional
def _failed(agent, error):
    from est import duty

    return duty.failed(agent, error)


@optional
def leftover(agent, current, leaf, key):
    """As est.duty.leftover."""
    from est import duty

    return duty.leftover(agent, current, leaf, key)


@optional
def prepare(agent):
    """As est.between.prepare."""
    from est import between

    between.prepare(agent)


@optional
def attributes(agent, shown):
    """The server's est.attributes.CsrAttrs, asked for with identity `shown`."""
    client = agent.client(shown)
    found = client.csrattrs()
    del client.est  # TLS leaves little room for making the request
    try:
        from est import witness
    except ImportError:
        return found
    witness.hold_back(agent, client.date)
    return found


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


@optional
def _interrupted(agent, current, shown, error, final):
    from est import waiting

    return waiting.interrupted(agent, current, shown, error, final)


@optional
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


@optional
def _prove(agent, candidate):
    from est import proof

    return proof.prove(agent, candidate)


@optional
def adopt(agent, anchors, offered):
    """As est.rollover.adopt."""
    from est import rollover

    return rollover.adopt(agent, anchors, offered)

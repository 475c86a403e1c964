"""What makes a life of est.agent: the optional parts, each loaded for a moment (est.apart).

The agent calls the functions here, which stay in the heap, with itself as the first argument. What
runs between connections anyway is in est.between. What a part that is not installed would give is
None.
"""

from micropython import const

from est import apart
from est.errors import EstError
from est.identity import Identity

_RETRY = const(60)


def optional(function):
    """The function, run by est.apart. It gives None where a part that it imports is missing."""

    def call(*arguments):
        try:
            return apart(function, *arguments)
        except ImportError:
            return None

    return call


class Known(Identity):
    """An Identity with what an application does to it besides using it."""

    def status(self):
        """As est.status.of."""
        from est import status

        return status.of(self)

    def refused(self, error):
        """Tell what the application's own server said of the certificate.

        The agent then checks it at the EST server, at most once per step of its back-off.
        """
        self.doubt = str(error)

    def erase(self):
        """As est.status.erase."""
        from est import status

        status.erase(self)


def begin(agent):
    """As est.between.begin."""
    agent.tell = _Events(agent)
    apart(_begin, agent)


def _begin(agent):
    from est import between

    between.begin(agent)


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


def prepare(agent, shown):
    """As est.between.prepare; returns what est.order.Enrolment.build takes as `fetch`."""
    _prepare(agent)
    return lambda: _attributes(agent, shown)


@optional
def _prepare(agent):
    from est import between

    between.prepare(agent)


@optional
def _attributes(agent, shown):
    client = agent.client(shown)
    found = client.csrattrs()
    del client.est  # TLS leaves little room for making the request
    try:
        from est import witness
    except ImportError:
        return found
    witness.hold_back(agent, client.date)
    return found


@optional
def ordered(agent, current, leaf):
    """As est.between.ordered."""
    from est import between

    between.ordered(agent, current, leaf)


def answered(agent, current, date):
    """Unix seconds of the answer's `date`, or 0."""
    agent.tell("answered", operation=current.kind)
    return check_clock(agent, date) or 0


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


@optional
def of_kind(kind):
    """As est.between.of_kind."""
    from est import between

    return between.of_kind(kind)


def prove(agent, candidate):
    """Whether `candidate`, (chain, key) of the order at hand, is proven to work. See est.proof."""
    agent.tell("candidate", generation=agent.known.generation + 1)
    error = None
    try:
        if _possible(agent, candidate) is False:
            return False
        # Without est.proof in the heap.
        agent.cacerts(candidate)
    except EstError as found:
        error = found
    proven = _proven(agent, candidate, error)
    if proven is None and error:
        raise error
    return proven is not False


@optional
def _possible(agent, candidate):
    from est import proof

    return proof.possible(agent, candidate)


@optional
def _proven(agent, candidate, error):
    from est import proof

    return proof.proven(agent, candidate, error)


@optional
def rejected(agent, current, error):
    """As est.waiting.rejected."""
    from est import waiting

    waiting.rejected(agent, current, error)


def take(agent, current, items, proven):
    """As est.between.take."""
    apart(_take, agent, current, items, proven)


def _take(agent, current, items, proven):
    from est import between

    between.take(agent, current, items, proven)


@optional
def adopt(agent, anchors, offered):
    """As est.rollover.adopt."""
    from est import rollover

    return rollover.adopt(agent, anchors, offered)

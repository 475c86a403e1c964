"""What makes a life of est.agent: the optional parts, each loaded for a moment (est.apart).

The agent calls the functions here, which stay in the heap, with itself as the first argument. What
runs between connections anyway is in est.between.
"""

import sys

from micropython import const

from est import apart, aparts
from est.errors import EstError, PeerError, Refused, UsageError, missing
from est.identity import Identity

_RETRY = const(60)
_DAY = const(86400)
_TOLERANCE = const(300)


def optional(part):
    """What `part` gives, run by est.apart; None where a part that it imports is not installed.

    All have one name, since MicroPython keeps every name for good. Raises Unsupported where one is
    broken.
    """
    try:
        return apart(part)
    except ImportError as error:
        return absent(error)


def steps(part):
    """As `optional`, of a part that gives steps; in steps itself."""
    try:
        return (yield from aparts(part))
    except ImportError as error:
        return absent(error)


def absent(error):
    # None where a part is missing; raises what to do where it is broken.
    def part():
        from est.reasons import absent

        return absent(error)

    try:
        if apart(part):
            return None
    except ImportError:
        return None  # an optional part, too
    raise missing(error)


class Known(Identity):
    """An Identity with what an application does to it besides using it.

    erased: whether it was since est.duty last looked. erasures: how often it was.
    tell: the agent's, which hands an event to the application; None without an agent.
    """

    erased = False
    erasures = 0
    tell = None

    def life(self, now):
        """As Identity.life. Issued a little ahead of `now` is issued now: clocks differ by that
        much while they agree (est.witness)."""
        return Identity.life(self, now + _TOLERANCE)

    def context(self, anchors=None, **settings):
        """TLS for the application's connections: an est.context.Context.

        settings: server_side, name, anonymous, as est.source.begin describes them.
        On CPython an ssl.SSLContext instead. Raises UsageError before the first enrolment unless
        `anonymous`, StorageError.
        """
        if sys.implementation.name == "cpython":
            from est.sslcontext import Context
        else:
            from est.context import Context
        return Context(self, anchors, **settings)

    def status(self):
        """As est.status.of."""
        from est import status

        return status.of(self)

    def earliest(self):
        """Unix seconds that are past for certain: a day before the certificate in use began, and
        a day before clock and server last agreed."""
        return max(self.not_before, self.meta.get("agreed", 0)) - _DAY

    def refused(self, error):
        """Tell what the application's own server said of the certificate.

        The agent then checks it at the EST server, at most once per step of its back-off.
        """
        self.doubt = str(error)

    def erase(self):
        """As est.status.erase."""
        from est import status

        self.erased = True
        self.erasures += 1
        status.erase(self)


def attach(agent):
    """Give a new agent what it has by these parts. Raises UsageError for its URL.

    Its `tell` hands an event to the application.
    """
    application_log = agent.log

    # What the application raises cannot stop a renewal.

    def log(text):
        try:
            application_log(text)
        except Exception:
            pass  # there is nobody left to tell

    def tell(event, **detail):
        try:
            if agent.on_event:
                agent.on_event(event, detail)
        except Exception as error:
            agent.log("on_event raised %r" % error)

    def part():
        from est.url import parse

        parse(agent.url)

    def run(*arguments):
        from est import task

        return task.run(agent, *arguments)

    authorize = agent.authorize

    def connecting(context):
        agent.validity = getattr(context, "validity", None)
        if authorize:
            authorize(context)

    apart(part)
    agent.log = log
    agent.tell = tell
    agent.authorize = connecting
    # As est.watch has it, of the server of the last connection.
    agent.validity = None
    agent.known = Known(agent.store)
    agent.lacks_memory = agent.busy = False
    agent.erasures = 0
    agent.run = run
    agent.steps = in_turn(agent, agent.steps)
    agent.have = in_turn(agent, agent.have)


class Turn:
    """What steps wait for where another task has the agent: est.run would wait for ever."""

    def poll(self, ms):
        if ms:
            raise UsageError("another task has the agent: await its steps, or cancel that task")


def in_turn(agent, function):
    """`function`, which gives steps, of one caller at a time."""

    def steps(*arguments, **options):
        while agent.busy:
            yield Turn()
        agent.busy = True
        agent.erasures = agent.known.erasures
        try:
            return (yield from function(*arguments, **options))
        finally:
            agent.busy = False

    return steps


def begin(agent):
    """As est.between.begin."""

    def part():
        from est import between

        between.begin(agent)

    agent.known.tell = agent.tell
    apart(part)


def plan(agent):
    """As est.duty.plan."""

    def part():
        from est import duty

        return duty.plan(agent)

    return steps(part)


def failed(agent, error):
    """As est.duty.failed, whatever else fails then."""

    def part():
        from est import duty

        return duty.failed(agent, error)

    try:
        return optional(part)
    except Exception as other:
        agent.log("%s, and then %r" % (error, other))
        return _RETRY


def leftover(agent, current, leaf, key):
    """As est.duty.leftover."""

    def part():
        from est import duty

        return duty.leftover(agent, current, leaf, key)

    return steps(part)


def prepare(agent, shown):
    """As est.between.prepare; returns what est.order.Enrolment.build takes as `fetch`."""

    def part():
        from est import between

        between.prepare(agent)

    apart(part)
    return lambda needed=False: attributes(agent, shown, needed)


def attributes(agent, shown, needed=False):
    """The server's est.attributes.CsrAttrs, asked for with identity `shown`, in steps.

    None where it has none that can be read, which is logged: they are optional (RFC 7030 4.5),
    unless they are `needed`.
    """

    def part():
        client = agent.client(shown)
        client.date = csrattrs = None
        try:
            from est import operations

            csrattrs = yield from client.steps(operations.csrattrs(client.est, needed))
        except (PeerError, Refused) as error:
            # A password that is wrong stays so.
            if needed or getattr(error, "status", 0) == 401 and agent.credentials:
                raise
            if client.date is None and client.context.leaf:
                # A server that was verified said nothing. Does it say something to /cacerts?
                try:
                    yield from _asked(agent, shown)
                except EstError:
                    pass
            if client.date is None:
                raise error  # it is the network
            agent.log("the server's csrattrs are left out: %s" % error)
        # TLS leaves little room for making the request.
        del client.est
        client.context.leaf = None
        try:
            from est import witness
        except ImportError:
            return csrattrs
        witness.hold_back(agent, client.date)
        return csrattrs

    return steps(part)


def ordered(agent, current, leaf, key):
    """As est.between.ordered. Raises UsageError where all was erased since."""
    check_erased(agent)

    def part():
        from est import between

        between.ordered(agent, current, leaf, key)

    apart(part)


def answered(agent, current, date):
    """Unix seconds of the answer's `date`, or 0. Raises UsageError where all was erased since."""
    check_erased(agent)
    agent.tell("answered", operation=current.kind)
    try:
        return check_clock(agent, date) or 0
    except Exception as error:
        # The answer is not stored yet.
        agent.log(repr(error))
        return 0


def interrupted(agent, current, shown, error, final):
    """What to raise for an EstError that ended the sending of an order, in steps.

    Raises UsageError where all was erased since.
    """
    check_erased(agent)
    date = agent.connection.date if agent.connection else None
    agent.close()
    if date is not None:
        shown = None  # the server has answered before: it is not the certificate
        refusals = agent.refusals
        check_clock(agent, date)
        agent.refusals = refusals

    def part():
        from est import waiting

        return waiting.interrupted(agent, current, shown, error, final)

    return (yield from steps(part)) or error


def check_erased(agent):
    """Raise UsageError where the identity was erased while an order was on its way."""
    if agent.known.erasures != agent.erasures:
        agent.end()
        raise UsageError("the identity was erased meanwhile: what was asked for is forgotten")


def check_clock(agent, date):
    """As est.witness.check."""

    def part():
        from est import witness

        return witness.check(agent, date)

    return optional(part)


def of_kind(kind):
    """As est.duty.of_kind."""

    def part():
        from est import duty

        return duty.of_kind(kind)

    return optional(part)


class Body:
    """Sink of a body that nobody needs, for whatever size it has."""

    def feed(self, data):
        pass

    def end(self):
        pass


def _asked(agent, candidate):
    # The Date of /cacerts with `candidate` shown, which has to bring 200; in steps.
    client = agent.client(candidate)

    def part(operation):
        try:
            request = next(operation)
            while True:
                request.on_head = lambda response: Body()
                yield request
                request = operation.send(None)
        except StopIteration:
            pass

    yield from client.steps(part(client.est.exchange("GET", "cacerts")))
    return client.date


def prove(agent, candidate):
    """Whether `candidate`, (chain, key) of the order at hand, is proven to work, in steps.

    See est.proof.
    """
    agent.tell("candidate", generation=agent.known.generation + 1)
    failure = None

    def part():
        from est import proof

        return proof.possible(agent, candidate)

    try:
        if optional(part) is False:
            return False
        # Without est.proof in the heap.
        check_clock(agent, (yield from aparts(_asked, agent, candidate)))
    except (EstError, MemoryError) as error:
        failure = error
    finally:
        agent.close()

    def part():
        from est import proof

        return proof.proven(agent, candidate, failure)

    proven = yield from steps(part)
    if proven is None and failure:
        raise failure
    return proven is not False


def rejected(agent, current, error):
    """As est.waiting.rejected. Raises UsageError where all was erased since."""
    check_erased(agent)

    def part():
        from est import waiting

        return waiting.rejected(agent, current, error)

    return aparts(part)


def take(agent, current, items, proven):
    """As est.between.take."""

    def part():
        from est import between

        between.take(agent, current, items, proven)

    apart(part)


def judges(agent):
    """As est.agent.Agent.judges."""
    if isinstance(agent.trust, list):
        stored = agent.load("anchors")
        # As est.rollover.adopt writes it.
        if stored and stored[0].get("given") == (agent.voucher + (agent.ca or b"")).hex():
            return stored[1:]
    return [] if agent.ca else agent.anchors()


def adopt(agent, anchors, offered):
    """As est.rollover.adopt; without the CA certificates where the heap has no room for them."""

    def part():
        from est import rollover

        return rollover.adopt(agent, anchors, offered)

    try:
        return (yield from steps(part))
    except MemoryError as error:
        agent.log("%d CA certificates are left out: %s" % (len(offered), error))
        offered.clear()

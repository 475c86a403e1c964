"""What est.agent and est.verdict have optional parts do between connections (see est.parts).

What a part that is not installed would give is None.
"""

from est import order
from est.errors import StorageError, UsageError
from est.parts import Events, optional


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
    agent.tell = Events(agent)
    try:
        _reserve(agent)
    except StorageError as error:
        agent.log(str(error))  # what is there stays in use
    if _is_old(agent.store.path):
        _upgrade(agent)
    _restore(agent)


@optional
def _reserve(agent):
    from est import room

    room.reserve(agent.store)


def _is_old(path):
    # Whether a file is not of the present layout. On FAT that has folders instead.
    for name in ("identity", "anchors", "pending"):
        for slot in (0, 1):
            try:
                with open("%s/%s.%d" % (path, name, slot), "rb") as file:
                    if file.read(4) not in (b"", b"EST2"):
                        return True
            except OSError:
                pass  # absent, or not to be read
    return False


@optional
def _upgrade(agent):
    from est import layout1

    left = layout1.upgrade(agent.store)
    if left:
        agent.log(left)


@optional
def _restore(agent):
    from est import retry

    retry.load(agent)


def of_kind(kind):
    """A new order of the kind of that name. Raises UsageError without its part."""
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


def prepare(agent):
    """Before an order is made: room for it, and a look at what it will take."""
    _make_room(agent)
    _rehearse()


@optional
def _make_room(agent):
    from est import room

    room.make(agent.store)


@optional
def _rehearse():
    # What is broken or finds no room in the heap must show before a server issues.
    from est import cms, keys, verdict, x509

    return bool(cms and keys and verdict and x509)


def ordered(agent, current, leaf):
    """Add to a new order what the agent wants to know of it later."""
    agent.tell("ordered", operation=current.kind)
    meta = current.meta
    meta["terms"] = current.terms
    meta["url"] = agent.url
    # A renewal keeps what the first certificate was asked by.
    settings = leaf and agent.known.meta.get("settings")
    meta["settings"] = settings or agent.asked(None, agent.key)


@optional
def rejected(agent, current, error):
    """As est.waiting.rejected."""
    from est import waiting

    waiting.rejected(agent, current, error)


@optional
def memo(agent, current, leaf):
    """As est.duty.memo."""
    from est import duty

    return duty.memo(agent, current, leaf)


@optional
def taken(agent, proven):
    """As est.duty.taken."""
    from est import duty

    duty.taken(agent, proven)


@optional
def follow(agent):
    """As est.rollover.follow."""
    from est import rollover

    return rollover.follow(agent)

"""What est.agent has optional parts do between connections; est.parts calls it."""

from est import clock, retry, run
from est.errors import PeerError, StorageError, UsageError


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
    _reserve(agent)
    _upgrade(agent)
    retry.load(agent)
    adopt(agent)


def _reserve(agent):
    try:
        from est import room
    except ImportError:
        return  # an optional part
    try:
        room.reserve(agent.store)
    except StorageError as error:
        agent.log(str(error))  # what is there stays in use


def _is_old(path):
    # Whether a file is none of the present layout, which has folders on FAT.
    for name in ("identity", "anchors", "pending"):
        for slot in (0, 1):
            try:
                with open("%s/%s.%d" % (path, name, slot), "rb") as file:
                    if file.read(4) not in (b"", b"EST2"):
                        return True
            except OSError as error:
                if error.errno != 2:  # ENOENT
                    return True
    return False


def _upgrade(agent):
    if not _is_old(agent.store.path):
        return
    try:
        from est import layout1
    except ImportError:
        return  # an optional part
    text = layout1.upgrade(agent.store)
    if text:
        agent.log(text)


def adopt(agent):
    """Store the identity that is given, where there is none. Raises UsageError, DerError."""
    if not agent.given or agent.load("identity") or agent.load("order"):
        return
    from est import store, verdict, x509

    chain, key = agent.given
    leaf = x509.Certificate(chain[0])
    if verdict.spki(key) != leaf.spki:
        raise UsageError("the identity that is given: its key is another certificate's")
    if clock.now_or_0() > leaf.not_after:
        agent.log("the identity that is given has ended")
        return
    meta = {
        "not_before": leaf.not_before,
        "not_after": leaf.not_after,
        "issued": leaf.not_before,
        "generation": 1,
        "settings": retry.asked(agent),
    }
    for _ in (0, 1):
        agent.store.save("identity", store.pack(meta, key, *chain))
    agent.log("the identity that is given is stored")


def prepare(agent):
    """Before an order is made: room for it, and a look at what it will take."""
    try:
        from est import room
    except ImportError:
        pass  # an optional part
    else:
        room.make(agent.store)
    # What is broken or finds no room in the heap must show before a server issues.
    from est import cms, keys, verdict, x509  # noqa: F401


def ordered(agent, current, leaf, key):
    """Add to a new order what the agent wants to know of it later."""
    agent.tell("ordered", operation=current.kind)
    meta = current.meta
    meta["terms"] = current.terms
    meta["url"] = agent.url
    # A renewal keeps what the first certificate was asked by.
    settings = leaf and agent.known.meta.get("settings")
    meta["settings"] = settings or retry.asked(agent)
    meta["asked"] = retry.asked(agent, leaf, key)


def take(agent, current, items, proven):
    """As est.verdict.take. proven: whether there is proof, None where none was asked for."""
    from est import duty, purposes, verdict, waiting

    agent.parts.check_erased(agent)
    # For a proof it was told before.
    log = agent.log if proven is None else lambda text: None
    chain = purposes.chain(agent, items[1:], log)
    if chain[:1] != items[1:2]:
        error = PeerError("TLS does not load the certificate that the server issued")
        run(waiting.rejected(agent, current, error))
        raise error
    items[1:] = chain
    memo = {} if agent.known.chain[:1] == items[1:2] else duty.memo(agent, current, items[1])
    generation = agent.known.generation
    try:
        verdict.take(agent, current, items, memo)
    except PeerError as error:
        run(waiting.rejected(agent, current, error))
        raise
    except StorageError:
        # What is stored whole is in use, though its order cannot be erased.
        if agent.known.generation != generation:
            duty.taken(agent, proven)
        raise
    duty.taken(agent, proven)

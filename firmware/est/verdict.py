"""Whether an answer brings an identity, and taking it over. For est.agent, between connections."""

from est import protocol, request, store
from est.errors import Ended, NotTrusted, NotYetValid, PeerError, Refused, RetryLater


def judge(agent, current, others=None):
    """Items [key, leaf, *intermediates] (DER) that the answer of order `current` brings.

    others: the server's CA certificates as they came; None to ask for them if they are needed.
    Raises NotYetValid, and NotTrusted or UsageError where an issuer or a part of est is missing:
    then the order stays. Anything else ends it.
    """
    if others is None:
        try:
            return _accepted(agent, current, [], agent.anchors())
        except Ended:
            raise
        except NotTrusted:
            # The server may have what is missing.
            others = agent.cacerts(agent.known if agent.works() else None)
    try:
        others = protocol.certificates(others)
        anchors = agent.adopt(others)
    except (PeerError, NotTrusted) as error:
        agent.log("the CA certificates are of no use: %s" % error)
        others = []
        anchors = agent.anchors()
    return _accepted(agent, current, others, anchors)


def _accepted(agent, current, others, anchors):
    meta = current.meta
    try:
        return current.accept(others, anchors, max(agent.now(), meta["date"]))
    except NotYetValid:
        raise
    except RetryLater as error:
        # CMC says so in an answer.
        current.answer = []
        from est import waiting

        waiting.postpone(agent, current, error)
        raise
    except (Ended, PeerError, Refused) as error:
        if isinstance(error, Ended) and not meta["date"]:
            # Without the server's word it may be the clock that is wrong.
            put_aside(agent, current)
        agent.end()
        agent.fruitless = True
        raise


def put_aside(agent, current):
    """Keep a certificate that cannot be used now. est.duty tries it before each new order."""
    items = current.items()
    if agent.load("aside") != items:
        agent.store.save("aside", store.pack(*items))
    agent.end()
    agent.fruitless = True


def take(agent, current, items, proven):
    """Use the identity of these items from now on. proven: None where no proof was asked for.

    Raises PeerError where it is the one in use already.
    """
    known = agent.known
    answered = current.meta
    leaf = items[1]
    if known.chain and known.chain[0] == leaf:
        if answered["leaf"] == store.digest(leaf):
            agent.end()
            agent.fruitless = True
            raise PeerError("the server sent the certificate in use again: not renewed")
        # The power went before the order was gone.
        agent.store.save("identity", store.pack(known.meta, known.key, *known.chain))
        agent.end()
        return
    not_before, not_after = request.validity(leaf)
    try:
        from est.schedule import share

        share = share(leaf, not known.chain, agent.failures)
    except ImportError:
        share = 43690  # two thirds
    meta = {
        "not_before": not_before,
        "not_after": not_after,
        "issued": min(max(answered["date"] or answered["since"], not_before), not_after),
        "share": share,
        "generation": known.generation + 1,
        "agreed": agent.agreed or known.meta.get("agreed", 0),
        "settings": answered["settings"],
        "voucher": store.to_hex(agent.voucher) if agent.trust else known.meta.get("voucher", ""),
    }
    payload = store.pack(meta, *items)
    # Both copies: damage to one must not bring the old certificate back.
    agent.store.save("identity", payload)
    agent.store.save("identity", payload)
    known.take([meta] + items)
    agent.end()
    agent.failures = agent.until = agent.wait = agent.refusals = 0
    known.doubt = known.failure = agent.stranded = None
    try:
        from est import retry

        retry.erase(agent)
    except ImportError:
        pass  # an optional part
    if proven is not None:
        agent.tell("proven" if proven else "unproven", generation=known.generation)
    agent.tell("renewed", generation=known.generation, not_after=not_after)

"""A certificate that was issued and is not accepted is kept, and tried before each new order."""

from est import retry, store, verdict
from est.errors import EstError


def put(agent):
    """Keep the answered order at hand instead of the one that was kept before, and end it."""
    items = agent.load("order")
    if not items:
        return  # what was aside is still
    agent.store.save("aside", store.pack(*items))
    retry.fruitless(agent, items[0])
    agent.end()


def attempt(agent):
    """Try what is kept, in steps. Whether it is in use now, or a connection was opened."""
    items = agent.load("aside")
    if not items:
        return False
    agent.doing = "aside"
    known = agent.known
    current = agent.order(items)
    try:
        if agent.now() > known.not_after:
            # By a clock that may have been set meanwhile: the server's Date first.
            yield from agent.cacerts(None)
        found = yield from verdict.judge(agent, current)
        if known.chain and verdict.validity(found[1])[1] < known.not_after:
            agent.store.erase("aside")
            return agent.used
        yield from agent.settle(current, found)
    except EstError as error:
        agent.log("the certificate aside is still of no use: %s" % error)
        return agent.used
    agent.store.erase("aside")
    return True

"""A certificate that was issued and is not accepted is kept, and tried before each new order."""

from est import request, retry, store
from est.errors import Ended, EstError


def put(agent, current):
    """Keep the answered order `current` instead of the one that was kept before, and end it."""
    items = current.items()
    if agent.load("aside") != items:
        agent.store.save("aside", store.pack(*items))
    retry.fruitless(agent)
    agent.end()


def attempt(agent):
    """Try what is kept. Whether it is the identity now, or at least a connection was opened."""
    items = agent.load("aside")
    if not items:
        return False
    agent.doing = "aside"
    known = agent.known
    current = agent.order(items)
    try:
        found = request.judge(agent, current)
        if known.chain and request.validity(found[1])[1] <= known.not_after:
            raise Ended("it ends before the one in use")
        agent.settle(current, found)
    except Ended:
        agent.store.erase("aside")
        return agent.used
    except EstError as error:
        agent.log("the certificate aside is still of no use: %s" % error)
        return agent.used
    agent.store.erase("aside")
    return True

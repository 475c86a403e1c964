"""A certificate that was issued and is not accepted is kept, and tried before each new order."""

from est import retry, store, verdict
from est.errors import EstError


def put(agent):
    """Keep the answered order at hand instead of the one that was kept before, and end it."""
    record = agent.load("order")
    if not record:
        return  # what was aside is still
    agent.store.save("aside", store.pack(*record))
    retry.fruitless(agent, record[0])
    agent.end()


def attempt(agent):
    """Try what is kept, in steps. Whether it is in use now, or a connection was opened."""
    record = agent.load("aside")
    if not record:
        return False
    agent.doing = "aside"
    identity = agent.known
    try:
        current = agent.order(record)
        if agent.now() > identity.not_after:
            # By a clock that may have been set meanwhile: the server's Date first.
            yield from agent.cacerts(None)
        key_and_chain = yield from verdict.judge(agent, current)
        if identity.chain and verdict.validity(key_and_chain[1])[1] < identity.not_after:
            agent.store.erase("aside")
            return agent.used
        yield from agent.settle(current, key_and_chain)
    except EstError as error:
        agent.log("the certificate aside is still of no use: %s" % error)
        return agent.used
    agent.store.erase("aside")
    return True

"""The agent as a task of asyncio: `await agent.run()`."""

import asyncio
import gc

from micropython import const

from est import aclient, steps

# A week of milliseconds does not fit boards' small integers, and clocks are set meanwhile.
_LONGEST_SLEEP = const(3600)
# How often it is looked whether the application wants something.
_LOOK = const(5)


async def run(agent, make_room=None, ready=None):
    """Have est.agent.Agent `agent` live for ever, as `step` does, beside other tasks.

    make_room: coroutine function; it is awaited where memory for a connection lacks, after the
        event "memory", and then the step is tried again. The application closes there what it
        can open anew.
    ready: coroutine function; it is awaited before each step, such as for the network. What it
        raises ends `run`.
    Cancelled, it closes the agent's connection; the order at hand goes on with the next `run`.
    """
    agent.Client = aclient.Client
    try:
        while True:
            if ready:
                await ready()
            agent.lacks_memory = False
            wait = await steps.wait(agent.steps())
            gc.collect()
            if agent.lacks_memory and make_room:
                await make_room()
                gc.collect()
                agent.until = 0
                wait = await steps.wait(agent.steps())
            await _sleep(agent.known, min(wait, _LONGEST_SLEEP))
    finally:
        if not agent.busy:  # else the connection is another caller's
            agent.close()


async def _sleep(known, seconds):
    # Or until the application tells the agent to do something.
    doubt = known.doubt
    while seconds > 0 and known.doubt == doubt and not known.erased:
        await asyncio.sleep(min(seconds, _LOOK))
        seconds -= _LOOK

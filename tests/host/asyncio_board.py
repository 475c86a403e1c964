"""A board's application on asyncio: the agent is one task, a ticker another.

Reads a JSON object from standard input: url, anchors (hex DER each), state, user, password, and
`renewals`. Runs `agent.run()` until there is an identity, cancels it, then renews so often, and
writes one JSON object: the generations, how often an operation on the curve began in the same
turn of the loop as the one before, the ticks meanwhile, and the worst and the 99th percentile of
the milliseconds by which a ticker of 1 ms came late, and the longest single call into TLS.
`cancel`: cancel that task after so many turns of the loop, a new one after twice as many, and so
on until one gets through; after many turns each has a fiftieth more than the one before. `poor`:
TLS finds no memory until make_room() was awaited.
`callers`: that many ask for a renewal at once, beside the task. `erase`: while renewals are under
way, the identity is erased, each time later by that part of the turns, until one got through.
`sha256`: trust that fingerprint. `at_once`: one `have()`, without the task. `cmc`: the renewals go
by full CMC. `linked`: all is linked to its TLS session; calls of time.sleep_ms are counted.
`watch`: after that event the task goes on until the loop has turned often in each of so many
`seconds` in a row; how many these were is noted.
"""

import asyncio
import binascii
import gc
import json
import sys
import time

# What is loaded now is not loaded anew for each order, and what is replaced in it stays so.
from est import apart, auth, ec, errors, steps, task, tls
from est.agent import Agent
from est.store import Store

# In a second, where each octet that comes holds the loop there are two or three.
_OFTEN = 25
_LONGEST = 40
_ticks = 0
_late = []
_flights = [0]
_slept = []
_places = {}
_crowded = []


def watch(owner, name):
    # Notes the turn of the loop in which each outermost call begins.
    original = getattr(owner, name)

    def watched(*arguments):
        if _places.get("inside"):
            return original(*arguments)
        if _places.get("tick") == _ticks:
            _crowded.append("%s after %s" % (name, _places["last"]))
        _places.update(tick=_ticks, last=name, inside=True)
        start = time.ticks_ms()
        try:
            return original(*arguments)
        finally:
            _places["inside"] = False
            if time.ticks_ms() == start:
                # MicroPython's asyncio is fair from one millisecond to the next.
                _places["tick"] = None

    setattr(owner, name, watched)


class Timed:
    """A TLS stream whose calls are timed."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        call = getattr(self._stream, name)

        def timed(*arguments):
            start = time.ticks_us()
            try:
                return call(*arguments)
            finally:
                _flights[0] = max(_flights[0], time.ticks_diff(time.ticks_us(), start))

        return timed


async def tick():
    global _ticks
    while True:
        start = time.ticks_us()
        await asyncio.sleep(0.001)
        _ticks += 1
        _late.append(time.ticks_diff(time.ticks_us(), start) - 1000)


async def turn():
    # Every turn of the loop counts, also those without a pause.
    global _ticks
    while True:
        await asyncio.sleep(0)
        _ticks += 1


async def enrolled(agent, running):
    while not agent.known.generation:
        if running.done():
            await running
        await asyncio.sleep(0)


async def cancelled(agent, every):
    """How many tasks it took to enrol where each is cancelled `every` turns later."""
    turns = tasks = 0
    while True:
        running = asyncio.create_task(agent.run())
        for _ in range(turns):
            await asyncio.sleep(0)
            if agent.known.generation:
                break
        running.cancel()
        try:
            await running
        except asyncio.CancelledError:
            pass
        if agent.connection:
            raise ValueError("a connection is left")
        if agent.known.generation:
            return tasks
        tasks += 1
        turns += max(every, turns // 50)


async def callers(agent, count):
    """How often several callers at once had a renewal, and what a blocking one is told."""
    running = asyncio.create_task(agent.run())
    asked = [asyncio.create_task(steps.wait(agent.have(True))) for _ in range(count)]
    while not agent.busy:
        await asyncio.sleep(0)
    try:
        agent.enroll()
        blocking = "enrolled"
    except errors.UsageError as error:
        blocking = str(error)
    found = [await asked.pop(0)]
    # Amid another's turn, whose connection that is.
    while not (agent.connection and agent.connection.stream):
        await asyncio.sleep(0)
    running.cancel()
    for one in asked:
        found.append(await one)
    return [len(set(found)), agent.known.generation, blocking]


def _forget(agent):
    from est import revocation

    revocation.forget(agent)


async def erase(agent, part):
    """What becomes of renewals, and of the identity, which is erased amid each, ever later."""
    outcomes = []
    turns = 1
    while not outcomes or outcomes[-1][0] not in ("renewed", "later"):
        if not agent.known.chain:
            await steps.wait(agent.have())
        asked = asyncio.create_task(steps.wait(agent.have(True)))
        while not agent.busy:
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        if len(outcomes) % 2:
            apart(_forget, agent)  # a small heap has no room for more than a moment
        else:
            agent.known.erase()
        try:
            await asked
            outcome = "renewed"
        except errors.RetryLater:
            outcome = "later"
        except errors.UsageError as error:
            outcome = str(error)
        left = [agent.store.load(name) for name in ("identity", "order", "aside")]
        outcomes.append([outcome, agent.known.chain, left])
        turns += max(turns // part, 1)
    return outcomes


async def watched(agent, events, name, seconds):
    """For how many seconds in a row, `seconds` at the most, the loop turned after event `name`."""
    running = asyncio.create_task(agent.run())
    while name not in events:
        await asyncio.sleep(0)
    row = 0
    for _ in range(_LONGEST):
        before = _ticks
        await asyncio.sleep(1)
        row = row + 1 if _ticks - before > _OFTEN else 0
        if row == seconds or "failed" in events:
            break
    running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        pass
    return row


_DEMANDS = {"callers": callers, "erase": erase}


async def main(config):
    events = []

    def note(name, detail):
        events.append(name)
        if name == "bootstrap":
            _places["trusted"] = _ticks
        if name == "failed":
            events.append(detail["text"])

    agent = Agent(
        Store(config["state"]),
        config["url"],
        subject="CN=board",
        trust=binascii.unhexlify(config.get("sha256", ""))
        or [binascii.unhexlify(anchor) for anchor in config["anchors"]],
        credentials=auth.Password(config["user"], config["password"]),
        timeout=120,
        on_event=note,
    )
    wrap = tls.Context.wrap
    if config.get("bench"):
        tls.Context.wrap = lambda *arguments: Timed(wrap(*arguments))
        other = asyncio.create_task(tick())
    else:
        for name in ("sign", "verify", "public"):
            watch(ec.Curve, name)
        other = asyncio.create_task(turn())
    poor = [config.get("poor")]

    def wrap_if_room(*arguments):
        if poor[0]:
            raise MemoryError("no room")
        return wrap(*arguments)

    async def make_room():
        await asyncio.sleep(0)
        poor.clear()
        poor.append(False)
        events.append("made room")

    if config.get("linked"):
        from est import linking

        agent.orders = linking.ORDERS
        if sys.implementation.name == "cpython":
            time.sleep_ms = _slept.append
    if config.get("poor"):
        tls.Context.wrap = wrap_if_room
    tasks = None
    if config.get("cancel"):
        tasks = await cancelled(agent, config["cancel"])
    if config.get("at_once"):
        agent.Client = task.aclient.Client
        await steps.wait(agent.have())
    elif config.get("watch"):
        events.append(await watched(agent, events, config["watch"], config["seconds"]))
    else:
        running = asyncio.create_task(agent.run(make_room))
        await enrolled(agent, running)
        running.cancel()
        try:
            await running
        except asyncio.CancelledError:
            pass
    for key in ("callers", "erase"):
        if config.get(key):
            events.append(await _DEMANDS[key](agent, config[key]))
    agent.Client = task.aclient.Client
    if config.get("cmc"):
        from est import fullcmc

        agent.orders = fullcmc.ORDERS
    for _ in range(config["renewals"]):
        await steps.wait(agent.have(True))
    gc.collect()
    other.cancel()
    late = sorted(_late) or [0]
    return {
        "generation": agent.known.generation,
        "tasks": tasks,
        "events": events,
        "crowded": _crowded,
        "slept": len(_slept),
        "trusted": _places.get("trusted"),
        "ticks": _ticks,
        "worst": late[-1] / 1000,
        "p99": late[len(late) * 99 // 100] / 1000,
        "flight": _flights[0] / 1000,
    }


if hasattr(gc, "mem_free") and gc.mem_free() < 1 << 18:
    gc.threshold(4096)  # as an application on a small board
print(json.dumps(asyncio.run(main(json.loads(sys.stdin.readline())))))

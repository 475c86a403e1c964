"""The agent's back-off over a reset: kept in RTC memory where there is one, else in the store.

The record "retry" has no items. failures: in a row. until: when to try again. wait: how long that
was. floor: when the next order may be made. floored: how long that was. settings: for which that
is. refusals: of the certificate, in a row. generation: of that certificate. asked: tells the
settings. Times are in seconds,
points in time Unix seconds.
"""

import json

from micropython import const

from est import clock, store

# The least floor, and that without an identity.
_LEAST = const(60)
_FLOOR = const(300)
_MARK = const(b"est:")
# Failures after which est.agent waits no longer than before.
_GROWS = const(10)
# So many refusals, and the certificate works no more (est.agent).
_REFUSALS = const(6)
_FIELDS = const(("failures", "until", "wait", "floor", "floored", "refusals"))


def _memory():
    # RTC().memory of boards whose RTC has memory that outlives deep sleep, else None.
    try:
        import machine

        memory = machine.RTC().memory
        # What an application keeps there is not ours to overwrite.
        return memory if memory()[: len(_MARK)] in (b"", _MARK) else None
    except (ImportError, AttributeError, OSError):
        return None


def asked(agent, leaf=None, key=None):
    """Digest that tells what is asked for: `leaf` (DER) renewed, or a first certificate.

    key: as in est.agent.Agent; by default the agent's.
    """
    return store.digest((agent.url, agent.wanted, leaf, key or agent.key))


def _asked(agent):
    # Tells settings and credentials from others; too short to find a password by.
    login = [getattr(agent.credentials, name, "") for name in ("user", "secret")]
    return store.digest((asked(agent), agent.voucher, login))[:4]


def load(agent):
    """Give est.agent.Agent `agent` the state that was kept."""
    memory = _memory()
    state = {}
    if memory and memory():
        try:
            state = json.loads(memory()[len(_MARK) :])
        except ValueError:
            pass
    else:
        state = (agent.load("retry") or [{}])[0]
    if not isinstance(state, dict):
        state = {}
    for name in _FIELDS:
        value = state.get(name)
        setattr(agent, name, value if isinstance(value, int) else 0)
    agent.floor_of = state.get("settings", "")
    asked = _asked(agent)
    if state.get("asked", asked) != asked:
        # A person gave other settings, and does not want to wait.
        agent.failures = agent.until = agent.wait = 0
    if 0 < agent.until - clock.now_or_0() <= 2 * agent.wait:
        agent.known.next = ("retry", agent.until)
    if agent.refusals:
        # The power may have gone before the state of the certificate before was erased.
        generation = (agent.load("identity") or [{}])[0].get("generation", 0)
        if state.get("generation", generation) != generation:
            agent.refusals = 0
        # It may have been accepted since, which is not noted: only one more refusal counts.
        agent.refusals = min(agent.refusals, _REFUSALS - 1)


def save(agent):
    """Keep the state. In the store only what a new floor or a longer wait is worth: polls write
    nothing."""
    state = {name: getattr(agent, name) for name in _FIELDS}
    state["generation"] = agent.known.generation
    state["settings"] = agent.floor_of
    state["asked"] = _asked(agent)
    memory = _memory()
    if memory:
        memory(_MARK + json.dumps(state).encode())
    elif agent.failures <= _GROWS or agent.floor != agent.kept_floor:
        agent.kept_floor = agent.floor
        agent.store.save("retry", store.pack(state))


def erase(agent):
    """Forget the state, all is well; but not a floor that is ahead."""
    if is_floored(agent, agent.now()):
        save(agent)
        return
    wipe()
    if agent.load("retry") or agent.store.damaged:
        agent.store.erase("retry")


def is_floored(agent, now):
    """Whether the floor is ahead; as far again as it ever was, for the clock may have been set.

    What is further ahead is none: then the clock was quite wrong.
    """
    return 0 < agent.floor - now <= 2 * agent.floored


def wipe():
    """Forget what RTC memory keeps."""
    memory = _memory()
    if memory:
        memory(b"")


def fruitless(agent, meta):
    """Note, before an order of this `meta` ends that brought nothing, until when none may be made.

    A floor in proportion to the life of the identity, or else some minutes: a server that issues
    what cannot be used shall not be asked without end.
    """
    agent.floored = floor(agent)
    agent.floor = agent.now() + agent.floored
    agent.floor_of = meta.get("settings", "")
    save(agent)


def floor(agent):
    """Seconds that an order without result blocks the next."""
    now = agent.now()
    left = agent.known.not_after - now
    return max(min(agent.known.life(now)[1] // 24, left // 8), _LEAST) if left > 0 else _FLOOR

"""The application of a board that is driven line by line. Runs on MicroPython and CPython.

Reads JSON objects from standard input, one a line, and answers each with one. The first holds
url, state, anchors (hex DER each), user, password, subject and `flaw`, a name of _FLAWS. The
others hold `do`, a name of _COMMANDS, and `timeout` in seconds. The answer holds `ok`; `ms`;
`heap`, the octets in use after a collection (0 on CPython); and after a failure `error`, the name
of its type, `typed`, whether that is one of est.errors, and `message`. `step` answers with the
names of `events`, the `failures` among them in words, and with `seconds`, by which it moves the
agent's time on.
"""

import binascii
import gc
import json
import os
import sys
import time

# The client would stay or go with who loads it first, which is not the leak that is looked for.
import est
from est import auth, client, errors  # noqa: F401
from est.agent import Agent
from est.store import Store

try:
    # Of each load of machine code the unix port, and no board's, keeps some octets for good.
    from est import p256_thumb  # noqa: F401
except (ImportError, NameError, SyntaxError, ValueError):
    pass  # not this processor's

_heap = getattr(gc, "mem_alloc", lambda: 0)
_events = []
_failures = []


class _Clock:
    """Seconds by which the agent's time is ahead of the clock, which agrees with the server's."""

    ahead = 0


def _turn_clock(now=Agent.now):
    Agent.now = lambda agent: now(agent) + _Clock.ahead


def _note(name, detail):
    _events.append(name)
    if name == "failed":
        _failures.append(detail["type"] + ": " + detail["text"])


def _open(config):
    return Agent(
        Store(config["state"]),
        config["url"],
        subject=config["subject"],
        trust=[binascii.unhexlify(anchor) for anchor in config["anchors"]],
        credentials=auth.Password(config["user"], config["password"]),
        on_event=lambda name, detail: _note(name, detail),
    )


def _advance(agent):
    """What an application does at its start: whatever is lacking."""
    if agent.identity():
        agent.reenroll()
    else:
        agent.enroll()


def _revoke(agent):
    from est import revocation

    revocation.revoke(agent)


def _cacerts(agent):
    est.run(agent.adopt(agent.client().cacerts()))


def _now(agent):
    _Clock.ahead = 0


def _due(agent):
    # Move the time to when the renewal is due.
    _now(agent)
    _Clock.ahead = max(agent.due(), 0)


def _step(agent):
    seconds = agent.step()
    _Clock.ahead += seconds
    return seconds


def _steps(agent):
    # All steps to the next identity, at the time when they are due.
    _due(agent)
    before = agent.known.generation
    for _ in range(12):
        _step(agent)
        if agent.known.generation != before:
            return
    raise errors.EstError("steps bring nothing: " + str(_failures))


_COMMANDS = {
    "now": _now,
    "due": _due,
    "step": _step,
    "steps": _steps,
    "advance": _advance,
    "enroll": lambda agent: agent.enroll() and None,
    "reenroll": lambda agent: agent.reenroll() and None,
    "cacerts": _cacerts,
    "revoke": _revoke,
    "nothing": lambda agent: None,
}


# What a worse agent would do, so that tests show that they would notice it.
_kept = []


def _forgetful():
    # The request is not stored.
    save = Store.save

    def forget(store, name, *arguments):
        if name not in ("order", "pending"):
            save(store, name, *arguments)

    Store.save = forget


def _careless():
    # The old identity goes before the new one is there.
    def reenroll(agent, inner=Agent.reenroll):
        identity = agent.identity()
        agent.identity = lambda: identity
        agent.store.erase("identity")
        try:
            inner(agent)
        finally:
            del agent.identity

    Agent.reenroll = reenroll


class _Unwritten:
    # A file that gets to the disk when the system likes.
    def __init__(self, file):
        self._file = file
        self.write = file.write

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def flush(self):
        pass


def _unwritten():
    from est import posix

    written = posix.open
    posix.open = lambda path: _Unwritten(written(path))
    posix.done = lambda file, path: None
    posix.remove = os.remove


_FLAWS = {
    "": lambda: None,
    "forgetful": _forgetful,
    "careless": _careless,
    "leaky": lambda: None,
    "patient": lambda: None,
    "untyped": lambda: None,
    "unwritten": _unwritten,
}


def _answer(agent, command, flaw):
    agent.timeout = command["timeout"] + (7 if flaw == "patient" else 0)
    if flaw == "leaky":
        _kept.append(bytes(100))
    answer = {"ok": True}
    _events.clear()
    _failures.clear()
    started = time.ticks_ms()
    try:
        try:
            answer["seconds"] = _COMMANDS[command["do"]](agent)
        except errors.PeerError as error:
            if flaw == "untyped":
                raise OSError(str(error))
            raise
    except Exception as error:
        answer["ok"] = False
        answer["error"] = type(error).__name__
        answer["typed"] = isinstance(error, errors.EstError)
        answer["message"] = str(error)
        if not answer["typed"] and hasattr(sys, "print_exception"):
            sys.print_exception(error, sys.stderr)
    answer["events"] = _events
    answer["failures"] = _failures
    answer["ms"] = time.ticks_diff(time.ticks_ms(), started)
    agent.close()
    return answer


def main():
    # As an application on a small board does, or the heap is in pieces when TLS wants 17 KB of it.
    if hasattr(gc, "mem_free") and gc.mem_free() < 1 << 18:
        gc.threshold(4096)
    config = json.loads(sys.stdin.readline())
    _FLAWS[config["flaw"]]()
    _turn_clock()
    agent = _open(config)
    print(json.dumps({"ready": True}))
    while True:
        line = sys.stdin.readline()
        if not line:
            return
        command = json.loads(line)
        if command["do"] == "open":
            agent = _open(config)
            command["do"] = "nothing"
        answer = _answer(agent, command, config["flaw"])
        gc.collect()
        gc.collect()
        answer["heap"] = _heap()
        print(json.dumps(answer))


main()

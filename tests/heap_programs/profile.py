"""Runs on the board: prints, for each step of an enrolment, the heap in use before and at most.

Collections are forced so often that what is in use after each is close to what is needed.
"""

import gc
import json

import live_peak
import settings

gc.threshold(settings.THRESHOLD)
gc.collect()
empty = gc.mem_alloc()
live_peak.take()

from est import agent as agents  # noqa: E402
from est import auth, client, store, tls  # noqa: E402

steps = []  # [name, bytes before, bytes at most]
running = []  # those entered and not left


def enter(name):
    gc.collect()
    if running:
        running[-1][2] = max(running[-1][2], live_peak.take())
    steps.append([name, gc.mem_alloc(), 0])
    running.append(steps[-1])
    live_peak.take()


def leave():
    gc.collect()
    step = running.pop()
    step[2] = max(step[2], live_peak.take())


def watch(owner, method, name):
    original = getattr(owner, method)

    def watched(*arguments, **named):
        enter(name)
        try:
            return original(*arguments, **named)
        finally:
            leave()

    setattr(owner, method, watched)


def watch_steps(owner, method, name):
    # `name` may be a function of the arguments.
    original = getattr(owner, method)

    def watched(*arguments):
        enter(name if isinstance(name, str) else name(*arguments))
        try:
            return (yield from original(*arguments))
        finally:
            leave()

    setattr(owner, method, watched)


gc.collect()
steps.append(["import", empty, live_peak.take()])
watch(tls.Context, "__init__", "load anchors")
watch_steps(
    client.Client,
    "_send",
    lambda self, request: "exchange" if self.stream else "TLS handshake and exchange",
)
watch_steps(client.Client, "steps", "operation")
watch_steps(agents, "aparts", "request or verify")
watch(store.Store, "save", "store")

agent = agents.Agent(
    store.Store(settings.STATE),
    settings.URL,
    subject=settings.SUBJECT,
    credentials=auth.Password(settings.USER, settings.PASSWORD),
)
enter("whole")
agent.client().cacerts()
agent.enroll()
leave()
agent.close()
print(json.dumps(steps))

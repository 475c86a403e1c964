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
connected = []


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


def watch_handshake(cls):
    # The first bytes written over a new connection bring the handshake about.
    write = cls._write
    connect = cls._connect

    def watched_connect(self):
        connect(self)
        connected.append(True)

    def watched_write(self, data):
        enter("TLS handshake" if connected else "send")
        connected.clear()
        try:
            write(self, data)
        finally:
            leave()

    cls._connect = watched_connect
    cls._write = watched_write


gc.collect()
steps.append(["import", empty, live_peak.take()])
watch(tls.Context, "__init__", "load anchors")
watch_handshake(client.Client)
watch(client.Client, "run", "operation")
watch(agents, "apart", "request or verify")
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

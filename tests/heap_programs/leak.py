"""Runs on the board: prints how many bytes of heap are gone after many enrolments."""

import gc

import settings

from est import auth
from est.agent import Agent
from est.store import Store

before = 0
for count in range(settings.ROUNDS + 2):
    agent = Agent(
        Store(settings.STATE),
        settings.URL,
        subject=settings.SUBJECT,
        credentials=auth.Password(settings.USER, settings.PASSWORD),
    )
    agent.enroll()
    agent.close()
    del agent
    gc.collect()
    if count == 1:  # the first, and the first that is proven, bring what stays
        before = gc.mem_free()
print(before - gc.mem_free())

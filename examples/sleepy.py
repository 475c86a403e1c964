"""A board on a battery: it wakes once an hour, renews if that is due, and sleeps again.

config.json as for enrol.py. The radio stays off unless the certificate needs the network, or the
clock was lost. The back-off after failures outlives deep sleep: in RTC memory where the board has
it, else in the store. Nothing feeds a watchdog while the board sleeps, so there is none: a timer
resets a board that is awake for too long.
"""

import gc

import machine
from wiring import Board

import configuration
from est.agent import Agent
from est.errors import UsageError
from est.store import Store

SLEEP = 3600  # seconds
AWAKE = 300  # seconds, at most
STEPS = 8  # of the agent in one go: enrolling or renewing takes two


def work():
    """What the board is for. Without the network, or with it if you join."""
    print("reading: 42")


def needs_network(agent):
    """Whether there is something to do for the agent now."""
    try:
        if agent.due() > 0:
            return False
        step, when = agent.known.next or (None, 0)
        return step != "retry" or when <= agent.now()
    except UsageError:
        return True  # the clock is not set


def renew(board, config, agent):
    board.wifi(config.get("ssid"), config.get("password"), config.get("country"))
    board.set_clock(config.get("ntp", "pool.ntp.org"))
    for _ in range(STEPS):
        if agent.step():
            break
    board.leave()


def main():
    gc.threshold(4096)
    limit = machine.Timer(-1)
    limit.init(
        mode=machine.Timer.ONE_SHOT, period=AWAKE * 1000, callback=lambda _: machine.reset()
    )
    try:
        config, wrong = configuration.read("config.json")
        if wrong:
            print("\n".join(wrong))
            return
        board = Board()
        store = Store(board.check_storage())
        agent = configuration.agent(
            Agent, config, store, board.unique_id(), log=print, on_event=print
        )
        work()
        if needs_network(agent):
            renew(board, config, agent)
    except Exception as error:
        # Whatever it was: the next try is after the sleep.
        print("%s: %s" % (type(error).__name__, error))
    finally:
        limit.deinit()
    machine.deepsleep(SLEEP * 1000)


main()

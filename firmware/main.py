"""A whole application: joins the Wi-Fi, sets the clock, enrols, and renews in time, for ever.

docs/board.md describes config.json, which lies beside it.
"""

import gc
import time

from micropython import const
from wiring import Board

import configuration
from est import clock
from est.agent import Agent
from est.store import Store

# Seconds until the next try where the board itself is not ready.
_RETRY = const(60)
# Wi-Fi, clock, and several requests that each wait for their timeout.
_LONGEST_ATTEMPT = const(600)
_LONGEST = const(86400)


def read_config():
    """The settings, or None after a line for each thing that is wrong with them."""
    config, wrong = configuration.read(configuration.FILE)
    for line in wrong:
        print(line)
    return config


def report(event, detail):
    """One line for each event of the agent."""
    if event not in ("bootstrap", "trust"):
        text = detail.get("text") or " ".join(["%s=%s" % pair for pair in detail.items()])
        detail = "%s: %s" % (detail["operation"], text) if event == "failed" else text
    print("%s: %s" % (event, detail))


def make_agent(board, config):
    store = Store(board.check_storage())
    number = board.unique_id()
    return configuration.agent(Agent, config, store, number, log=print, on_event=report)


def make_ready(board, config):
    """Network, clock and random source. Without the time server a plausible clock will do."""
    board.wifi(config.get("ssid"), config.get("password"), config.get("country"))
    server = config.get("ntp", "pool.ntp.org")
    try:
        if server is not None:
            board.set_clock(server)
    except Exception as error:
        if not clock.now_or_0():
            raise
        print("the clock is not set anew: %s" % error)
    board.check_entropy()


def main():
    gc.threshold(4096)  # or the heap is in pieces when TLS asks for 17 KB of it
    config = read_config()
    if config is None:
        return
    board = Board()
    dog = board.watchdog(_LONGEST_ATTEMPT)
    agent = None
    while True:
        try:
            make_ready(board, config)
            agent = agent or make_agent(board, config)
            wait = agent.step()
            if wait:
                print("%s in %d s" % ((agent.known.next or ("next step", 0))[0], wait))
        except Exception as error:
            # Whatever wiring and settings can raise: nothing of it may end the renewals.
            print("%s: %s" % (type(error).__name__, error))
            wait = _RETRY
        gc.collect()
        # An hour too late does no harm, a clock that ran wrong for a year would.
        end = time.ticks_add(time.ticks_ms(), min(max(wait, 1), _LONGEST) * 1000)
        while time.ticks_diff(end, time.ticks_ms()) > 0:
            dog.feed()
            time.sleep(1)


if __name__ == "__main__":
    main()

"""Has a certificate made, once, and says what the board has.

Needs config.json beside it, as the other examples do; docs/board.md describes its keys.
"""

import gc

from wiring import Board

import configuration
from est import x509
from est.agent import Agent
from est.errors import EstError, RetryLater
from est.store import Store


def main():
    gc.threshold(4096)  # or the heap is in pieces when TLS asks for 17 KB of it
    config, wrong = configuration.read("config.json")
    for line in wrong:
        print(line)
    if wrong:
        return
    board = Board()
    board.wifi(config.get("ssid"), config.get("password"), config.get("country"))
    board.set_clock(config.get("ntp", "pool.ntp.org"))
    store = Store(board.check_storage())
    agent = configuration.agent(Agent, config, store, board.unique_id(), log=print)
    try:
        if not agent.identity():
            agent.enroll()
    except RetryLater as error:
        # The request is stored: the next run asks for the same certificate.
        print("%s; run this again in %d s" % (error, error.seconds))
        return
    except EstError as error:
        print("%s: %s" % (type(error).__name__, error))
        return
    finally:
        agent.close()
    chain, _ = agent.identity()
    for der in chain:
        print(x509.Certificate(der))
    print("to be renewed in %d days" % (agent.due() // 86400))


main()

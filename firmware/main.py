"""A whole application: joins the Wi-Fi, sets the clock, enrols, and renews in time, for ever.

config.json beside it: ssid, password, country; url, sha256 (fingerprint of the CA certificate),
subject ("CN={id}" gets the board's number), user, secret (the user's password at the EST server).
"""

import binascii
import gc
import json
import time

from micropython import const
from wiring import Board

from est import auth
from est.agent import Agent
from est.errors import EstError, RetryLater, StorageError
from est.store import Store

_RETRY = const(300)
# Wi-Fi, clock, and several requests that each wait for their timeout.
_LONGEST_ATTEMPT = const(600)
_LONGEST = const(86400)


def enrol_or_renew(board, config):
    """Do what is due; returns the seconds until something is again."""
    board.wifi(config.get("ssid"), config.get("password"), config.get("country"))
    board.set_clock()
    board.check_entropy()
    login = auth.Password(config["user"], config["secret"]) if "user" in config else None
    agent = Agent(
        Store(board.check_storage()),
        config["url"],
        config["subject"].replace("{id}", board.unique_id()),
        trust=binascii.unhexlify(config["sha256"].replace(":", "")),
        credentials=login,
        log=print,
    )
    try:
        try:
            due = agent.due()
            known = agent.identity()
        except StorageError as error:
            print(error)  # damaged beyond use: what helps is to enrol as for the first time
            due = known = 0
        if due <= 0:
            # With a certificate that has expired TLS lets nobody in, but the password may.
            if known and not (login and agent.due(True) <= 0):
                agent.reenroll()
            else:
                agent.enroll()
        return agent.due()
    finally:
        agent.close()


def main():
    gc.threshold(4096)  # or the heap is in pieces when TLS asks for 17 KB of it
    try:
        with open("config.json") as file:
            config = json.load(file)
    except (OSError, ValueError) as error:
        print("config.json is missing or malformed (%s); main.py says what goes in it" % error)
        return
    board = Board()
    dog = board.watchdog(_LONGEST_ATTEMPT)
    while True:
        try:
            wait = enrol_or_renew(board, config)
            print("certificate in place, next renewal in %d s" % wait)
        except RetryLater as error:
            print(error)
            wait = error.seconds
        except EstError as error:
            print(error)
            wait = _RETRY
        # An hour too late does no harm, a clock that ran wrong for a year would.
        end = time.ticks_add(time.ticks_ms(), min(max(wait, 1), _LONGEST) * 1000)
        while time.ticks_diff(end, time.ticks_ms()) > 0:
            dog.feed()
            time.sleep(1)


if __name__ == "__main__":
    main()

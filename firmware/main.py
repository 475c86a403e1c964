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

from est import auth, clock
from est.agent import Agent
from est.store import Store

# Seconds until the next try where the board itself is not ready.
_RETRY = const(60)
# Wi-Fi, clock, and several requests that each wait for their timeout.
_LONGEST_ATTEMPT = const(600)
_LONGEST = const(86400)
_NEEDED = ("url", "sha256", "subject")
_KEYS = _NEEDED + ("user", "secret", "ssid", "password", "country")


def problems(config):
    """What is wrong with the settings: a list of lines, each of which names its key."""
    if not isinstance(config, dict):
        return ["config.json: must be an object: {...}"]
    found = ["config.json: %s is missing" % key for key in _NEEDED if key not in config]
    for key, value in config.items():
        if key not in _KEYS:
            found.append("config.json: %s is unknown: one of %s" % (key, " ".join(_KEYS)))
        elif not isinstance(value, str) and (value is not None or key in _NEEDED):
            found.append('config.json: %s must be text in "..."' % key)
    if (config.get("user") is None) != (config.get("secret") is None):
        found.append("config.json: user and secret go together")
    if not found and len(fingerprint(config)) != 32:
        found.append("config.json: sha256 must be 64 hexadecimal digits")
    return found


def fingerprint(config):
    """The bytes of sha256, none if it is no hexadecimal text."""
    digits = config["sha256"].replace(":", "")
    if len(digits) % 2 or digits.lower().strip("0123456789abcdef"):
        return b""
    return binascii.unhexlify(digits)


def read_config():
    """The settings, or None after a line for each thing that is wrong with them."""
    try:
        with open("config.json") as file:
            config = json.loads(file.read().lstrip("\ufeff"))  # a byte order mark
    except (OSError, ValueError) as error:
        reason = str(error) or "not UTF-8"
        print("config.json is missing or malformed (%s); main.py says what goes in it" % reason)
        return None
    found = problems(config)
    for line in found:
        print(line)
    return None if found else config


def report(event, detail):
    """One line for each event of the agent."""
    if event not in ("bootstrap", "trust"):
        text = detail.get("text") or " ".join(["%s=%s" % pair for pair in detail.items()])
        detail = "%s: %s" % (detail["operation"], text) if event == "failed" else text
    print("%s: %s" % (event, detail))


def make_agent(board, config):
    user = config.get("user")
    login = None if user is None else auth.Password(user, config["secret"].lstrip("\ufeff"))
    return Agent(
        Store(board.check_storage()),
        config["url"],
        config["subject"].replace("{id}", board.unique_id()),
        trust=fingerprint(config),
        credentials=login,
        log=print,
        on_event=report,
    )


def make_ready(board, config):
    """Network, clock and random source. Without the time server a plausible clock will do."""
    board.wifi(config.get("ssid"), config.get("password"), config.get("country"))
    try:
        board.set_clock()
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

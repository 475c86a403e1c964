"""Posts readings over HTTPS with the board's certificate, and renews it in the same loop.

Needs est-use (`mpest flash --part est-use`) and config.json as for enrol.py.
"""

import gc
import time

from wiring import Board

import configuration
from est import requests
from est.agent import Agent
from est.errors import EstError, NotTrusted
from est.store import Store

URL = "https://api.example.com/readings"
INTERVAL = 60  # seconds
TIMEOUT = 20  # seconds


def post(number):
    """Whether the reading has arrived."""
    answer = None
    try:
        answer = requests.post(URL, json={"reading": number}, timeout=TIMEOUT)
        print("reading %d: HTTP %d" % (number, answer.status_code))
        return answer.status_code // 100 == 2
    except NotTrusted as error:
        print("not sent, for it is not the server: %s" % error)
    except EstError as error:
        print("not sent: %s" % error)
    finally:
        if answer:
            answer.close()
    return False


def main():
    gc.threshold(4096)
    config, wrong = configuration.read("config.json")
    if wrong:
        print("\n".join(wrong))
        return
    board = Board()
    board.wifi(config.get("ssid"), config.get("password"), config.get("country"))
    board.set_clock(config.get("ntp", "pool.ntp.org"))
    dog = board.watchdog(600)
    store = Store(board.check_storage())
    agent = configuration.agent(Agent, config, store, board.unique_id(), log=print, on_event=print)
    requests.use(agent.known)
    number = step_wait = 0
    stepped = time.time()
    while True:
        dog.feed()
        if time.time() - stepped >= step_wait:
            step_wait = min(agent.step(), 3600)
            stepped = time.time()
        if agent.known.chain and post(number):
            number += 1
        gc.collect()
        time.sleep(min(INTERVAL, max(step_wait, 1)))


main()

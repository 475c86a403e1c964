"""Publishes over MQTT with the board's certificate, for ever, and renews it in the same loop.

umqtt.simple of micropython-lib (`mip.install("umqtt.simple")`); config.json as for enrol.py. A
renewal neither ends the connection nor needs a new one.
"""

import gc
import os
import select
import time

from umqtt.simple import MQTTClient, MQTTException
from wiring import Board

import configuration
from est.agent import Agent
from est.store import Store

BROKER = "mqtt.example.com"
PORT = 8883
KEEPALIVE = 60  # seconds
INTERVAL = 20  # seconds between messages, each of which is answered
LONGEST_WAIT = 300  # seconds between connections that fail


class Client(MQTTClient):
    """It waits for an answer as long as the broker may be silent, and no longer."""

    def wait_msg(self):
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        if not poll.poll(self.keepalive * 1000):
            raise OSError(110)  # ETIMEDOUT
        return super().wait_msg()


def seconds_since(ticks):
    return time.ticks_diff(time.ticks_ms(), ticks) // 1000


def wait_after(failures):
    """Seconds, doubled with each failure, with jitter: boards shall not come back together."""
    longest = min(1 << min(failures, 9), LONGEST_WAIT)
    return longest * (128 + os.urandom(1)[0] // 2) // 256


def main():
    gc.threshold(4096)
    config, wrong = configuration.read("config.json")
    if wrong:
        print("\n".join(wrong))
        return
    board = Board()
    board.wifi(config.get("ssid"), config.get("password"), config.get("country"))
    board.set_clock(config.get("ntp", "pool.ntp.org"))
    dog = board.watchdog(600)  # longer than a step of the agent takes
    name = board.unique_id()
    store = Store(board.check_storage())
    agent = configuration.agent(Agent, config, store, name, log=print, on_event=print)
    context = client = None
    failures = number = wait = step_wait = 0
    tried = stepped = time.ticks_ms()
    while True:
        dog.feed()
        if seconds_since(stepped) >= step_wait:
            step_wait = min(agent.step(), 3600)
            stepped = time.ticks_ms()
        if agent.known.chain and seconds_since(tried) >= wait:
            try:
                if client is None:
                    context = context or agent.known.context()
                    client = Client(name, BROKER, PORT, keepalive=KEEPALIVE, ssl=context)
                    client.connect(timeout=KEEPALIVE)
                client.publish(b"boards/" + name.encode(), b"message %d" % number, qos=1)
                client.ping()
                client.wait_msg()  # the answer
                number += 1
                failures = 0
                wait = INTERVAL
            except (OSError, MQTTException, IndexError) as error:
                print("MQTT: %r" % error)
                client = None
                failures += 1
                wait = wait_after(failures)
                if failures == 5:
                    # Refused, or cut off: the EST server knows.
                    agent.known.refused(error)
                    step_wait = 0
                gc.collect()
            tried = time.ticks_ms()
        time.sleep_ms(200)


main()

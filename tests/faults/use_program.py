"""A board's application that publishes over MQTT, renews, and is driven line by line.

Reads JSON objects as line_program.py does. The first holds url, state, subject, anchors (hex DER),
user, password; library, the folder of umqtt; client, "simple" or "robust"; broker: [host, port];
keepalive in seconds. The others hold `do`, a method of Board, and `text` to publish. The answer
holds `ok`, `error` in words, `ms`, `generation`, `heap` as there, and the `events` of the agent.
"""

import binascii
import gc
import json
import select
import sys
import time

from est import auth, client, errors  # noqa: F401  stays in the heap, as there
from est.agent import Agent
from est.store import Store

try:
    # Of each load of machine code the unix port, and no board's, keeps some octets for good.
    from est import p256_thumb  # noqa: F401
except (ImportError, NameError, SyntaxError, ValueError):
    pass  # not this processor's

_heap = getattr(gc, "mem_alloc", lambda: 0)


def _kind(base):
    class Client(base):
        """One that notices silence: umqtt itself waits for ever."""

        DELAY = 1

        def connect(self, clean_session=True, timeout=None):
            return super().connect(clean_session, self.keepalive)

        def wait_msg(self):
            poll = select.poll()
            poll.register(self.sock, select.POLLIN)
            if not poll.poll(self.keepalive * 1000):
                raise OSError(110)
            return super().wait_msg()

    return Client


class Board:
    def __init__(self, config):
        self.events = []
        self.ahead = 0
        self.agent = Agent(
            Store(config["state"]),
            config["url"],
            subject=config["subject"],
            trust=[binascii.unhexlify(anchor) for anchor in config["anchors"]],
            credentials=auth.Password(config["user"], config["password"]),
            on_event=lambda name, detail: self.events.append(name),
        )
        now = self.agent.now
        self.agent.now = lambda: now() + self.ahead
        self.config = config
        self.mqtt = None
        sys.path.insert(0, config["library"])
        from umqtt import robust, simple

        self.kind = _kind({"simple": simple, "robust": robust}[config["client"]].MQTTClient)

    def enroll(self, _):
        self.agent.enroll()
        config = self.config
        host, port = config["broker"]
        context = self.agent.known.context()
        self.mqtt = self.kind(b"board", host, port, keepalive=config["keepalive"], ssl=context)
        self.mqtt.set_callback(lambda topic, message: None)

    def connect(self, _):
        self.mqtt.connect()

    def disconnect(self, _):
        self.mqtt.disconnect()

    def renew(self, _):
        self.agent.reenroll()
        self.agent.close()

    def publish(self, text):
        """Until the broker has it."""
        until = time.ticks_add(time.ticks_ms(), 60000)
        while True:
            try:
                return self.mqtt.publish(b"t", text.encode(), qos=1)
            except OSError:
                if time.ticks_diff(until, time.ticks_ms()) < 0:
                    raise
            self._again(until)

    def _again(self, until):
        while True:
            try:
                return self.mqtt.connect()
            except OSError as error:
                if time.ticks_diff(until, time.ticks_ms()) < 0:
                    raise error
            time.sleep(0.2)

    def refused(self, _):
        """The broker refuses the certificate: hand that on, and do as the agent says."""
        try:
            self.mqtt.connect()
            self.mqtt.publish(b"t", b"in", qos=1)
        except OSError as error:
            self.agent.known.refused(error)
        else:
            raise errors.EstError("it is not refused")
        before = self.agent.known.generation
        for _ in range(40):
            self.agent.contact = 1  # the five minutes that it waits at least are over
            self.ahead += self.agent.step()
            if self.agent.known.generation != before:
                return
        raise errors.EstError("no way back: " + str(self.agent.known.failure))

    def nothing(self, _):
        pass


def main():
    if hasattr(gc, "mem_free") and gc.mem_free() < 1 << 18:
        gc.threshold(4096)
    board = Board(json.loads(sys.stdin.readline()))
    print(json.dumps({"ready": True}))
    while True:
        line = sys.stdin.readline()
        if not line:
            return
        command = json.loads(line)
        answer = {"ok": True}
        board.events.clear()
        begun = time.ticks_ms()
        try:
            getattr(board, command["do"])(command.get("text"))
        except (OSError, errors.EstError) as error:
            answer = {"ok": False, "error": type(error).__name__ + ": " + str(error)}
        answer["ms"] = time.ticks_diff(time.ticks_ms(), begun)
        answer["events"] = board.events
        answer["generation"] = board.agent.known.generation
        gc.collect()
        gc.collect()
        answer["heap"] = _heap()
        print(json.dumps(answer))


main()

"""Reconnects after each OSError, as micropython-lib's umqtt.robust does."""

import time

from umqtt import simple


class MQTTClient(simple.MQTTClient):
    DELAY = 2

    def reconnect(self):
        while True:
            try:
                return self.connect(False)
            except OSError:
                time.sleep(self.DELAY)

    def publish(self, topic, message, retain=False, qos=0):
        while True:
            try:
                return super().publish(topic, message, retain, qos)
            except OSError:
                pass
            self.reconnect()

    def wait_msg(self):
        while True:
            try:
                return super().wait_msg()
            except OSError:
                pass
            self.reconnect()

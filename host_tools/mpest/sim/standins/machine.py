"""MicroPython's machine for CPython: what a board's application may ask of its hardware."""

import sys
import uuid

PWRON_RESET = 1


def unique_id():
    return uuid.getnode().to_bytes(6, "big")


def reset():
    sys.exit(0)


def reset_cause():
    return PWRON_RESET


class WDT:
    def __init__(self, id=0, timeout=5000):
        pass

    def feed(self):
        pass

"""Raspberry Pi Pico 2 W: Wi-Fi by a CYW43439."""

import bringup


class Board(bringup.Board):
    watchdog_ms = 8388  # the RP2 port takes no more

"""Boards with an ESP32."""

import bringup


class Board(bringup.Board):
    reconnects = True
    radio_random = True

"""Boards with an ESP32-S3."""

import bringup


class Board(bringup.Board):
    reconnects = True
    radio_random = True

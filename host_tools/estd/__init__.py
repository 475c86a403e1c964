"""The package estd of firmware/, on CPython with stand-ins for what only MicroPython has."""

from mpest.sim import cpython

cpython.become(globals())

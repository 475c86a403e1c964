"""A board as a process: the real device code on CPython or MicroPython against real servers."""

"""micropython for CPython: what est uses of it."""


def const(value):
    return value

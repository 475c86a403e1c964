"""The client of a Linux board: est.agent as a program that is left running.

On CPython and on MicroPython's unix port. It imports est, `configuration`, which lies beside this
folder, and of the standard library what both have. `__main__` reads the options, `config` the
settings, `run` is the loop.
"""

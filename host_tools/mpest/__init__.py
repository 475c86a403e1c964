"""Host tools around the EST client for MicroPython: server, simulator, demo."""

from importlib.metadata import version

__version__ = version("mpest")

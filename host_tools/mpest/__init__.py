"""Host tools around the EST client for MicroPython: server, simulator, demo."""

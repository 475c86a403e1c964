"""How much of what clients can cause without end is told."""

import time


class Throttle:
    """Lets `burst` things pass at once, and `rate` a second after that."""

    def __init__(self, burst: float, rate: float) -> None:
        self.left_out = 0
        """How many did not pass, until somebody sets it to 0."""
        self._burst = burst
        self._rate = rate
        self._left = burst
        self._filled = time.monotonic()

    def passes(self) -> bool:
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._filled) * self._rate)
        self._filled = now
        if self._left < 1:
            self.left_out += 1
            return False
        self._left -= 1
        return True

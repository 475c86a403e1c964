"""Long computations as generators: each step takes some milliseconds on a board."""


def run(steps, between=None):
    """The result of `steps`. `between()` is called after each: feed a watchdog there."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value
        if between:
            between()


async def wait(steps):
    """The result of `steps`; other asyncio tasks run between them."""
    import asyncio

    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value
        await asyncio.sleep(0)

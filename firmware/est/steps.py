"""Long computations and exchanges as generators (est.run): each step takes some milliseconds."""

from micropython import const

# How often the network is looked at, of what est.run waits at once.
_POLL_MS = const(5)
_POLLS = const(10)


def run(steps, between=None):
    """The result of `steps`. `between()` is called after each: feed a watchdog there."""
    import est

    return est.run(fed(steps, between))


def fed(steps, between):
    """`steps`, and `between()` after each unless it is None."""
    try:
        while True:
            waits = next(steps)
            if between:
                between()
            yield waits
    except StopIteration as stop:
        return stop.value
    finally:
        steps.close()


async def wait(steps):
    """The result of `steps`; other asyncio tasks run between them. Cancelled, they are closed."""
    import asyncio
    import sys

    import est

    try:
        while True:
            waits = next(steps)
            modules = list(sys.modules)
            await asyncio.sleep(0)
            for _ in range(_POLLS if waits else 0):
                if waits.poll(0):
                    break
                await asyncio.sleep(_POLL_MS / 1000)
            if len(sys.modules) != len(modules):
                est.others += [name for name in sys.modules if name not in modules]
    except StopIteration as stop:
        return stop.value
    finally:
        steps.close()

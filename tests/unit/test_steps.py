import asyncio

import check
from est import steps


def _three():
    yield
    yield
    yield
    return 7


def _failing():
    yield
    raise ValueError("x")


def test_run():
    calls = []
    assert steps.run(_three(), lambda: calls.append(1)) == 7
    assert len(calls) == 3
    assert steps.run(_three()) == 7
    check.raises(ValueError, steps.run, _failing())


def test_wait():
    order = []

    async def other():
        for _ in range(3):
            order.append("other")
            await asyncio.sleep(0)

    async def main():
        task = asyncio.create_task(other())
        order.append(await steps.wait(_three()))
        await task

    asyncio.run(main())
    assert order.count("other") == 3
    assert order.index("other") < order.index(7)

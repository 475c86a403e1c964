import asyncio
import gc

import check
from est import apart, steps


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


def test_what_ran_apart_leaves_the_heap_at_once():
    if not hasattr(gc, "mem_alloc"):
        return  # CPython counts references

    def part():
        return len([bytearray(1000) for _ in range(50)])

    gc.collect()
    before = gc.mem_alloc()
    assert apart(part) == 50
    assert gc.mem_alloc() - before < 10000

"""Curves in steps: the same results, short steps, and nothing left behind when given up."""

import asyncio
import os

import check
from est import curves, ec_steps, entropy, steps
from est.ec import P256
from est.errors import PeerError, UsageError

_CURVES = (P256, curves.P384)
_DIGEST = b"\x5a" * 48


def _private(curve, value):
    return value.to_bytes(curve.size, "big")


def test_same_results():
    for curve in _CURVES:
        private = _private(curve, 0x1234567)
        public = curve.public(private)
        assert steps.run(ec_steps.public(curve, private)) == public
        made = [
            steps.run(ec_steps.sign(curve, private, _DIGEST)),
            steps.run(ec_steps.sign(curve, private, _DIGEST)),
            curve.sign(private, _DIGEST),
        ]
        assert made[0] != made[1]
        for signature in made:
            assert curve.verify(public, _DIGEST, signature)
            assert steps.run(ec_steps.verify(curve, public, _DIGEST, signature)) is True
            assert not steps.run(ec_steps.verify(curve, public, bytes(48), signature))
        stepped = steps.run(ec_steps.sign(curve, private, _DIGEST, bytes))
        assert stepped == curve.sign(private, _DIGEST, bytes)
        other = curve.public(_private(curve, 99))
        assert steps.run(ec_steps.ecdh(curve, private, other)) == curve.ecdh(private, other)


def test_p521():
    private = _private(curves.P521, 77)
    public = curves.P521.public(private)
    assert steps.run(ec_steps.public(curves.P521, private)) == public


def test_bad_input():
    for curve in _CURVES:
        zero = bytes(curve.size)
        good = curve.public(_private(curve, 1))
        check.raises(UsageError, steps.run, ec_steps.public(curve, zero))
        check.raises(UsageError, steps.run, ec_steps.sign(curve, zero, _DIGEST))
        check.raises(UsageError, steps.run, ec_steps.ecdh(curve, zero, good))
        check.raises(PeerError, steps.run, ec_steps.ecdh(curve, _private(curve, 1), good[:-1]))
        assert steps.run(ec_steps.verify(curve, good, _DIGEST, b"\x30\0")) is False
        assert steps.run(ec_steps.verify(curve, good[:-1], _DIGEST, b"\x30\0")) is False


def test_steps_do_not_depend_on_the_key():
    for curve in _CURVES:
        counts = set()
        for value in (1, 2, 0xFF << 100, curve.n - 1):
            counts.add(len(list(ec_steps.public(curve, _private(curve, value)))))
            counts.add(len(list(ec_steps.sign(curve, _private(curve, value), _DIGEST))))
        # One for each digit of four bits and a carry.
        assert counts == {2 * curve.size + 1}


def test_the_curve_is_not_touched():
    # Another thread may use it, wherever this one is.
    private = _private(P256, 7)
    public = P256.public(private)
    found = []

    def source(count):
        if not found:
            found.append(b"")
            found.append(P256.public(private))
        return os.urandom(count)

    entropy.use(source)
    try:
        assert steps.run(ec_steps.public(P256, private)) == public
    finally:
        entropy.use(None)
    assert found[1] == public


def test_given_up_and_interleaved():
    for curve in _CURVES:
        fast = curve._fast
        private = _private(curve, 5)
        public = curve.public(private)
        fast = curve._fast
        left = ec_steps.sign(curve, private, _DIGEST)
        for _ in range(3):
            next(left)
            assert curve._fast is fast
            assert curve.public(private) == public
        left.close()
        assert curve._fast is fast
        first, second = ec_steps.sign(curve, private, _DIGEST), ec_steps.public(curve, private)
        for _ in range(5):
            next(first)
            next(second)
        assert steps.run(second) == public
        assert curve.verify(public, _DIGEST, steps.run(first))


def test_other_tasks_and_watchdog_go_on():
    curve = curves.P384
    private = _private(curve, 7)
    signature = curve.sign(private, _DIGEST)
    fed = []
    verifying = ec_steps.verify(curve, curve.public(private), _DIGEST, signature)
    assert steps.run(verifying, lambda: fed.append(1))
    assert len(fed) == 2 * (2 * curve.size + 1)
    ticks = []

    async def ticking():
        while True:
            ticks.append(1)
            await asyncio.sleep(0)

    async def main():
        task = asyncio.create_task(ticking())
        made = await steps.wait(ec_steps.sign(curve, private, _DIGEST))
        task.cancel()
        return made

    assert curve.verify(curve.public(private), _DIGEST, asyncio.run(main()))
    # MicroPython's asyncio is fair from one millisecond to the next.
    assert len(ticks) > 5

"""Where random bytes come from, and that none are given without a source or from a bad one."""

import hashlib
import os

import check
from est import ec, entropy
from est.errors import UsageError

# Bytes of a good source that pass: the cutoffs refuse one window in 2^40.
_GOOD = 1000000 // check.SAMPLE


class Using:
    """est.entropy draws on `source` for the length of a `with`."""

    def __init__(self, source):
        self.source = source

    def __enter__(self):
        entropy.use(self.source)

    def __exit__(self, *_):
        entropy.use(None)


def counting(calls):
    def source(count):
        calls.append(count)
        return bytes([at & 0xFF for at in range(count)])

    return source


def of(numbers, octet):
    """A source of `octet(number)` for 32-bit pseudorandom numbers."""
    return lambda count: bytes([octet(next(numbers)) for _ in range(count)])


def playing(data):
    """A source of `data`, over and over."""
    at = 0

    def source(count):
        nonlocal at
        at += count
        return (data * 2)[(at - count) % len(data) :][:count]

    return source


def draws(source, most=64):
    """How often 32 bytes can be drawn from `source` before it is refused; `most`: always."""
    with Using(source):
        for count in range(most):
            try:
                assert len(entropy.random(32)) == 32
            except UsageError as error:
                assert "source failed" in str(error)
                return count
    return most


def test_own_source():
    calls = []
    with Using(counting(calls)):
        first = entropy.random(40)
        assert len(first) == 40
        # 1024 bytes are tested before the first is used (SP 800-90B 4.3), 512 make 32.
        assert sum(calls) == 3 * 512
        # The source repeats itself; what was drawn before does not.
        assert entropy.random(40) != first
        assert sum(calls) == 5 * 512
        ec.P256.generate()
        assert sum(calls) == 7 * 512
    assert len(entropy.random(7)) == 7
    assert sum(calls) == 7 * 512


def test_no_source():
    class Os:
        pass

    found = entropy.os
    entropy.os = Os
    try:
        entropy.use(None)
        for _ in range(2):
            assert "est.entropy.use" in str(check.raises(UsageError, entropy.random, 1))
        calls = []
        entropy.use(counting(calls))
        assert entropy.random(1)
        assert calls
    finally:
        entropy.use(None)
        entropy.os = found


def test_bad_sources():
    numbers = check.numbers(7)
    # Stuck, and short or endless repetitions; then too few bits in each byte, from the start.
    for source in (
        bytes,
        lambda count: b"\xa5" * count,
        lambda count: b"\x55\xaa" * (count // 2),
        lambda count: bytes([at & 3 for at in range(count)]),
        lambda count: bytes([at % 6 for at in range(count)]),
        of(numbers, lambda number: number >> 9 & 1),
        of(numbers, lambda number: number >> 9 & 3),
        lambda count: b"",
        lambda count: os.urandom(count - 1),
    ):
        assert draws(source) == 0
    # Biased: refused once a window begins with the byte that comes too often.
    for share in (1 << 31, 3 << 30, 1 << 30):
        biased = of(numbers, lambda number: 7 if number < share else number & 0xFF)
        assert draws(biased) < 64


def test_cutoffs():
    for run, good in ((10, True), (11, False)):
        # Also where it begins in one block and ends in the next.
        for at in (512, 612, 1024 - run, 1024 - run // 2):
            blocks = bytearray(bytes(range(256)) * 6)
            blocks[at : at + run] = b"\x99" * run
            assert (draws(playing(bytes(blocks)), 2) == 2) == good
    for often, good in ((77, True), (78, False)):
        block = bytearray(bytes(range(1, 255)) * 2 + b"\xff" * 4)
        for at in range(often):
            block[6 * at] = 0
        block = bytes(block)
        assert block.count(b"\0") == often
        assert (draws(playing(block), 4) == 4) == good


def test_failing_and_coming_back():
    broken = False
    numbers = check.numbers(3)

    def source(count):
        return bytes(count) if broken else bytes([next(numbers) & 0xFF for _ in range(count)])

    with Using(source):
        entropy.random(32)
        broken = True
        for _ in range(3):
            check.raises(UsageError, entropy.random, 32)
            check.raises(UsageError, ec.P256.generate)
        broken = False
        entropy.random(32)


def test_cold_source():
    ready = False

    def source(count):
        if not ready:
            raise UsageError("cold")
        return os.urandom(count)

    with Using(source):
        for ready in (False, False, True, False, True):
            for use in (lambda: entropy.random(1), ec.P256.generate):
                if ready:
                    assert use()
                else:
                    assert str(check.raises(UsageError, use)) == "cold"


def test_good_source():
    drawn = _GOOD // 512
    assert draws(os.urandom, drawn) == drawn
    hashed = of(check.numbers(1), lambda number: number >> 8 & 0xFF)
    assert draws(hashed, drawn // 8) == drawn // 8


def test_more_is_mixed_in_and_never_trusted_alone():
    class Still:
        def ticks_us(self):
            return 5

    block = bytes([at * 7 & 0xFF for at in range(512)])
    found = entropy.time, entropy._pool
    entropy.time = Still()
    try:
        with Using(lambda count: block):
            seen = set()
            for data in (b"", b"a", b"b", bytes(5000)):
                entropy._pool = b"same"
                entropy.add(data)
                seen.add(entropy.random(32))
            assert len(seen) == 4
            entropy._pool = b"same"
            entropy.add(b"a")
            assert entropy.random(32) in seen
        with Using(bytes):
            entropy.add(os.urandom(64))
            check.raises(UsageError, entropy.random, 1)
    finally:
        entropy.time, entropy._pool = found


def test_board_id_is_mixed_in():
    class Machine:
        @staticmethod
        def unique_id():
            asked.append(1)
            return b"\xe6\x61\x0f"

    import sys

    asked = []
    before = sys.modules.get("machine")
    sys.modules["machine"] = Machine
    try:
        with Using(counting([])):
            entropy.random(1)
    finally:
        if before is None:
            del sys.modules["machine"]
        else:
            sys.modules["machine"] = before
    assert asked


def test_output_does_not_give_the_pool_away():
    with Using(counting([])):
        out = entropy.random(32)
    for seen in (entropy._pool, hashlib.sha256(entropy._pool).digest()):
        assert out != seen


def test_draws_amid_draws():
    # As another thread's may be, wherever this one is.
    found = []
    busy = []

    def another():
        if not busy:
            busy.append(1)
            found.append(entropy.random(32))
            busy.pop()

    def source(count):
        another()
        return os.urandom(count)

    class Hashes:
        @property
        def sha256(self):
            another()
            return hashlib.sha256

    real = entropy.hashlib
    entropy.hashlib = Hashes()
    try:
        with Using(source):
            for _ in range(4):
                found.append(entropy.random(32))
    finally:
        entropy.hashlib = real
    assert len(found) == len(set(found)) > 40


def test_kinds_of_bytes():
    for kind in (bytearray, memoryview):
        with Using(lambda count, kind=kind: kind(os.urandom(count))):
            assert len(entropy.random(32)) == 32

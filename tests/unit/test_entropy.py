"""Where random bytes come from, and that none are given without a source."""

import check
from est import ec, entropy
from est.errors import UsageError


def counting(calls):
    def source(count):
        calls.append(count)
        return bytes([at & 0xFF for at in range(count)])

    return source


def test_own_source():
    calls = []
    entropy.use(counting(calls))
    try:
        first = entropy.random(40)
        assert len(first) == 40
        assert len(calls) == 2
        # The source repeats itself; the counter that is hashed in does not.
        assert entropy.random(40) != first
        ec.P256.generate()
        assert len(calls) == 6
    finally:
        entropy.use(None)
    assert len(entropy.random(7)) == 7
    assert len(calls) == 6


def test_stuck_source():
    entropy.use(lambda count: bytes([at & 3 for at in range(count)]))
    try:
        check.raises(UsageError, entropy.random, 1)
        check.raises(UsageError, ec.P256.generate)
    finally:
        entropy.use(None)


def test_no_source():
    class Os:
        pass

    found = entropy.os
    entropy.os = Os
    try:
        assert "est.entropy.use" in str(check.raises(UsageError, entropy.random, 1))
        calls = []
        entropy.use(counting(calls))
        assert entropy.random(1)
        assert calls
    finally:
        entropy.use(None)
        entropy.os = found

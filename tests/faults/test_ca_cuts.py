"""A server opens again after a cut at any moment of its first start, and of a rollover."""

import ca_cuts
import pytest
import recorded
from line import show


def test_first_start_and_rollover():
    if reason := recorded.missing():
        pytest.skip(f"nothing is recorded here: {reason}")
    found = ca_cuts.run([2])
    assert show(found) == []
    assert found["kill"] > 100
    assert found["fsync"] > 40

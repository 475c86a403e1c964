"""A sample of the search of tests/faults/model.py, and that it went everywhere."""

import model
import pytest

SAMPLE = 40
SERIES = 5
WALKS = 10

# Of the state table. "none": no order is at hand.
STATES = {"none", "made", "waiting", "answered", "candidate"}


@pytest.fixture(scope="module")
def found():
    counts = model.run(SAMPLE)
    print(counts)
    return counts


def test_the_rules_hold_whatever_happens(found):
    assert found["boards"] >= SAMPLE
    assert found["power cuts"] > 0
    assert found["failed"] > 0


def test_series_and_walks_break_no_rule():
    for depth in model.DEPTHS:
        counts, failures = model.search(depth, SERIES)
        print(counts)
        assert failures == []
        assert counts["boards"] == SERIES * len(model.STARTS)
    counts, failures = model.walks(WALKS)
    print(counts)
    assert failures == []
    assert counts["stranded"] > 0


def test_all_states_are_met_and_left(found):
    moves = [move.replace(", aside", "").split(" > ") for move in found["moves"]]
    for state in STATES:
        assert any(before == state != after for before, after in moves), state
        assert any(after == state != before for before, after in moves), state
    assert {state for move in moves for state in move} == STATES
    assert any(move.endswith("none, aside") for move in found["moves"])
    assert any(move.startswith("none, aside > none") for move in found["moves"])

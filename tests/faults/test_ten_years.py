"""A sample of the lives of tests/faults/ten_years.py."""

import pytest
import ten_years

SAMPLE = 2
SEED = 1
# About so many certificates each: not ten years of all.
ORDERS = 40


@pytest.mark.parametrize("name", ten_years.WORLDS)
def test_a_board_lives_through(name):
    found = ten_years.run(SAMPLE, SEED, [name], ORDERS)
    print(found)
    assert found["failures"] == []
    counts = found["counts"][name]
    assert counts["boards"] == SAMPLE
    if name in ("default", "lifetimes", "backdating", "rollovers", "settings"):
        assert not counts.get("stranded")
        assert not counts.get("gap")


def test_ten_years_without_faults():
    found = ten_years.run(1, SEED, ["default"])
    print(found)
    assert found["failures"] == []
    counts = found["counts"]["default"]
    assert counts["years"] > 9.99
    # 1/24 to 2/3 of 90 days for the first, then each 2/3 less up to 1/24.
    assert 61 <= counts["identities"] <= 66
    assert counts["connections"] < 400

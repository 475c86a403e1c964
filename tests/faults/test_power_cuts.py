"""A sample of the power cuts of tests/faults/soak.py, and whether those would notice mistakes."""

import cut_runs
import pytest

SAMPLE = 20
PAIRS = 12
# Each of its boards lives through a week of failures.
FEWER = {"no verdict": 5}
SEED = 1
# What a renewal may take of the flash, without a back-off that lasts for days.
MAX_ERASES = 10
MAX_BYTES = 20480
RENEWALS = (
    "renewal",
    "renewal waiting",
    "rollover",
    "proof refused",
    "aside used",
)


@pytest.mark.parametrize("disk", cut_runs.DISKS)
@pytest.mark.parametrize("scenario", cut_runs.SCENARIOS)
def test_a_board_comes_back_from_a_power_cut(scenario, disk, program):
    program("micropython")
    sample, pairs = FEWER.get(scenario, SAMPLE), FEWER.get(scenario, PAIRS)
    result = cut_runs.run(scenario, disk, sample=sample, pairs=pairs, seed=SEED)
    print(result)
    assert list(cut_runs.told(result)) == []
    assert cut_runs.bad(result) == 0
    if scenario in RENEWALS:
        assert result["uncut"]["erases"] <= MAX_ERASES
        assert result["uncut"]["bytes"] <= MAX_BYTES


@pytest.mark.parametrize("mutant", cut_runs.MUTANTS)
def test_a_mistake_would_be_noticed(mutant, program):
    program("micropython")
    result = cut_runs.run(*cut_runs.MUTANTS[mutant], mutant=mutant)
    print(result)
    assert cut_runs.noticed(result) > 0

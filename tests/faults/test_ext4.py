"""What a board's process said to be done is done, if the power is cut right after that."""

import ext4
import pytest
import recorded
from line import show

pytestmark = pytest.mark.timeout(300)


def hold(found, least):
    assert show(found) == []
    assert found["lost"] == found["forgotten"] == 0
    assert found["cuts"] >= least


def test_power_cuts_on_ext4(program):
    program("micropython")
    if reason := ext4.missing():
        pytest.skip(f"no ext4 here: {reason}")
    hold(ext4.run(ext4.FEW_SECONDS, ext4.FEW), 24)


def test_power_cuts_after_each_fsync(program):
    program("micropython")
    if reason := recorded.missing():
        pytest.skip(f"nothing is recorded here: {reason}")
    hold(ext4.run(None), 30)


@pytest.mark.parametrize("runtime", ext4.RUNTIMES)
def test_a_file_that_is_not_written_through_is_found_out(program, runtime):
    program("micropython")
    if reason := recorded.missing():
        pytest.skip(f"nothing is recorded here: {reason}")
    found = ext4.run(None, runtimes=[runtime], flaw="unwritten")
    assert show(found)
    assert found["lost"]

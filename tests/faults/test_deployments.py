"""Files of other programs and hooks, over power cuts, kills and a full disk."""

import os
import signal
import time

import deployments
import pytest
import recorded
from line import show

pytestmark = pytest.mark.timeout(300)


def need(program):
    program("micropython")
    if reason := recorded.missing():
        pytest.skip(f"nothing is recorded here: {reason}")


def test_power_cuts_and_kills(program):
    need(program)
    found = deployments.run(deployments.FEW)
    assert show(found) == []
    assert found["cuts"] > 150 and found["starts"] == 6 * deployments.FEW


@pytest.mark.parametrize("flaw", ["unsynced", "early"])
def test_a_flaw_is_found_out(program, flaw):
    need(program)
    sample = None if flaw == "early" else 0
    assert show(deployments.run(sample, runtimes=["cpython"], scenarios=["renewal"], flaw=flaw))


@pytest.mark.parametrize("runtime", deployments.RUNTIMES)
def test_killed_while_a_hook_runs(program, runtime, tmp_path):
    """It runs again, and its number says that it is the same event."""
    program("micropython")
    bench = deployments.Bench(runtime, tmp_path)
    root = tmp_path / "root"
    (root / "state").mkdir(parents=True)
    note = 'echo "$MPEST_NUMBER $MPEST_TRY" >>"$0"'
    process = bench.start(
        root, bench.identity(1), command=note + "; sleep 600 & echo $! >>$0; wait"
    )
    while len(bench.lines()) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate()
    # The hook has a process group of its own.
    os.kill(int(bench.lines()[1]), signal.SIGKILL)
    assert bench.run(root, command=note) == ["1 2"]


@pytest.mark.parametrize("runtime", deployments.RUNTIMES)
def test_full_disk(program, runtime):
    program("micropython")
    wrong = deployments.full_disk(runtime)
    if wrong is None:
        pytest.skip("nothing can be mounted here")
    assert wrong == ""

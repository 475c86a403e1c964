"""Whatever octet of an exchange the network fails at, a board loses nothing and tries again."""

import network
import pytest
from line import show

SEED = 2026
# On a machine that has more to do.
pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    ("sample", "version", "operations"),
    [
        (50, "1.2", ("enroll", "renew by steps")),  # boards have TLS 1.2
        (250, "1.3", ("enrol by steps", "reenroll")),
    ],
)
def test_a_sample_of_octets(program, sample, version, operations):
    program("micropython")
    found = network.run(sample, SEED, versions=[version], operations=operations)
    assert show(found) == []
    assert found["tries"] > 10000 / sample
    assert found["failed"] > found["tries"] / 4
    assert found["heap"] <= network.HEAP_SLACK
    assert found["memory"] <= network.MEMORY_SLACK


@pytest.mark.parametrize(
    ("runtime", "failures"), [("micropython", 250), ("micropython-picow-like", 12)]
)
def test_failures_leave_nothing_in_the_heap(program, runtime, failures):
    program(runtime)
    found = network.leak(failures, SEED, runtime=runtime)
    assert show(found) == []
    assert found["heap"] <= network.LEAK


@pytest.mark.parametrize(
    ("flaw", "sample", "kind", "complaint"),
    [
        ("forgetful", 200, "reset", "a second key for one order"),
        ("careless", 800, "truncate", "the identity is lost"),
        ("untyped", 800, "cut", "OSError: "),
        ("patient", 3000, "stall", "took "),
    ],
)
def test_a_worse_agent_is_found_out(program, flaw, sample, kind, complaint):
    program("micropython")
    operations = ("enroll", "reenroll")
    runs = (
        network.run(sample, seed, versions=["1.2"], operations=operations, kinds=[kind], flaw=flaw)
        for seed in range(SEED, SEED + 5)
    )
    # At which octet of an answer the fault comes is chance.
    assert any(complaint in " ".join(show(found)) for found in runs)


def test_a_leak_is_found_out(program):
    program("micropython")
    assert network.leak(40, SEED, flaw="leaky")["heap"] > network.LEAK

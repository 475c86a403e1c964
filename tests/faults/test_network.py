"""Whatever octet of an exchange the network fails at, a board loses nothing and tries again."""

import network
import pytest
from line import show

SAMPLE = 50
SEED = 2026


def test_one_of_fifty_octets(program):
    program("micropython")
    found = network.run(SAMPLE, SEED)
    assert show(found) == []
    assert found["tries"] > 400
    assert found["failed"] > 100
    assert found["heap"] <= network.HEAP_SLACK
    assert found["memory"] <= network.MEMORY_SLACK


@pytest.mark.parametrize(
    ("runtime", "failures"), [("micropython", 1000), ("micropython-picow-like", 30)]
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
        ("careless", 400, "truncate", "the identity is lost"),
        ("untyped", 400, "cut", "OSError: "),
        ("patient", 3000, "stall", "ms"),
    ],
)
def test_a_worse_agent_is_found_out(program, flaw, sample, kind, complaint):
    program("micropython")
    found = network.run(sample, SEED, versions=["1.2"], kinds=[kind], flaw=flaw)
    assert complaint in " ".join(show(found))


def test_a_leak_is_found_out(program):
    program("micropython")
    assert network.leak(100, SEED, flaw="leaky")["heap"] > network.LEAK

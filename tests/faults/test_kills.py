"""A board's process may be killed at any instant."""

import kills
import pytest
from line import show

SEED = 2026
pytestmark = pytest.mark.timeout(300)


def test_thirty_kills(program):
    program("micropython")
    found = kills.run(30, SEED)
    assert show(found) == []
    assert found["tries"] == 30
    assert found["killed after the request arrived"]


@pytest.mark.parametrize(
    ("flaw", "complaint"),
    [("forgetful", "a second key for one order"), ("careless", "the identity is lost")],
)
def test_a_worse_agent_is_found_out(program, flaw, complaint):
    program("micropython")
    operations = ("enroll", "reenroll")
    # When exactly a kill comes is chance.
    said = ""
    for seed in range(SEED, SEED + 5):
        found = kills.run(20, seed, runtimes=["micropython"], operations=operations, flaw=flaw)
        said += " ".join(show(found))
        if complaint in said:
            break
    assert complaint in said

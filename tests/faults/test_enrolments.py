"""The server may be killed at any instant, while many enrol."""

import re

import enrolments
import pytest
from line import show

pytestmark = pytest.mark.timeout(300)


def test_ten_at_once() -> None:
    found = enrolments.run(10, chance=0.2)
    assert show(found) == []
    assert found["certificates"] == 20
    assert found["kills"] > 1


@pytest.mark.parametrize(
    ("flaw", "complaint"),
    [
        ("forgetful", "password was used|certificates? for two requests"),
        ("hasty", "is not on record"),
    ],
)
def test_a_worse_server_is_found_out(flaw: str, complaint: str) -> None:
    """When the server dies is chance, so it has several goes."""
    runs = (enrolments.run(4, seed, chance=0.5, flaw=flaw) for seed in range(6))
    assert any(re.search(complaint, " ".join(show(counts))) for counts in runs)

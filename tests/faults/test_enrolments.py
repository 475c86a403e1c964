"""The server may be killed at any instant, while many enrol."""

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
    [("forgetful", "password was used"), ("hasty", "is not on record")],
)
def test_a_worse_server_is_found_out(flaw: str, complaint: str) -> None:
    found = enrolments.run(4, chance=0.5, flaw=flaw)
    assert complaint in " ".join(show(found))

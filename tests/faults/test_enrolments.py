"""The server may be killed at any instant while many enrol, its database locked, its disk full."""

import re

import enrolments
import pytest
from line import show

pytestmark = pytest.mark.timeout(300)


def test_ten_at_once() -> None:
    found = enrolments.run(10, chance=0.2, locked=2)
    assert show(found) == []
    assert found["certificates"] == 20
    assert found["kills"] > 1


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each life there is room for some of the certificates."""
    monkeypatch.setattr(enrolments, "FULL_EACH", 1)
    monkeypatch.setattr(enrolments, "LONGEST_SECONDS", 2)
    found = enrolments.run(3, chance=0, locked=0)
    assert show(found) == []
    assert found["certificates"] == 6
    assert found["put off"] > 0


@pytest.mark.parametrize(
    ("flaw", "complaint"),
    [
        ("forgetful", "password was used|certificates? for two requests"),
        ("hasty", "is not on record"),
    ],
)
def test_a_worse_server_is_found_out(flaw: str, complaint: str) -> None:
    """When the server dies is chance, so it has several goes."""
    runs = (enrolments.run(4, seed, chance=0.5, flaw=flaw, locked=0) for seed in range(6))
    assert any(re.search(complaint, " ".join(show(counts))) for counts in runs)

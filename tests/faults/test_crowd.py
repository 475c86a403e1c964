"""Boards enrol beside a crowd that takes all connections, and nonsense does no harm."""

import crowd
from line import show


def test_boards_enrol_beside_a_crowd():
    found = crowd.run(clients=400, boards=5, seconds=2, descriptors=128)
    assert show(found) == []
    assert found["enrolled"] == 5
    assert found["visits"] > 400, "there was room for all"


def test_what_is_malformed():
    found = crowd.hostile(65, 2026)
    assert show(found) == []

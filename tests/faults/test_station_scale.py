"""Two stations make the boards of one batch, whichever of them is killed."""

import pytest
import station_scale
from line import show

pytestmark = pytest.mark.timeout(300)


def test_two_stations_of_which_one_is_killed() -> None:
    found = station_scale.run(24, 2, 2026)
    assert show(found) == []
    assert (found["boards"], found["killed stations"]) == (24, 2)

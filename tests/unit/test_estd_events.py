"""What is told of points in time."""

from estd import events


def test_points_in_time():
    assert events.at(1800000000) == " at 2027-01-15T08:00:00Z"
    # By a clock that is not set.
    for seconds in (None, 0, 60, 40000):
        assert events.at(seconds) == ""

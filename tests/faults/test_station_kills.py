"""A sample of what tests/faults/soak.py does to boards on a station."""

import station_kills


def test_kills() -> None:
    found = station_kills.run(3, seed=1)
    assert found["problems"] == []
    assert found["cuts"] > 0

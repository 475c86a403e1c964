"""A part of the fleet of tests/faults/fleet.py, and that it renews as the agent does."""

import fleet
import life
from life import DAY

BOARDS = 40000
YEARS = 3


def test_no_day_is_busy():
    found = fleet.run(BOARDS, YEARS)
    print(found)
    assert found["busiest day, before the outage"] < 1.2
    assert found["busiest day, next cycle"] < 1.5
    assert found["busiest day, from then on"] < 1.2
    assert 6.2 < found["certificates per board and year"] < 6.7


def test_the_fleet_renews_as_the_agent_does():
    outage = life.START + 100 * DAY, life.START + 105 * DAY
    with life.laboratory():
        of_fleet = shares(fleet.Fleet(1, fleet.LIFETIME).board(1, life.START + 300 * DAY, outage))
        server = life.Server()
        board = life.Board(server)
        board.disturb()
        board.at(100 * DAY, lambda: setattr(server, "down", True))
        board.at(105 * DAY, lambda: setattr(server, "down", False))
        issued = []
        board.tell = lambda name, detail: name == "renewed" and issued.append(server.now)
        board.live(300 * DAY)
        of_agent = shares(issued[1:])
    print(of_fleet, of_agent)
    # Not the same draws, the same law.
    for one in (of_fleet, of_agent):
        assert len(one) >= 3
        assert all(0.55 < share < 0.67 for share in one)


def shares(when):
    """After which share of a life each renewal came that no outage delayed."""
    found = []
    last = None
    for at in when:
        if last is not None:
            found.append((at - last) / fleet.LIFETIME)
        last = at
    return found

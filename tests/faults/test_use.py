"""The identity in use: MQTT goes on through renewals and what happens to networks and brokers."""

import broker
import pytest
import use
from line import show

pytestmark = pytest.mark.timeout(400)
RENEWALS = 10


@pytest.fixture(autouse=True)
def mosquitto():
    broker.need()


def test_ten_renewals(runtime):
    found = use.run(RENEWALS, runtime)
    assert show(found) == []
    assert found["renewals"] == RENEWALS
    assert found["lost"] == 0
    # One for each renewal, of the board's own will.
    assert found["connections"] == RENEWALS + 1


@pytest.mark.parametrize("client", ["simple", "robust"])
def test_it_is_back_within_two_keepalives(runtime, client):
    assert show(use.faults(runtime, client)) == []


def test_a_revoked_identity_finds_its_way_back(runtime):
    found = use.revoked(runtime)
    assert show(found) == []
    assert found["generation"] > 1

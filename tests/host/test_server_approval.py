"""Manual approval: 202, Retry-After, and the same request again (RFC 7030 4.2.3)."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest
from server_client import connect, enroll, make_csr

from mpest.server import EstServer, ServerConfig, database, enrolling, issuing

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves on the clock by which the server approves, which stands still at NOON."""

    class Clock(datetime):
        moment = NOON

        @classmethod
        def now(cls, tz=None):
            return cls.moment

    def later(seconds: float) -> None:
        Clock.moment += timedelta(seconds=seconds)

    monkeypatch.setattr(database, "datetime", Clock)
    for module in (enrolling, issuing):
        monkeypatch.setattr(module, "now", Clock.now)
    return later


async def test_wait_then_issue(tmp_path, later):
    config = ServerConfig(directory=tmp_path / "ca", approve_after=0.3)
    csr = make_csr()
    async with EstServer(config) as server, connect(server) as session:
        status, text, headers = await enroll(session, csr)
        assert status == 202
        assert headers["Retry-After"] == "1"
        assert text == ""
        later(0.29)
        assert (await enroll(session, csr))[0] == 202
        later(0.01)
        assert (await enroll(session, make_csr()))[0] == 202
        assert (await enroll(session, csr))[0] == 200
        assert (await enroll(session, csr))[0] == 200


async def test_waiting_survives_a_restart_and_counts_down(tmp_path, later):
    config = ServerConfig(directory=tmp_path / "ca", approve_after=100)
    csr = make_csr()
    async with EstServer(config) as server, connect(server) as session:
        assert (await enroll(session, csr))[2]["Retry-After"] == "100"
    later(50.5)
    async with EstServer(config) as server, connect(server) as session:
        assert (await enroll(session, csr))[2]["Retry-After"] == "50"
        config.approve_after = 50.5
        assert (await enroll(session, csr))[0] == 200


async def test_retry_after_as_a_date(tmp_path, later):
    config = ServerConfig(directory=tmp_path / "ca", approve_after=60, retry_after_date=True)
    later(0.5)
    async with EstServer(config) as server, connect(server) as session:
        value = (await enroll(session, make_csr()))[2]["Retry-After"]
    assert value.endswith(" GMT")
    assert parsedate_to_datetime(value) == NOON + timedelta(seconds=61)


async def test_another_principal_waits_for_itself(tmp_path, later):
    users = {"ann": "a", "bob": "b"}
    config = ServerConfig(directory=tmp_path / "ca", auth="basic", users=users, approve_after=1)
    csr = make_csr()
    async with EstServer(config) as server, connect(server) as session:
        for user, password in users.items():
            credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
            headers = {"Authorization": f"Basic {credentials}"}
            assert (await enroll(session, csr, **headers))[0] == 202
            later(1.1)
        assert (await enroll(session, csr, **headers))[0] == 200


async def test_refusals_come_before_waiting(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca", approve_after=60)
    async with EstServer(config) as server, connect(server) as session:
        assert (await enroll(session, make_csr("")))[0] == 400
        async with connect(server, server.new_identity("board-1")) as known:
            assert (await enroll(known, make_csr(), "simplereenroll"))[0] == 202

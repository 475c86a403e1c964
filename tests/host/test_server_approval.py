"""Manual approval: 202, Retry-After, and the same request again (RFC 7030 4.2.3)."""

import asyncio
import base64
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from server_client import connect, enroll, make_csr

from mpest.server import EstServer, ServerConfig


async def test_wait_then_issue(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca", approve_after=0.3)
    csr = make_csr()
    async with EstServer(config) as server, connect(server) as session:
        status, text, headers = await enroll(session, csr)
        assert status == 202
        assert headers["Retry-After"] == "1"
        assert "again" in text
        assert (await enroll(session, csr))[0] == 202
        await asyncio.sleep(0.3)
        assert (await enroll(session, make_csr()))[0] == 202
        assert (await enroll(session, csr))[0] == 200
        assert (await enroll(session, csr))[0] == 200


async def test_waiting_survives_a_restart_and_counts_down(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca", approve_after=100)
    csr = make_csr()
    async with EstServer(config) as server, connect(server) as session:
        assert (await enroll(session, csr))[2]["Retry-After"] == "100"
    await asyncio.sleep(0.05)
    config.approve_after = 50.05
    async with EstServer(config) as server, connect(server) as session:
        assert (await enroll(session, csr))[2]["Retry-After"] == "50"
        config.approve_after = 0.05
        assert (await enroll(session, csr))[0] == 200


async def test_retry_after_as_a_date(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca", approve_after=60, retry_after_date=True)
    async with EstServer(config) as server, connect(server) as session:
        value = (await enroll(session, make_csr()))[2]["Retry-After"]
    assert value.endswith(" GMT")
    assert 55 < (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds() <= 61


async def test_another_principal_waits_for_itself(tmp_path):
    users = {"ann": "a", "bob": "b"}
    config = ServerConfig(directory=tmp_path / "ca", auth="basic", users=users, approve_after=1)
    csr = make_csr()
    async with EstServer(config) as server, connect(server) as session:
        for user, password in users.items():
            credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
            headers = {"Authorization": f"Basic {credentials}"}
            assert (await enroll(session, csr, **headers))[0] == 202
            await asyncio.sleep(1.1)
        assert (await enroll(session, csr, **headers))[0] == 200


async def test_refusals_come_before_waiting(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca", approve_after=60)
    async with EstServer(config) as server, connect(server) as session:
        assert (await enroll(session, make_csr("")))[0] == 400
        async with connect(server, server.new_identity("board-1")) as known:
            assert (await enroll(known, make_csr(), "simplereenroll"))[0] == 202

"""Manual approval: 202, Retry-After, and the same request again (RFC 7030 4.2.3)."""

import base64
import contextlib
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from unittest.mock import Mock

import cmc_client
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from server_client import connect, enroll, make_csr, names, new_key

from mpest.server import EstServer, ServerConfig, app, database, enrolling, issuing, waiting

BAD_IDENTITY, TRY_LATER = 7, 12
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

    for module in (database, waiting):
        monkeypatch.setattr(module, "datetime", Clock)
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


DENIED = "the request was denied: ask who runs the server\n"


async def test_denied(tmp_path, later):
    config = ServerConfig(directory=tmp_path / "ca", approve_after=float("inf"))
    csr, other = make_csr(), make_csr()
    async with EstServer(config) as server, connect(server) as session:
        assert (await enroll(session, csr))[0] == 202
        (row,) = server._database.waiting.requests()
        server._database.waiting.deny(row.id)
        assert server._database.waiting.count() == 0
        for _ in range(2):
            assert (await enroll(session, csr))[:2] == (403, DENIED)
            later(12 * 3600 - 1)
        assert (await enroll(session, other))[0] == 202
    async with EstServer(config) as server, connect(server) as session:
        assert (await enroll(session, csr))[0] == 403
        later(2)
        assert (await enroll(session, csr))[0] == 202
        server._database.waiting.deny(row.id)
        assert (await enroll(session, csr))[0] == 403
        # A person may think better of it.
        server._database.waiting.approve(row.id)
        assert (await enroll(session, csr))[0] == 200
        assert len(server._database.waiting.requests()) == 1


async def test_denied_before_its_time_has_come(tmp_path, later):
    config = ServerConfig(directory=tmp_path / "ca", approve_after=60)
    csr = make_csr()
    async with EstServer(config) as server, connect(server) as session:
        assert (await enroll(session, csr))[0] == 202
        server._database.waiting.deny(server._database.waiting.requests()[0].id)
        later(60)
        assert (await enroll(session, csr))[0] == 403


async def test_an_approval_outlives_a_record_that_failed(tmp_path, later, monkeypatch):
    config = ServerConfig(directory=tmp_path / "ca", approve_after=float("inf"))
    csr = make_csr()
    async with EstServer(config) as server, connect(server) as session:
        assert (await enroll(session, csr))[0] == 202
        (row,) = server._database.waiting.requests()
        server._database.waiting.approve(row.id)
        with monkeypatch.context() as patch:
            error = database.StoreError("the disk is full")
            patch.setattr(server._database, "record", Mock(side_effect=error))
            assert (await enroll(session, csr))[0] == 503
        assert (await enroll(session, csr))[0] == 200
        # It is spent by the certificate.
        with pytest.raises(KeyError):
            server._database.waiting.approve(row.id)


async def test_so_many_of_one_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "_MAX_OF_ONE", 2)
    monkeypatch.setattr(waiting, "_MAX", 4)
    users = {"ann": "a", "bob": "b", "eve": "e"}
    config = ServerConfig(
        directory=tmp_path / "ca", auth="basic", users=users, approve_after=float("inf")
    )
    async with EstServer(config) as server, connect(server) as session:

        async def sent(user, csr=None):
            credentials = base64.b64encode(f"{user}:{users[user]}".encode()).decode()
            headers = {"Authorization": f"Basic {credentials}"}
            return await enroll(session, csr or make_csr(), **headers)

        for user in ("ann", "bob"):
            requests = [make_csr(), make_csr()]
            for csr in [*requests, *requests]:
                assert (await sent(user, csr))[0] == 202
            status, text, headers = await sent(user)
            assert (status, headers["Retry-After"]) == (429, "60")
            assert (
                text == f"2 requests of user:{user} wait for approval: send this one again later\n"
            )
        assert (await sent("eve"))[1].startswith("4 requests wait for approval")
        # Room comes by a person.
        server._database.waiting.deny(server._database.waiting.requests()[0].id)
        assert (await sent("ann"))[1].startswith("4 requests wait")
        monkeypatch.setattr(waiting, "_MAX", 5)
        assert [(await sent(user))[0] for user in ("bob", "ann", "ann")] == [429, 202, 429]


async def test_who_does_not_come_again_is_forgotten(tmp_path, later, monkeypatch):
    monkeypatch.setattr(waiting, "_MAX_OF_ONE", 1)  # which is for users, not for everybody
    monkeypatch.setattr(waiting, "_MAX", 2)
    config = ServerConfig(directory=tmp_path / "ca", approve_after=float("inf"))
    csr, other = make_csr("CN=a"), make_csr("CN=b")
    async with EstServer(config) as server, connect(server) as session:
        for days, request, status in (
            (0, csr, 202),
            (0, other, 202),
            (0, make_csr(), 429),
            (4, csr, 202),
            (2.9, make_csr(), 429),
            (0.2, make_csr(), 202),
            (0, make_csr(), 429),
            (0, csr, 202),
        ):
            later(days * 24 * 3600)
            assert (await enroll(session, request))[0] == status
        subjects = [row.subject for row in server._database.waiting.requests()]
        assert subjects == ["CN=a", "CN=board-1"]


async def test_what_is_linked_waits_by_what_it_asks_for(tmp_path, later, monkeypatch):
    """The rest of it, signature and tls-unique, is another each time that it is sent."""
    monkeypatch.setattr(app, "tls_unique", lambda _: "unique")
    config = ServerConfig(directory=tmp_path / "ca", require_pop=True, approve_after=float("inf"))
    key = new_key()

    def request(*hosts):
        extensions = [names(*hosts)] if hosts else []
        return make_csr(key=key, password=b"unique", extensions=extensions)

    async with EstServer(config) as server, connect(server) as session:
        for hosts in ((), ("a.example",), ("b.example",)):
            for _ in range(2):
                assert (await enroll(session, request(*hosts)))[0] == 202
        found = server._database.waiting.requests()
        assert [row.names for row in found] == ["", "DNS:a.example", "DNS:b.example"]
        server._database.waiting.approve(found[1].id)
        for hosts, status in (("b.example", 202), ("a.example", 200)):
            assert (await enroll(session, request(hosts)))[0] == status


async def test_what_waited_at_an_older_server(tmp_path, later):
    config = ServerConfig(directory=tmp_path / "ca", approve_after=float("inf"))
    async with EstServer(config) as server, connect(server) as session:
        assert (await enroll(session, make_csr()))[0] == 202
    with contextlib.closing(sqlite3.connect(config.directory / "est.db")) as store, store:
        for column in ("operation", "names", "asked", "denied"):
            store.execute(f"alter table waiting drop column {column}")
        store.execute("pragma user_version = 1")
    async with EstServer(config) as server, connect(server) as session:
        (row,) = server._database.waiting.requests()
        assert (row.principal, row.operation, row.denied) == ("anonymous", None, None)
        later(8 * 24 * 3600)
        assert (await enroll(session, make_csr()))[0] == 202
        assert len(server._database.waiting.requests()) == 1


@pytest.mark.parametrize(("bound", "failure"), [(9, (BAD_IDENTITY, 403)), (2, (TRY_LATER, 429))])
async def test_by_cmc(tmp_path, monkeypatch, bound, failure):
    """Denied, or one too many: then nothing of the message is done."""
    monkeypatch.setattr(waiting, "_MAX_OF_ONE", bound)
    config = ServerConfig(directory=tmp_path / "ca", approve_after=float("inf"))
    requests = [make_csr("CN=board-1").public_bytes(Encoding.DER) for _ in range(3)]
    async with EstServer(config) as server:
        client = cmc_client.Client(server, tmp_path)
        assert (await client.ask(cmc_client.pki_data((), requests[:2])))[0] == 200
        found = server._database.waiting.requests()
        assert [row.operation for row in found] == ["fullcmc", "fullcmc"]
        server._database.waiting.approve(found[0].id)
        if bound > 2:
            server._database.waiting.deny(found[1].id)
        assert await client.failure(cmc_client.pki_data((), requests)) == failure
        assert len(server.issued()) == 1

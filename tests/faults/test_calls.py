"""The calls of an application, where a cut or another order came before; see cuts.py, too."""

import pytest

from mpest.sim import cpython

cpython.install()

import world  # noqa: E402

from est import store, verdict  # noqa: E402
from est.agent import Agent  # noqa: E402
from est.errors import PeerError, Refused, RetryLater, UsageError  # noqa: E402
from est.store import Store  # noqa: E402


class Cut(BaseException):
    """The power goes."""


@pytest.fixture
def server():
    made = world.World()
    world.install(made)
    yield made
    world.uninstall()


@pytest.fixture
def start(server, tmp_path):
    """Start the board anew; returns its agent."""

    def started(**options):
        options = {"credentials": world.login(), **options}
        records = Store(str(tmp_path))
        return Agent(records, world.URL, "CN=board-1", trust=server.fingerprint(), **options)

    return started


@pytest.fixture
def answered(server, start, tmp_path, monkeypatch):
    """Have a board lose its power while it first saves its identity."""

    def cut(*_):
        (tmp_path / "identity.0").write_bytes(b"EST2")
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(verdict, "take", cut)
        with pytest.raises(Cut):
            start().enroll()
    assert held(start(), "order")["state"] == "answered"


def held(agent, name):
    """meta of a record, or None."""
    return (store.unpack(agent.store.load(name)) or [None])[0]


def test_an_order_that_ends_leaves_no_identity_damaged(server, start, answered):
    server.now += server.lifetime + world.DAY
    server.fault = lambda number, operation, peer: "answer" if number else None
    agent = start()
    assert agent.identity() is None
    with pytest.raises(PeerError):
        agent.enroll()
    assert held(agent, "order") is None
    server.fault = None
    agent = start()
    assert agent.identity() is None
    assert agent.enroll()


def test_without_a_clock_an_answer_is_not_set_aside(server, start, answered):
    server.clock_error = None
    agent = start()
    with pytest.raises(UsageError, match="clock"):
        agent.enroll()
    server.clock_error = 0
    assert held(agent, "aside") is None
    assert agent.enroll() == server.orders[0].certificate
    assert len(server.issued) == 1


def test_the_request_of_a_renewal_goes_out_as_a_first_one(server, start):
    agent = start()
    agent.enroll()
    server.wait_polls = 2
    server.now += server.lifetime - world.DAY
    with pytest.raises(RetryLater):
        agent.reenroll()
    # The certificate ends before somebody approves.
    server.now += 2 * world.DAY
    agent = start()
    with pytest.raises(RetryLater):
        agent.enroll()
    server.now += server.retry_after
    assert agent.enroll() == server.orders[-1].certificate
    assert len(server.asked()) == 2
    assert len(server.issued) == 2


def test_a_certificate_that_is_not_valid_yet_holds_no_room(server, start):
    agent = start()
    agent.enroll()
    server.now += server.lifetime * 3 // 4
    server.backdate = -world.DAY
    with pytest.raises(RetryLater):
        agent.reenroll()
    assert not agent.room


def test_an_order_that_ends_erases_no_identity_that_cannot_be_read(server, start, tmp_path):
    start().enroll()
    copies = [tmp_path / f"identity.{slot}" for slot in (0, 1)]
    whole = [path.read_bytes() for path in copies]
    for path in copies:
        path.write_bytes(b"x" * 100)
    server.status = 400
    with pytest.raises(Refused):
        start().enroll()
    assert [path.exists() for path in copies] == [True, True]
    for path, data in zip(copies, whole, strict=True):
        path.write_bytes(data)
    assert start().identity().chain

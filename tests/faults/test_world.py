"""The server in memory does what its policy says, or what is proven against it proves nothing."""

import pytest

from mpest.sim import cpython

cpython.install()

import world  # noqa: E402

from est import revocation, serverkeygen, x509  # noqa: E402
from est.agent import Agent  # noqa: E402
from est.errors import NotTrusted, PeerError, Refused, RetryLater  # noqa: E402
from est.store import Store  # noqa: E402


@pytest.fixture
def server():
    made = world.World()
    world.install(made)
    yield made
    world.uninstall()


@pytest.fixture
def agent(server, tmp_path):
    return board(server, tmp_path)


def board(server, folder, **options):
    options = {"credentials": world.login(), **options}
    return Agent(
        Store(str(folder)), world.URL, "CN=board-1", trust=server.fingerprint(), **options
    )


def test_it_remembers_who_asked_for_what(server, agent):
    first = agent.enroll()
    server.now += 65 * world.DAY
    second = agent.reenroll()
    assert [(order.operation, order.by, order.certificate) for order in server.orders] == [
        ("simpleenroll", "password", first),
        ("simplereenroll", "certificate", second),
    ]
    assert len(server.asked()) == 2
    assert server.orders[1].peer == first
    assert x509.Certificate(second).spki == server.orders[1].spki
    assert server.mixed == 0


@pytest.mark.parametrize(("once", "error"), [("same", None), ("401", Refused)])
def test_a_password_that_is_good_once(server, agent, once, error):
    server.once = once
    asked = []

    def fault(number, operation, peer):
        # The first one is answered with a challenge.
        asked.append(operation)
        return "answer" if asked.count("simpleenroll") == 2 else None

    server.fault = fault
    with pytest.raises(PeerError):
        agent.enroll()
    server.fault = None
    if error:
        with pytest.raises(error):
            agent.enroll()
    else:
        assert agent.enroll() == server.orders[0].certificate
    assert len(server.issued) == 1
    assert len(server.asked()) == 1


def test_waiting(server, agent):
    server.wait_polls = 2
    for _ in range(2):
        with pytest.raises(RetryLater) as waited:
            agent.enroll()
        assert waited.value.seconds == server.retry_after
        server.now += server.retry_after
    agent.enroll()
    assert [order.status for order in server.orders] == [202, 202, 200]


def test_answers_lost_and_cut(server, agent):
    for fault in ("request", "answer", "closed", 0, 20, 200):
        server.fault = lambda number, operation, peer, fault=fault: fault
        with pytest.raises(PeerError):
            agent.client().cacerts()
        agent.close()
    server.fault = None
    server.down = True
    with pytest.raises(PeerError):
        agent.client().cacerts()


def test_certificates_that_tls_refuses(server, agent):
    certificate = agent.enroll()
    assert server.current(certificate)
    agent.client(agent.identity()).cacerts()
    agent.close()
    server.refuse.add(server.issued[certificate])
    assert not server.current(certificate)
    with pytest.raises(PeerError):
        agent.client(agent.identity()).cacerts()
    agent.close()
    server.refuse = set()
    server.now += server.lifetime + 1
    assert not server.current(certificate)


def test_a_key_with_another_certificate_is_noticed(server, agent):
    agent.enroll()
    chain, _ = agent.identity()
    _, other = server.factory()
    with pytest.raises(PeerError):
        agent.client((chain, other)).cacerts()
    assert server.mixed == 1


def test_a_root_that_is_not_linked_is_not_trusted(server, agent):
    agent.enroll()
    server.roll_over(links=False)
    server.present(-1)
    with pytest.raises(NotTrusted):
        agent.client().cacerts()


def test_linked_roots_are_followed(server, agent):
    agent.enroll()
    for _ in range(2):
        server.now += 65 * world.DAY
        server.roll_over()
        agent.reenroll()
        server.present(-1)
        agent.client().cacerts()
        agent.close()


def test_an_issuing_ca_below_the_root(tmp_path):
    server = world.World(intermediate=True)
    world.install(server)
    agent = board(server, tmp_path)
    try:
        agent.enroll()
        assert len(agent.identity()[0]) == 2
    finally:
        world.uninstall()


def test_the_factory_certificate_enrols(server, tmp_path):
    agent = board(server, tmp_path, credentials=None, factory=server.factory())
    agent.enroll()
    assert server.orders[0].by == "certificate"


def test_a_key_of_the_server(server, agent):
    serverkeygen.enroll(agent)
    assert server.private
    assert server.asked("serverkeygen") == [x509.Certificate(agent.identity()[0][0]).spki]


def test_revocation(server, agent):
    certificate = agent.enroll()
    assert revocation.revoke(agent) == certificate
    assert server.revoked == {server.issued[certificate]}


def test_going_back_to_what_was_saved(server, agent):
    saved = server.save()
    agent.enroll()
    later = server.save()
    server.load(saved)
    assert (server.orders, server.issued) == ([], {})
    server.load(later)
    assert len(server.orders) == 1
    assert len(server.issued) == 1


def test_dates(server, agent):
    agent.enroll()
    server.date = None
    client = agent.client()
    client.cacerts()
    assert client.date == ""
    server.date = -3600
    client.cacerts()
    assert client.date == world.http_date(server.now - 3600)
    assert world.http_date(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT"

"""The rules of an identity's life (docs/agent.md), one test or a few for each, in its words.

The worlds of test_ten_years.py and test_model.py hold a board to all of them at once, in life.py.
"""

import itertools
from collections.abc import Iterator

import life
import pytest
from life import DAY, HOUR, Board, Server

from est import duty, errors, order, parts, store, witness


@pytest.fixture(autouse=True)
def laboratory() -> Iterator[None]:
    with life.laboratory():
        yield


def enrolled(server, seed=5, **options):
    """A Board that has its first certificate; with this seed, for more than a half of its life."""
    board = Board(server, seed, **options)
    board.live(60)
    assert board.works()
    return board


def to_renewal(board):
    """Let it live until its next step orders a renewal; returns the certificate in use."""
    board.live(board.agent.known.renew_at(board.server.now) - board.server.now - 1)
    board.server.now += 2
    return board.leaf


def asked(server):
    """The distinct requests that reached the server."""
    return {order.csr for order in server.orders}


# One order at a time; interrupted, the same request goes out again.


@pytest.mark.parametrize("fault", ["request", "answer", "closed", 100])
@pytest.mark.parametrize("where", range(3))
def test_one_order_at_a_time(fault, where):
    server = Server()
    board = enrolled(server)
    to_renewal(board)
    faults = [None] * where + [fault]
    server.unlucky = lambda operation: faults.pop(0) if faults else None
    board.live(HOUR)
    assert not faults
    assert len(asked(server)) == 2
    assert board.counts["identities"] == 2


def test_one_order_at_a_time_over_resets():
    server = Server(wait_polls=3)
    board = Board(server)
    for _ in range(40):
        board.start()
        board.live(HOUR / 3)
    assert len(asked(server)) == 1
    assert board.works()


def test_other_settings_wait_for_the_order_at_hand():
    server = Server(wait_polls=1)
    board = Board(server)
    board.live(60)
    board.start(subject="CN=another")
    board.live(DAY)
    first = server.orders[0]
    # It was asked for once more, came, and was used until the one that the settings want.
    assert [order.csr for order in server.orders].count(first.csr) == 2
    assert board.counts["identities"] == 2
    assert life.subject(board.leaf) == life.name("CN=another")


# Nothing issued is thrown away.


@pytest.mark.parametrize("seconds", [4, 300, DAY / 2])
def test_nothing_issued_is_thrown_away_that_comes_early(seconds):
    server = Server(backdate=-seconds)
    board = Board(server)
    board.live(60)
    assert not board.leaf or seconds < 60
    board.live(seconds)
    assert board.works()
    assert len(server.issued) == 1


def test_what_is_waited_for_keeps_no_room():
    server = Server()
    board = enrolled(server)
    to_renewal(board)
    server.backdate = -DAY / 2
    board.live(60)
    assert board.state() == "answered"
    # The application's connections want it.
    assert not board.agent.room


def test_nothing_issued_is_thrown_away_that_is_refused():
    server = Server()
    board = enrolled(server)
    old = to_renewal(board)
    server.refuse_new = True
    board.live(DAY)
    assert board.leaf == old
    assert board.state() == "none, aside"
    server.refuse_new = False
    server.refuse = set()
    board.live(5 * DAY)
    # The one aside is tried before another is asked for.
    assert board.works()
    assert board.leaf != old
    assert len(server.issued) == 2


def test_nothing_issued_is_thrown_away_but_what_had_ended_when_it_came():
    # Issued for an hour, two hours ago; or by a clock that jumps before it is judged.
    server = Server(backdate=2 * HOUR, lifetime=HOUR)
    board = Board(server)
    board.live(HOUR)
    assert server.issued
    assert board.state() == "none"


def test_nothing_issued_is_thrown_away_by_a_clock_that_jumps():
    server = Server(backdate=-DAY)
    board = Board(server)
    board.live(60)
    assert board.state() == "answered"
    server.down = True
    board.clock.ahead = 100 * DAY
    board.disturb()
    board.live(2 * DAY)
    assert board.state() == "none, aside"
    server.down = False
    board.clock.right()
    board.live(2 * DAY)
    assert board.works()
    assert len(server.issued) == 1


@pytest.mark.parametrize("after", range(22))
def test_nothing_issued_is_thrown_away_when_the_power_goes(after):
    server = Server(once="same")
    board = Board(server)
    board.cut_next = after
    board.live(2 * HOUR)
    assert board.counts["power cuts"] == 1
    assert board.works()
    assert len(server.issued) == 1


def test_nothing_issued_is_thrown_away_with_the_certificate_that_asked():
    server = Server(once=None, remembers=True)
    board = enrolled(server, seed=0)
    to_renewal(board)
    server.unlucky = lambda operation: "answer" if operation == "simplereenroll" else None
    board.step()
    server.unlucky = None
    server.down = True
    board.disturb()
    # The old one ends, the one that was issued does not yet.
    board.live(75 * DAY)
    server.down = False
    board.live(life.LONGEST_WAIT)
    assert board.works()
    # The renewal's request, by the password.
    assert len(asked(server)) == 2


@pytest.mark.parametrize("error", [MemoryError, errors.Unsupported])
def test_nothing_issued_is_thrown_away_by_what_looks_at_its_date(error, monkeypatch):
    server = Server()
    board = enrolled(server)
    to_renewal(board)
    usual = witness.check

    def check(agent, date):
        if len(server.issued) == 2:
            raise error("no room")
        return usual(agent, date)

    monkeypatch.setattr(witness, "check", check)
    board.step()
    assert board.state() == "candidate"


# Proof before trust.


def test_proof_before_trust():
    server = Server()
    board = enrolled(server)
    old = to_renewal(board)
    connections = server.connections
    assert board.step() == 0
    assert board.leaf == old
    board.step()
    assert board.leaf != old
    assert board.leaf in server.proofs
    assert server.connections == connections + 2
    assert board.counts["proven"] == 1


def test_proof_before_trust_is_an_answer():
    server = Server()
    board = enrolled(server)
    old = to_renewal(board)
    # The handshake passes, the answer to /cacerts is lost: no verdict.
    fresh = lambda peer: peer not in (None, old)  # noqa: E731
    usual = server.fault
    server.fault = lambda number, operation, peer: (
        "answer" if fresh(peer) else usual(number, operation, peer)
    )
    board.disturb()
    last = board.life(old)[1] - server.lifetime / 12
    board.live(last - server.now - HOUR)
    assert board.leaf == old
    assert board.items("order")[0]["state"] == "answered"
    # Until the old one has 1/12 of its life left.
    board.live(DAY)
    assert board.leaf != old
    assert board.counts["unproven"] == 1
    assert len(asked(server)) == 2


def test_proof_before_trust_that_finds_no_memory(monkeypatch):
    monkeypatch.setattr(life, "_TYPES", life._TYPES | {"MemoryError"})
    server = Server()
    board = enrolled(server)
    old = to_renewal(board)

    def asked(agent, candidate):
        raise MemoryError("no room")
        yield

    monkeypatch.setattr(parts, "_asked", asked)
    board.disturb()
    last = board.life(old)[1] - server.lifetime / 12
    board.live(last - server.now - HOUR)
    assert board.leaf == old
    assert board.counts["memory"]
    board.live(DAY)
    assert board.leaf != old
    assert board.counts["unproven"] == 1


def test_proof_before_trust_is_the_application_too():
    server = Server()
    ready = []

    def prove(context):
        if not ready:
            raise OSError("not now")

    board = enrolled(server, prove=prove)
    old = to_renewal(board)
    board.disturb()
    board.live(5 * DAY)
    assert board.leaf == old
    assert not board.counts["aside"]
    ready.append(True)
    board.live(DAY)
    assert board.leaf != old


def test_proof_before_trust_of_what_was_aside_by_a_clock_that_was_set():
    server = Server()
    board = enrolled(server)
    old = to_renewal(board)
    board.clock.ahead = -40 * DAY
    server.refuse_new = True
    board.disturb()
    board.live(HOUR)
    assert board.state() == "none, aside"
    # What the clock lacked is added until the server tells that it does not any more.
    board.clock.right()
    board.live(20 * DAY)
    assert board.leaf == old


@pytest.mark.parametrize("lifetime", [HOUR, DAY])
@pytest.mark.parametrize("lacks", [3 / 8, 1 / 2])
def test_proof_before_trust_by_a_clock_that_is_set_right(lifetime, lacks):
    server = Server(lifetime=lifetime)
    board = Board(server, 5)
    board.clock.ahead = -lacks * lifetime
    board.live(60)
    old = to_renewal(board)
    board.disturb()
    assert board.step() == 0
    # Less of its life than 1/2 is left: with what the clock lacked, it has ended.
    server.down = True
    board.live(lifetime / 30)
    board.clock.right()
    board.live(lifetime / 60)
    assert board.leaf == old
    server.down = False
    board.live(lifetime / 6)
    assert board.leaf in server.proofs


def test_proof_before_trust_not_without_an_identity():
    server = Server()
    board = enrolled(server)
    # The bootstrap and the enrolment, whose certificate is used at once.
    assert server.connections == 2
    assert not board.counts["proven"] + board.counts["unproven"]


# A bad answer never blocks renewal beyond the floor.


def badly_answered(server, board, cacerts=None, ahead=0):
    """Let the board have a renewal from a CA that /cacerts does not know.

    cacerts: HTTP status of /cacerts after that. ahead: of the board's clock then, seconds.
    """
    known = server.roots[:]
    server._new_root()
    unknown = server.roots.pop()
    serve = server._operation

    def operation(method, name, *rest):
        if cacerts and name == "cacerts" and board.state() == "answered":
            return cacerts, None, b"", []
        server.roots = known + [unknown] * (name == "simplereenroll")
        try:
            return serve(method, name, *rest)
        finally:
            server.roots = known

    to_renewal(board)
    server._operation = operation
    board.disturb()
    board.clock.ahead = ahead
    board.step()
    assert board.state() == "answered"


@pytest.mark.parametrize("cacerts", [None, 204, 206, 403, 404, 503])
def test_a_bad_answer_blocks_no_renewal_whatever_cacerts_bring(cacerts):
    server = Server()
    board = enrolled(server)
    badly_answered(server, board, cacerts)
    # 1/24 of a life, and as long again.
    board.live(9 * DAY)
    assert board.state().endswith("aside")
    assert board.counts["orders"] == 3


def test_a_bad_answer_blocks_no_renewal_by_a_clock_that_is_set_back():
    server = Server(date=None)
    board = enrolled(server)
    badly_answered(server, board, ahead=20 * DAY)
    board.clock.right()
    board.live(9 * DAY)
    assert board.counts["orders"] == 3


@pytest.mark.parametrize("error", [MemoryError, ValueError, KeyError])
def test_a_bad_answer_blocks_no_renewal_whatever_judging_it_raises(error, monkeypatch):
    monkeypatch.setattr(life, "_TYPES", life._TYPES | {error.__name__})
    server = Server()
    board = enrolled(server)
    to_renewal(board)
    board.disturb()
    bad = []
    usual = order.Enrolment.accept

    def accept(self, *arguments):
        bad[1:] = []
        bad.append(self.request)
        if bad[0] == self.request:
            raise error("no")
        return usual(self, *arguments)

    monkeypatch.setattr(order.Enrolment, "accept", accept)
    board.live(9 * DAY)
    assert board.state() == "none, aside"
    assert board.counts["identities"] == 2


def test_a_bad_answer_blocks_no_renewal_where_its_part_is_missing(monkeypatch):
    server = Server()
    board = enrolled(server)
    badly_answered(server, board)
    items = board.items("order")
    items[0]["kind"] = "fullcmc"
    board.records["order"] = store.pack(*items)
    usual = duty.of_kind

    def of_kind(kind):
        if kind == "fullcmc":
            raise errors.Unsupported("the part is missing")
        return usual(kind)

    monkeypatch.setattr(duty, "of_kind", of_kind)
    board.start()
    board.live(9 * DAY)
    assert 3 < board.counts["failed"] < 40
    assert board.state().endswith("aside")
    assert board.counts["orders"] == 3
    # Nor does what is aside stop what the application asks for.
    server._operation = life.Server._operation.__get__(server)
    board.agent.enroll()


def test_a_bad_answer_that_cannot_be_set_aside_is_told_and_waits():
    server = Server()
    board = enrolled(server)
    badly_answered(server, board)
    save = board.agent.store.save

    def full(name, payload):
        if name == "aside":
            raise errors.StorageError("the disk is full")
        save(name, payload)

    board.agent.store.save = full
    board.live(8 * DAY)
    before = server.connections, board.counts["failed"]
    board.live(DAY)
    assert server.connections - before[0] < 10
    assert board.counts["failed"] > before[1]


# A renewal storm cannot happen.


@pytest.mark.parametrize("lifetime", [HOUR, 12 * HOUR])
@pytest.mark.parametrize("share", [1, 0.999, 0.9])
def test_a_renewal_storm_cannot_happen_by_a_server_that_is_ahead_of_its_ca(lifetime, share):
    server = Server(lifetime=lifetime, date=int(share * lifetime))
    board = Board(server)
    board.disturb()
    board.live(HOUR)
    assert board.counts["orders"] <= 60


@pytest.mark.parametrize(
    "left, ahead", [(20 * 60, 0), (HOUR, 0), (HOUR, -100), (90 * DAY, 0), (90 * DAY, -290)]
)
def test_a_renewal_storm_cannot_happen_by_backdating(left, ahead):
    server = Server(backdate=3 * left, lifetime=4 * left)
    board = Board(server)
    # So little is no disagreement: the time of issue lies ahead of the clock.
    board.clock.ahead = ahead
    board.live(20 * left)
    # Each lives to 2/3 of what is left of it, but for the first.
    assert 30 <= board.counts["orders"] <= 34


def test_a_renewal_storm_cannot_happen_by_bad_answers():
    server = Server()
    board = enrolled(server)
    to_renewal(board)
    used = board.leaf

    def again(order):
        order.certificate = used
        return used

    server._decide = again
    board.disturb()
    board.live(10 * DAY)
    # "The certificate in use already" is no renewal; the next is asked for after 1/24 of a life.
    assert board.counts["orders"] - 1 == 3
    assert board.works()


def test_a_renewal_storm_cannot_happen_by_new_settings():
    server = Server()
    board = enrolled(server)
    board.live(10 * DAY)
    server.refuse_new = True
    board.disturb()
    board.start(subject="CN=another")
    orders = board.counts["orders"]
    board.live(20 * DAY)
    # The first at once, the next after 1/24 of a life.
    assert 5 <= board.counts["orders"] - orders <= 6
    # It counts for these settings only.
    board.start(subject="CN=yet another")
    server.refuse_new = False
    board.live(HOUR)
    assert life.subject(board.leaf) == life.name("CN=yet another")


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_renewal_storm_cannot_happen_by_a_floor_of_a_wrong_clock(hours):
    server = Server(lifetime=5 * DAY)
    board = enrolled(server)
    to_renewal(board)
    board.disturb()
    board.clock.ahead = hours * HOUR
    # The order is made, and sent after a reset, when nothing was heard of the server's time yet.
    server.unlucky = lambda operation: "request" if operation == "simplereenroll" else None
    while board.state() != "made":
        server.now += board.step()
    server.unlucky = None
    board.start()
    server.status = 400
    while board.state() == "made":
        server.now += board.step()
    orders = board.counts["orders"]
    board.start()
    board.live(3 * HOUR)
    assert board.counts["orders"] == orders


def test_a_renewal_storm_cannot_happen_by_a_floor_of_a_clock_that_is_set_right():
    server = Server(lifetime=7 * DAY)
    board = enrolled(server)
    to_renewal(board)
    board.disturb()
    # No Date tells what the clock is ahead.
    server.date = None
    board.clock.ahead = 5 * HOUR
    server.status = 400
    while not board.counts["failed"]:
        server.now += board.step()
    orders = board.counts["orders"]
    board.clock.right()
    board.live(6 * HOUR)
    assert board.counts["orders"] == orders


def test_a_renewal_storm_cannot_happen_by_a_clock_that_is_set_as_it_is_found_wrong():
    server = Server(lifetime=7 * DAY)
    board = enrolled(server)
    board.start(subject="CN=board-2")
    server.status = 400
    while not board.counts["failed"]:
        server.now += board.step()
    server.status = None
    orders = board.counts["orders"]
    board.disturb()
    board.clock.ahead = 70 * DAY
    board.start()
    while not board.counts["clock"]:
        server.now += board.step()
    board.clock.right()
    board.live(HOUR)
    assert board.counts["orders"] == orders


def test_a_renewal_storm_cannot_happen_by_failures():
    server = Server()
    board = enrolled(server)
    to_renewal(board)
    server.status = 500
    board.disturb()
    before = server.connections
    board.live(DAY)
    assert server.connections - before < 20
    server.status = 503
    server.retry_after = None
    before = server.connections
    board.live(DAY)
    assert server.connections - before < 60
    assert board.counts["orders"] == 2


@pytest.mark.parametrize("after", range(20))
def test_a_renewal_storm_cannot_happen_by_refusals_of_the_certificate_before(after):
    server = Server()
    board = enrolled(server, prompt=True)
    board.live(10 * DAY)
    server.refuse.add(server.issued[board.leaf])
    board.disturb()
    while board.agent.refusals < 6:
        server.now += board.step()
    board.cut_next = after
    board.live(3 * DAY)
    assert board.counts["power cuts"] == 1
    assert board.works()
    board.live(30 * DAY)
    assert board.counts["orders"] == 2


@pytest.mark.parametrize("hours", [-5, -1, 1, 2, 13])
@pytest.mark.parametrize("lifetime", [HOUR, 12 * HOUR])
def test_a_renewal_storm_cannot_happen_by_local_time(hours, lifetime):
    server = Server(lifetime=lifetime)
    board = Board(server)
    board.clock.ahead = hours * HOUR
    board.live(4 * lifetime)
    board.start()
    board.live(4 * lifetime)
    assert board.works()
    assert not board.counts["gap"]
    assert 12 <= board.counts["orders"] <= 14


def test_a_renewal_storm_cannot_happen_by_cacerts_that_are_not_there():
    server = Server()
    board = enrolled(server)
    serve = server._operation
    server._operation = lambda method, operation, *rest: (
        (503, None, b"", []) if operation == "cacerts" else serve(method, operation, *rest)
    )
    board.live(40 * DAY)
    # Asked for after 15 days, and then less and less often.
    before = server.connections
    board.live(DAY)
    assert 20 < server.connections - before < 30


def test_a_renewal_storm_cannot_happen_by_servers_that_take_turns():
    server = Server()
    board = enrolled(server)
    connect = board.agent.connect

    def connect_to_the_other(*arguments, **options):
        server.date = HOUR - server.date
        return connect(*arguments, **options)

    board.agent.connect = connect_to_the_other
    board.live(60 * DAY)
    assert board.counts["orders"] == 2
    assert board.works()


def test_retry_after_is_obeyed_but_not_past_the_end():
    server = Server(wait_polls=1, retry_after=3600)
    board = Board(server)
    board.live(HOUR - 60)
    assert len(server.orders) == 1
    board.live(120)
    assert board.works()
    server.wait_polls = 1
    server.retry_after = 365 * DAY
    to_renewal(board)
    board.disturb()
    board.live(31 * DAY)
    assert board.works()
    assert not board.counts["gap"]


# A way back.


def test_a_way_back_by_a_clock_that_is_set_right_while_an_answer_waits():
    server = Server(backdate=-5)
    board = Board(server)
    board.disturb()
    board.clock.ahead = 70 * DAY
    for _ in range(5):
        server.now += board.step()
        if board.state() == "answered":
            break
    assert board.state() == "answered" and board.agent.skew == -70 * DAY
    board.clock.right()
    board.live(HOUR)
    assert board.works()
    assert len(server.issued) == 1


def gone(server, board, days=100):
    server.down = True
    board.disturb()
    board.live(days * DAY)
    server.down = False
    assert not board.works()


def test_a_way_back_by_the_password():
    server = Server()
    board = enrolled(server)
    gone(server, board)
    board.live(life.LONGEST_WAIT)
    assert board.works()
    assert server.orders[-1].by == "password"
    assert not board.counts["stranded"]


def test_a_way_back_by_the_factory_certificate():
    server = Server()
    board = enrolled(server, factory=server.factory(), credentials=None)
    gone(server, board)
    board.live(life.LONGEST_WAIT)
    assert board.works()
    assert not board.counts["stranded"]


@pytest.mark.parametrize("factory", [False, True])
def test_a_way_back_from_a_revoked_certificate(factory):
    server = Server()
    options = {"factory": server.factory(), "credentials": None} if factory else {}
    board = enrolled(server, prompt=True, **options)
    board.live(10 * DAY)
    server.refuse.add(server.issued[board.leaf])
    board.live(DAY)
    assert board.works()


def test_a_way_back_where_the_server_demands_certificates():
    server = Server()
    hello = server.hello

    def demanding(chain, key):
        if not chain:
            raise errors.Closed("a certificate is required")
        return hello(chain, key)

    server.hello = demanding
    trust = [server.roots[0][1].der]
    board = Board(server, 5, True, trust=trust, factory=server.factory(), credentials=None)
    board.live(10 * DAY)
    server.refuse.add(server.issued[board.leaf])
    board.live(DAY)
    assert board.works()


def test_a_way_back_from_a_certificate_that_a_proxy_refuses():
    # As nginx does with ssl_verify_client, after a handshake that passes.
    server = Server()
    board = enrolled(server, prompt=True)
    board.live(10 * DAY)
    serve = server._operation
    server.hello = lambda chain, key: chain[0] if chain else None

    def operation(method, name, headers, body, peer):
        if peer and not server.current(peer):
            return 400, "text/html", b"The SSL certificate error", ["Connection: close"]
        return serve(method, name, headers, body, peer)

    server._operation = operation
    server.refuse.add(server.issued[board.leaf])
    board.live(DAY)
    assert board.works()


def test_proof_before_trust_of_what_is_accepted_again():
    server = Server()
    board = enrolled(server, prompt=True)
    board.live(10 * DAY)
    old = board.leaf
    server.refuse.add(server.issued[old])
    board.disturb()
    while board.agent.refusals < 6:
        server.now += board.step()
    server.refuse = set()
    board.start()
    board.live(DAY)
    # It is asked for once more after a reset, and serves.
    assert board.leaf == old
    assert board.counts["orders"] == 1


def test_a_way_back_does_not_lose_what_works():
    server = Server(once="same")
    board = enrolled(server)
    # Refused for an hour; the password is spent.
    old = to_renewal(board)
    server.refuse.add(server.issued[old])
    board.disturb()
    board.live(HOUR)
    assert board.leaf == old
    server.refuse = set()
    board.calm()
    board.live(DAY)
    assert board.works()
    assert board.leaf != old


@pytest.mark.parametrize(
    "changed",
    [
        {"subject": "CN=another"},
        {"san": ("DNS:another.example",)},
        {"key": "P-384"},
        {"url": life.world.URL + "/.well-known/est/another"},
    ],
)
def test_a_way_back_to_other_settings(changed):
    server = Server()
    board = enrolled(server)
    board.live(10 * DAY)
    old = board.leaf
    board.start(**changed)
    board.live(HOUR)
    assert board.leaf != old
    assert board.works()
    board.live(10 * DAY)
    assert board.counts["orders"] == 2


@pytest.mark.parametrize("how", ["password", "subject", "erased"])
def test_a_way_back_does_not_wait_for_what_a_person_changed(how):
    server = Server(once="same")
    server._spent = "another's"
    login = life.world.login()
    if how == "password":
        login = life.world.auth.Password(life.world.USER, "wrong")
    board = Board(server, credentials=login)
    board.disturb()
    board.live(10 * HOUR)
    assert not board.leaf
    assert board.step() > HOUR
    server._spent = None
    if how == "erased":
        board.agent.known.erase()
    elif how == "subject":
        board.start(subject="CN=another")
    else:
        board.start(credentials=life.world.login())
    for _ in range(3):
        board.agent.step()
    assert board.leaf


def test_a_way_back_from_a_start_that_fails_for_years():
    server = Server()
    lines = []
    board = Board(server, log=lines.append)
    load = board.agent.store.load

    def newer(name, least=-1):
        if name == "identity":
            raise errors.OtherLayout("by another version of est, kept")
        return load(name, least)

    board.agent.store.load = newer
    for _ in range(1500):
        server.now += board.agent.step()
    board.agent.log("a line")
    assert lines[-1:] == ["a line"]
    board.agent.store.load = load
    board.live(60)
    assert board.works()


def test_a_way_back_whatever_log_raises():
    def log(text):
        raise OSError(28)

    server = Server()
    board = enrolled(server)
    old = to_renewal(board)
    board.start(log=log)
    board.agent.on_event = lambda event, detail: log(event)
    board.live(DAY)
    assert board.leaf != old
    for _ in range(3):
        assert board.agent.step() >= 0


@pytest.mark.parametrize("how", ["ended", "revoked"])
def test_stranded_says_what_a_person_must_do(how):
    server = Server(once="same")
    board = enrolled(server, prompt=True)
    if how == "ended":
        gone(server, board)
    else:
        board.disturb()
        board.live(4 * DAY)
        server.refuse.add(server.issued[board.leaf])
    board.live(5 * life.LONGEST_WAIT)
    assert board.counts["stranded"] == 1
    assert "password" in board.agent.stranded
    server._spent = None
    board.calm()
    board.live(life.LONGEST_WAIT)
    assert board.works()


def test_stranded_is_not_what_only_lacks_a_server_or_the_time():
    server = Server()
    board = enrolled(server)
    board.start(credentials=None)
    server.refuse_expired = False
    gone(server, board)
    assert not board.counts["stranded"]
    board.live(life.LONGEST_WAIT)
    assert board.works()


# The clock is a witness, not a judge.


@pytest.mark.parametrize("reset", [False, True])
def test_the_clock_is_a_witness(reset):
    server = Server()
    board = enrolled(server)
    board.live(10 * DAY)
    old = board.leaf
    board.clock.ahead = 70 * DAY
    if reset:
        board.start(credentials=None)
    board.live(20 * DAY)
    # By this clock it has ended: an event, no renewal.
    assert board.leaf == old
    assert board.counts["clock"]
    assert board.counts["orders"] == 1
    board.clock.right()
    board.live(80 * DAY)
    assert board.works()
    assert not board.counts["gap"]


def test_the_clock_is_a_witness_and_is_told_what_it_lacks():
    server = Server(lifetime=HOUR)
    board = enrolled(server)
    to_renewal(board)
    board.disturb()
    board.clock.ahead = -20 * HOUR
    board.step()
    assert board.agent.skew > 19 * HOUR
    board.clock.ahead = -10 * DAY
    board.agent.until = 0
    board.step()
    # It is the clock that must be set, whatever the agent adds to it.
    words = board.agent.known.failure.split()
    lacking = board.agent.known.earliest() - board.clock.time()
    assert words[words.index("s") - 1] == str(lacking)


def test_the_clock_is_a_witness_each_time():
    server = Server()
    board = enrolled(server)
    for _ in range(3):
        board.clock.ahead = 70 * DAY
        board.live(DAY)
        board.clock.right()
        board.live(2 * DAY)
    assert board.counts["orders"] == 1


def test_the_clock_is_a_witness_that_one_answer_cannot_forge():
    server = Server()
    board = enrolled(server)
    for _ in range(3):
        board.clock.ahead = 3650 * DAY
        board.start()
        board.live(DAY)
        # Nothing that it said remains.
        board.clock.right()
        board.start()
        board.live(DAY)
        assert board.works()
    board.live(90 * DAY)
    assert board.works()
    assert not board.counts["gap"]


@pytest.mark.parametrize("lifetime", [HOUR, 3 * HOUR, DAY])
def test_the_clock_is_a_witness_in_time_after_a_reset(lifetime):
    server = Server(lifetime=lifetime, tls_life=90 * DAY)
    board = Board(server, 5)
    board.clock.ahead = -12 * HOUR
    board.patience = 120 + lifetime / 4
    board.live(60)
    # By which the server's time is forgotten; and it was asked just now.
    board.start()
    board.live(lifetime)
    assert board.works()
    assert not board.counts["gap"]


@pytest.mark.parametrize("year", [1970, 2000, 2021])
def test_the_clock_is_a_witness_that_may_know_nothing(year):
    server = Server()
    board = enrolled(server)
    board.clock.set((year - 1970) * life.YEAR)
    board.start()
    connections = server.connections
    board.disturb()
    board.live(HOUR)
    assert server.connections == connections
    board.calm()
    board.live(300)
    assert board.works()
    assert board.state() == "none"


def test_the_clock_is_a_witness_about_an_answer():
    server = Server(backdate=-20)
    board = Board(server)
    board.step()
    board.step()
    assert board.state() == "answered"
    board.clock.set(1609459200)
    assert board.step() > 0
    board.clock.right()
    board.live(HOUR)
    assert board.works()
    assert len(server.issued) == 1


@pytest.mark.parametrize(
    ("lifetime", "ahead"),
    [
        *itertools.product(
            [HOUR, 12 * HOUR, 90 * DAY], [hours * HOUR for hours in (-13, -5, -3, 3, 5, 13)]
        ),
        # Beyond what it issues, and within its own certificate.
        *((2 * DAY, days * DAY) for days in (-20, -3, 3, 20)),
    ],
)
def test_the_clock_is_a_witness_against_a_server_whose_date_is_wrong(lifetime, ahead):
    # What it issues is by the right time.
    server = Server(lifetime=lifetime, date=ahead, tls_life=90 * DAY)
    board = Board(server)
    board.live(60)
    assert board.works()
    board.live(10 * lifetime)
    assert board.works()
    assert not board.counts["gap"]
    # Sooner where the Date may be right, and lets less of each life be left.
    assert board.counts["orders"] <= 30


@pytest.mark.parametrize("years", [-57, -10, 10, 70])
def test_the_clock_is_a_witness_against_a_date_outside_the_servers_certificate(years):
    server = Server(date=years * 365 * DAY, tls_life=90 * DAY)
    board = Board(server)
    board.live(60)
    assert board.works()
    assert board.agent.skew == 0
    board.live(200 * DAY)
    assert board.works()
    assert not board.counts["gap"]
    assert board.counts["orders"] <= 5


def test_the_clock_is_a_witness_at_once_where_one_thing_is_done():
    for ahead in (2 * HOUR, -2 * HOUR, 3 * DAY):
        server = Server(lifetime=2 * DAY, date=ahead, tls_life=90 * DAY)
        if abs(ahead) < DAY:
            server.lifetime = HOUR
        board = Board(server)
        assert board.agent.enroll()
        assert len(server.issued) == 1


def test_the_clock_is_a_witness_of_the_time_of_issue():
    server = Server()
    board = Board(server)
    board.clock.ahead = 70 * DAY
    board.live(60)
    # The server's Date, not the clock's.
    assert abs(board.items("identity")[0]["issued"] - server.now) < 120


def test_whole_hours_are_told_to_be_local_time():
    server = Server()
    board = Board(server)
    told = []
    board.tell = lambda name, detail: told.append(detail["text"]) if name == "clock" else None
    board.clock.ahead = 2 * HOUR
    board.live(60)
    assert "local time" in told[0]


# A fleet spreads itself.


def test_a_fleet_spreads_itself():
    server = Server()
    when = []
    for number in range(60):
        board = enrolled(server, seed=number)
        at = (board.agent.known.renew_at(server.now) - server.now) / server.lifetime
        assert 1 / 24 - 0.01 < at < 2 / 3
        when.append(at)
    # Over all of it.
    assert min(when) < 0.15
    assert max(when) > 0.55
    assert 0.25 < sum(when) / len(when) < 0.46


def test_a_fleet_spreads_itself_and_keeps_its_distance():
    server = Server()
    board = enrolled(server)
    to_renewal(board)
    server.down = True
    board.disturb()
    came = board.agent.known.renew_at(server.now)
    board.live(5 * DAY)
    server.down = False
    board.calm()
    board.live(DAY)
    # After an outage it comes as much earlier: as if there had been none.
    again = board.agent.known.renew_at(server.now)
    assert 0.62 < (again - came) / server.lifetime < 0.67

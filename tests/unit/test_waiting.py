"""Orders that wait or bring nothing of use; the back-off over a reset; the clock's witness."""

import sys

import check
from est import aside, clock, der, duty, order, parts, retry, run, store, verdict, waiting, witness
from est.errors import (
    Closed,
    Ended,
    NotTrusted,
    NotYetValid,
    PeerError,
    Refused,
    RetryLater,
    StorageError,
    UsageError,
)
from est.keys import P256Key
from test_messages import KEY, certificate

DAY = 86400
NOW = 1800000000
# Since the day before.
LEAF = certificate("CN=leaf", "CN=ca", KEY, KEY)


class FakeAgent:
    """What the parts need of an est.agent.Agent, at a time of its own."""

    trust = ()
    url = wanted = ""
    key = voucher = credentials = None

    def __init__(self):
        self.path = check.folder("waiting")
        self.store = store.Store(self.path)
        self.known = parts.Known(self.store)
        self.time = NOW
        self.failures = self.until = self.wait = self.floor = self.floored = self.refusals = 0
        self.kept_floor = self.disbelieved = self.polls = 0
        self.validity = None
        self.erasures = 0
        self.floor_of = ""
        self.agreed = self.told_ahead = self.skew = 0
        self.used = False
        self.shown = None
        self.planned = True
        self.doing = self.candidate = None
        self.said = []
        self.events = []
        self.settled = []
        self.saves = 0
        usual = self.store.save

        def save(name, payload):
            self.saves += 1
            usual(name, payload)

        self.store.save = save

    def now(self):
        return self.time

    def log(self, text):
        self.said.append(text)

    def tell(self, event, **detail):
        self.events.append((event, detail))

    def load(self, name, needed=False):
        return store.unpack(self.store.load(name))

    def order(self, items):
        found = order.Enrolment()
        found.restore(items)
        return found

    def keep(self, current, state):
        current.meta["state"] = state
        current.meta["since"] = self.now()
        self.store.save("order", store.pack(*current.items()))

    def end(self):
        self.store.erase("order")

    def judges(self):
        return []

    def cacerts(self, identity):
        return check.steps(b"")

    def settle(self, current, items):
        self.settled.append(items)
        return check.steps()

    def live(self, start, length):
        """Have an identity for so many seconds."""
        meta = {"not_before": NOW + start, "not_after": NOW + start + length, "generation": 1}
        self.known.take([meta, b"key", b"leaf"])

    def new_order(self, state="made", **meta):
        found = order.Enrolment()
        found.key = b"key"
        found.request = b"request"
        found.meta = {"kind": "simpleenroll", "leaf": "", "date": 0}
        found.meta.update(meta)
        self.keep(found, state)
        self.saves = 0
        return found

    def again(self):
        """An agent after a reset, with the same store."""
        found = FakeAgent()
        check.clean(found.path)
        found.path = self.path
        found.store.path = self.path
        found.time = self.time
        return found

    def clean(self):
        check.clean(self.path)


# Orders


def test_an_order_is_its_record():
    found = order.SIMPLE[0]()
    assert (found.kind, found.meta, found.answer) == ("simpleenroll", {}, [])
    assert order.SIMPLE[1]().kind == "simplereenroll"
    items = [{"kind": "simpleenroll"}, b"key", b"request", b"answer", b"more"]
    found.restore(items)
    assert (found.key, found.request, found.answer) == (b"key", b"request", [b"answer", b"more"])
    assert found.items() == items
    found.restore(items[:3])
    assert found.answer == []


# Waiting


def test_patience_leaves_room_to_renew():
    agent = FakeAgent()
    assert waiting.patience(agent) == DAY  # there is none
    for left, expected in (
        (-1, DAY),
        (0, DAY),
        (1, 60),
        (119, 60),
        (200, 100),
        (90 * DAY, 45 * DAY),
    ):
        agent.live(left - 100 * DAY, 100 * DAY)
        assert waiting.patience(agent) == expected, left
    agent.clean()


def test_retry_after_is_obeyed_but_not_past_the_end():
    agent = FakeAgent()
    agent.live(-80 * DAY, 90 * DAY)
    for seconds, expected in (
        (77, 77),
        (5 * DAY, 5 * DAY),
        (6 * DAY, 5 * DAY),
        (1 << 40, 5 * DAY),
    ):
        current = agent.new_order()
        error = RetryLater("wait", seconds)
        assert run(waiting.interrupted(agent, current, None, error, False)) is error
        assert error.seconds == expected
        assert current.meta["state"] == "waiting"
        assert current.meta["until"] == NOW + expected
        # And so after a reset.
        stored = agent.load("order")[0]
        assert (stored["until"], stored["wait"]) == (NOW + expected, expected)
    agent.clean()


def test_polls_write_nothing():
    agent = FakeAgent()
    current = agent.new_order()
    waiting.postpone(agent, current, RetryLater("wait", 60))
    assert agent.saves == 1
    for _ in range(50):
        agent.time += 60
        waiting.postpone(agent, current, RetryLater("wait", 60))
    assert agent.saves == 1
    agent.clean()


def test_the_time_that_the_server_said_is_kept():
    agent = FakeAgent()
    current = agent.new_order()
    waiting.hold_back(agent, current)
    waiting.postpone(agent, current, RetryLater("wait", 100))
    for passed, left in ((0, 100), (1, 99), (99, 1)):
        agent.time = NOW + passed
        assert check.raises(RetryLater, waiting.hold_back, agent, current).seconds == left
    # Longer than the server said: the clock was wrong then.
    for passed in (100, 101, 70 * DAY, -1, -70 * DAY):
        agent.time = NOW + passed
        waiting.hold_back(agent, current)
    agent.clean()


def test_what_ends_an_order_keeps_others_back():
    # Only a final refusal brings the floor; what may yet succeed leaves all as it is.
    for error, final, floor in (
        (Refused("no", 400), True, 300),
        (Refused("no", 403), False, 0),
        (PeerError("lost"), False, 0),
        (Closed("lost"), False, 0),
    ):
        agent = FakeAgent()
        agent.shown = object()
        current = agent.new_order()
        before = agent.load("order")
        assert run(waiting.interrupted(agent, current, None, error, final)) is error
        assert agent.floored == floor
        assert agent.floor == (NOW + floor if floor else 0)
        assert agent.load("order") == before
        agent.clean()


def test_what_shows_that_tls_took_the_certificate():
    # The server answered: so many refusals in a row are over, but for those by status.
    for error, left in (
        (RetryLater("busy", 9), 0),
        (Refused("no", 400), 0),
        (Refused("no", 500), 0),
        (Refused("no", 401), 2),
        (Refused("no", 403), 2),
        (PeerError("lost"), 2),
        (NotTrusted("another server"), 2),
    ):
        for shows in (True, False):
            agent = FakeAgent()
            agent.refusals = 2
            agent.shown = agent.known if shows else None
            run(waiting.interrupted(agent, agent.new_order(), None, error, False))
            assert agent.refusals == (left if shows else 2), error
            agent.clean()


def ended(*arguments):
    raise Ended("ended")


def test_answers_that_stay_and_that_end():
    for error, stays, aside_too in (
        (NotTrusted("no issuer"), True, False),
        (NotYetValid("early", 9), True, False),
        (UsageError("a part is missing"), True, False),
        (StorageError("full"), True, False),
        (PeerError("another key"), False, False),
        (Refused("no"), False, False),
        # Without the server's word it may be the clock that is wrong.
        (Ended("ended"), False, True),
    ):
        agent = FakeAgent()
        current = agent.new_order("answered")
        current.answer = [b"answer"]
        agent.keep(current, "answered")
        run(waiting.rejected(agent, current, error))
        assert bool(agent.load("order")) == stays, error
        assert bool(agent.load("aside")) == aside_too, error
        assert bool(agent.floor) != stays, error
        agent.clean()
    agent = FakeAgent()
    current = agent.new_order("answered", date=NOW)
    current.accept = ended
    run(waiting.rejected(agent, current, Ended("by the server's word")))
    assert not agent.load("order") and not agent.load("aside")
    agent.clean()


def test_an_answer_that_says_to_wait_is_no_answer():
    agent = FakeAgent()
    current = agent.new_order("answered")
    current.answer = [b"CMC, pending"]
    run(waiting.rejected(agent, current, RetryLater("pending", 70)))
    meta, *rest = agent.load("order")
    assert (meta["state"], meta["until"], rest) == ("waiting", NOW + 70, [b"key", b"request"])
    agent.clean()


class Parts:
    """The part of est.parts that judging takes."""

    rejected = waiting.rejected


def issued_by(start, known=True):
    """An agent, and its answered order, whose certificate is of a CA that begins at `start`."""
    agent = FakeAgent()
    agent.parts = Parts
    agent.works = lambda: False
    agent.adopt = lambda offered: check.steps(agent.judges())
    ours, issuing, top = P256Key(), P256Key(), P256Key()
    root = certificate("CN=root", "CN=root", top, top, 1)
    issuer = certificate("CN=issuing", "CN=root", issuing, top, 0, start)
    leaf = certificate("CN=leaf", "CN=issuing", ours, issuing)
    agent.judges = lambda: [root.der]
    current = agent.new_order("answered")
    current.answer = [b"answer"]
    agent.keep(current, "answered")
    current.accept = lambda others, anchors, now, log: verdict.accept(
        [leaf.der] + ([issuer.der] if known else []),
        others,
        ours.der(),
        anchors,
        now,
    )
    return agent, current


def test_what_a_ca_issued_that_begins_later_waits():
    agent, current = issued_by(DAY)
    error = check.raises(RetryLater, run, verdict.judge(agent, current))
    assert error.seconds == DAY
    assert "CN=issuing is not valid yet" in str(error) and "kept for then" in str(error)
    assert agent.load("order")[3:] == [b"answer"]
    agent.time += DAY
    assert len(run(verdict.judge(agent, current))) == 3
    agent.clean()


def test_an_issuer_that_the_server_refuses_to_name():
    """It is as unknown as it was: the answer stays, and blocks no longer than the floor."""
    agent, current = issued_by(-DAY, False)

    def refused(identity):
        raise Refused("cacerts: refused with HTTP 404", 404)
        yield

    agent.cacerts = refused
    error = check.raises(NotTrusted, run, verdict.judge(agent, current))
    assert "no trusted certificate named CN=issuing" in str(error), str(error)
    assert agent.said == ["cacerts: refused with HTTP 404"]
    assert agent.load("order")[3:] == [b"answer"]
    agent.clean()


def test_the_network_says_nothing_of_an_answer():
    agent, current = issued_by(-DAY, False)

    def lost(identity):
        raise PeerError("cacerts: no route")
        yield

    agent.cacerts = lost
    agent.resume = lambda: current
    agent.orders = order.SIMPLE
    check.raises(PeerError, run, duty.leftover(agent, current, None, None))
    assert not agent.said
    assert agent.load("order")[3:] == [b"answer"]
    agent.clean()


# The back-off


def test_the_floor_has_bounds():
    agent = FakeAgent()
    assert retry.floor(agent) == 300  # without an identity
    for gone, length, expected in (
        (0, 24 * 3600, 3600),
        (0, 90 * DAY, 90 * 3600),
        # Near the end it is less, for the board must get another one.
        (80 * DAY, 90 * DAY, 30 * 3600),
        (89 * DAY, 90 * DAY, DAY // 8),
        (90 * DAY - 100, 90 * DAY, 60),
        (90 * DAY, 90 * DAY, 300),
        (91 * DAY, 90 * DAY, 300),
        (0, 600, 60),
    ):
        agent.live(-gone, length)
        assert retry.floor(agent) == expected, (gone, length)
    agent.clean()


def test_the_back_off_outlives_a_reset():
    agent = FakeAgent()
    retry.load(agent)
    assert (agent.failures, agent.until, agent.wait, agent.floor) == (0, 0, 0, 0)
    agent.failures = 3
    agent.refusals = 2
    agent.until = NOW + 99
    agent.wait = 240
    retry.fruitless(agent, {})
    after = agent.again()
    retry.load(after)
    found = (after.failures, after.refusals, after.until, after.wait, after.floor, after.floored)
    assert found == (3, 2, NOW + 99, 240, NOW + 300, 300)
    # All is well: but a floor that is ahead stays, with what else there is.
    after.failures = after.refusals = after.until = after.wait = 0
    retry.erase(after)
    last = agent.again()
    retry.load(last)
    assert (last.failures, last.refusals, last.floor, last.floored) == (0, 0, NOW + 300, 300)
    # One that is over, or further ahead than it ever was: then the clock was wrong.
    for now in (NOW + 300, NOW - 70 * DAY):
        last = agent.again()
        retry.load(last)
        last.time = NOW
        retry.fruitless(last, {})
        last.time = now
        retry.erase(last)
        assert agent.store.load("retry") is None
        last = agent.again()
        retry.load(last)
        assert (last.failures, last.floor) == (0, 0)
    agent.clean()


def test_a_back_off_that_outlived_a_reset_shows():
    agent = FakeAgent()
    now = clock.now()
    agent.wait = 240
    # What is over, or further ahead than it ever was, is none.
    for ahead, shown in ((99, True), (-1, False), (9999, False)):
        agent.until = now + ahead
        retry.save(agent)
        after = agent.again()
        retry.load(after)
        assert after.known.next == (("retry", now + ahead) if shown else None)
    agent.clean()


def test_a_wait_that_grows_no_more_is_not_written():
    agent = FakeAgent()
    for failures in range(1, 100):
        agent.failures = failures
        retry.save(agent)
    assert agent.saves == 10
    # A new floor is.
    retry.fruitless(agent, {})
    retry.fruitless(agent, {})
    assert agent.saves == 11
    agent.time += 1
    retry.fruitless(agent, {})
    assert agent.saves == 12
    agent.clean()


class Machine:
    """A board whose RTC has memory, which an application may use."""

    def __init__(self, held=b""):
        self.held = held

    def RTC(self):
        return self

    def memory(self, data=None):
        if data is None:
            return self.held
        self.held = data


def on(machine, function):
    before = sys.modules.get("machine")
    sys.modules["machine"] = machine
    try:
        function()
    finally:
        if before is None:
            del sys.modules["machine"]
        else:
            sys.modules["machine"] = before


def test_memory_of_the_rtc():
    agent = FakeAgent()

    def live():
        agent.failures = 12
        retry.save(agent)
        after = agent.again()
        retry.load(after)
        assert after.failures == 12
        for damaged in (
            b"",
            b"5",
            b"[]",
            b"null",
            b"\xff",
            b'{"failures": "x"}',
            b'{"failures": 0.5}',
        ):
            after.failures = 7
            machine.held = b"est:" + damaged
            retry.load(after)
            assert after.failures == 0, damaged
        retry.erase(after)
        assert machine.held == b""
        # A person who has all forgotten waits for nothing, after a reset either.
        retry.save(agent)
        agent.known.erase()
        assert machine.held == b""

    machine = Machine()
    on(machine, live)
    assert agent.saves == 0
    # What an application keeps there is not ours to overwrite.
    machine = Machine(b"mine")

    def beside():
        agent.failures = 5
        retry.save(agent)
        after = agent.again()
        retry.load(after)
        assert after.failures == 5
        retry.erase(after)
        after.known.erase()

    on(machine, beside)
    assert machine.held == b"mine"
    assert agent.saves == 1
    agent.clean()


# Aside


def judged(outcome, function, *arguments):
    """`function` where verdict.judge gives, or raises, `outcome`, and a leaf ends 50 days on."""
    kept = verdict.judge, verdict.validity

    def judge(agent, current):
        if isinstance(outcome, Exception):
            raise outcome
        return check.steps(outcome)

    verdict.judge = judge
    verdict.validity = lambda leaf: (NOW, NOW + 50 * DAY)
    try:
        return run(function(*arguments))
    finally:
        verdict.judge, verdict.validity = kept


def test_nothing_is_aside():
    agent = FakeAgent()
    assert run(aside.attempt(agent)) is False
    assert agent.doing is None
    agent.clean()


def test_what_is_aside_is_tried_and_used():
    agent = FakeAgent()
    current = agent.new_order("answered")
    current.answer = [b"answer"]
    agent.keep(current, "answered")
    aside.put(agent)
    assert not agent.load("order")
    assert agent.load("aside") == current.items()
    assert agent.floor > NOW
    items = [b"key", b"new leaf"]
    assert judged(items, aside.attempt, agent) is True
    assert agent.settled == [items]
    assert not agent.load("aside")
    agent.clean()


def test_what_is_still_refused_stays_aside():
    for error in (NotTrusted("x"), PeerError("x"), UsageError("x"), RetryLater("x", 9)):
        for used in (False, True):
            agent = FakeAgent()
            agent.new_order("answered")
            aside.put(agent)
            agent.used = used
            assert judged(error, aside.attempt, agent) is used
            assert agent.load("aside"), error
            assert "still of no use" in agent.said[0]
            agent.clean()


def test_what_has_ended_is_aside_no_more():
    # It may be the clock that is wrong.
    agent = FakeAgent()
    agent.new_order("answered")
    aside.put(agent)
    assert judged(Ended("x"), aside.attempt, agent) is False
    assert agent.load("aside")
    agent.clean()
    # As good as ended: the one in use lasts longer. Equal is not, for CAs cap lives at their end.
    agent = FakeAgent()
    for length, tried in ((49 * DAY, True), (50 * DAY, True), (51 * DAY, False)):
        agent = agent.again()
        agent.live(0, length)
        agent.new_order("answered")
        aside.put(agent)
        assert judged([b"key", b"leaf"], aside.attempt, agent) is tried
        assert bool(agent.settled) is tried
        assert not agent.load("aside")
    agent.clean()


def test_a_newer_refused_one_replaces_it():
    agent = FakeAgent()
    for number in range(3):
        current = agent.new_order("answered")
        current.answer = [b"%d" % number]
        agent.keep(current, "answered")
        aside.put(agent)
        assert agent.load("aside")[3:] == [b"%d" % number]
    # There is no order: the one aside stays.
    aside.put(agent)
    assert agent.load("aside")[3:] == [b"2"]
    agent.clean()


# The clock's witness


def at(seconds, function, *arguments):
    """`function` while the board's clock says so."""

    class Clock:
        unix_time = clock.unix_time

    Clock.now = lambda: seconds
    kept = witness.clock
    witness.clock = Clock
    try:
        return function(*arguments)
    finally:
        witness.clock = kept


# 1800000000 is Fri, 15 Jan 2027 08:00:00 GMT.
DATE = "Fri, 15 Jan 2027 08:00:00 GMT"


def test_no_date_is_no_witness():
    agent = FakeAgent()
    for date in (None, "", "yesterday", "Fri, 15 Foo 2027 08:00:00 GMT", "1 2 3 4 5 6", "\xff"):
        agent.skew = 7
        assert at(NOW, witness.check, agent, date) == 0, date
        assert (agent.skew, agent.agreed, agent.events) == (7, 0, [])
    agent.clean()


def test_within_a_day_both_agree():
    for ahead in (0, 1, -1, 299, -299, DAY - 1, 1 - DAY):
        agent = FakeAgent()
        agent.skew = 99 * DAY
        assert at(NOW + ahead, witness.check, agent, DATE) == NOW
        assert (agent.skew, agent.agreed) == (-ahead if abs(ahead) > 300 else 0, NOW + ahead)
        assert bool(agent.events) == (abs(ahead) > 300), ahead
        agent.clean()


def test_a_date_that_contradicts_what_was_issued_is_not_believed():
    for ahead, early, date, counts in (
        (5 * 3600, 3600, NOW, True),
        (-5 * 3600, 0, NOW, True),
        # A CA may be early by minutes; beyond a day it is the clock; and without a Date.
        (5 * 3600, 200, NOW, False),
        (DAY, 3600, NOW, False),
        (-DAY, 0, NOW, True),
        (5 * 3600, 3600, 0, False),
    ):
        agent = FakeAgent()
        at(NOW + ahead, witness.check, agent, DATE)
        current = agent.new_order("answered", date=date)
        agent.keep(current, "answered")
        current.accept = lambda *arguments: check.steps([b"key", LEAF.der])
        error = NotYetValid("early", early) if early else Ended("ended")
        if not date:
            agent.skew = 0
        again = at(NOW + ahead, lambda: run(waiting.rejected(agent, current, error)))
        assert bool(again) == counts, (ahead, early)
        if counts:
            assert (agent.skew, agent.load("order")[0]["date"]) == (0, 0)
            # From then on, as long as it is as wrong.
            assert at(NOW + ahead, witness.check, agent, DATE) == 0
            assert agent.skew == 0
            assert at(NOW + ahead + 3600, witness.check, agent, DATE) == NOW
            assert agent.skew == -ahead - 3600
        agent.clean()


def test_what_was_erased_while_it_was_judged_does_not_come_back():
    agent = FakeAgent()
    at(NOW + 5 * 3600, witness.check, agent, DATE)
    current = agent.new_order("answered", date=NOW)

    def accept(*arguments):
        agent.known.erase()
        return check.steps([b"key", LEAF.der])

    current.accept = accept
    error = Ended("ended")
    assert not at(NOW + 5 * 3600, lambda: run(waiting.rejected(agent, current, error)))
    assert agent.load("order") == []
    agent.clean()


def test_a_date_beyond_the_servers_certificate_is_no_witness():
    agent = FakeAgent()
    for ahead in (0, 3600, -20 * 365 * DAY):
        for lasts, counts in (
            (b"\x17\x0d270101000000Z\x17\x0d280101000000Z", True),
            (b"\x17\x0d270115080000Z\x18\x0f20270115080000Z", True),
            (b"\x17\x0d270115080001Z\x17\x0d280101000000Z", False),
            (b"\x17\x0d260101000000Z\x17\x0d270115075959Z", False),
            (b"\x18\x0f20500101000000Z\x18\x0f99991231235959Z", False),
        ):
            agent.validity = [der.tlv(0x30, lasts)]
            agent.skew = 7
            agent.agreed = 0
            assert at(NOW + ahead, witness.check, agent, DATE) == (NOW if counts else 0), lasts
            assert (agent.skew != 7) == counts
            if not counts:
                assert agent.agreed == 0
    agent.validity = None
    for begins, counts in ((DAY, True), (DAY + 1, False)):
        agent.live(begins, 9 * DAY)
        assert at(NOW, witness.check, agent, DATE) == (NOW if counts else 0)
    agent.clean()


def test_beyond_a_day_the_server_counts():
    for ahead in (DAY, -DAY, 70 * DAY, -20 * 365 * DAY):
        agent = FakeAgent()
        assert at(NOW + ahead, witness.check, agent, DATE) == NOW
        # The clock and its skew make the server's time; they have not agreed.
        assert (NOW + ahead + agent.skew, agent.agreed) == (NOW, 0)
        ((event, detail),) = agent.events
        assert (event, detail["ahead"]) == ("clock", ahead)
        assert ("ahead of" if ahead > 0 else "behind") in detail["text"]
        assert "local time" not in detail["text"]
        agent.clean()


def test_whole_hours_are_local_time():
    agent = FakeAgent()
    for ahead, whole in (
        (3600, True),
        (-3600, True),
        (7200 + 299, True),
        (7200 - 299, True),
        (-5 * 3600 + 120, True),
        (12 * 3600, True),
        (1800, False),
        (5 * 3600 + 1800, False),
        (3600 + 302, False),
        (3600 - 302, False),
        (24 * 3600, False),
    ):
        agent.events.clear()
        agent.told_ahead = 0
        at(NOW + ahead, witness.check, agent, DATE)
        ((_, detail),) = agent.events
        assert ("local time" in detail["text"]) is whole, ahead
    agent.clean()


def test_it_is_told_once():
    agent = FakeAgent()
    for ahead, count in ((1000, 1), (1000, 1), (1200, 1), (2000, 2), (0, 2), (1000, 3)):
        at(NOW + ahead, witness.check, agent, DATE)
        assert len(agent.events) == count, ahead
    agent.clean()


def test_a_step_thinks_again_where_the_clock_proved_wrong():
    agent = FakeAgent()
    at(NOW + 100, witness.hold_back, agent, DATE)
    agent.planned = True
    error = check.raises(RetryLater, at, NOW + 70 * DAY, witness.hold_back, agent, DATE)
    assert error.seconds == 0
    # Known now; and so it is once the clock is right again.
    agent.planned = True
    at(NOW + 70 * DAY, witness.hold_back, agent, DATE)
    agent.planned = True
    check.raises(RetryLater, at, NOW, witness.hold_back, agent, DATE)
    # Twice in a row.
    agent.planned = True
    agent.polls = 1
    check.raises(RetryLater, at, NOW + 70 * DAY, witness.hold_back, agent, DATE)
    agent.planned = True
    agent.polls = 2
    at(NOW, witness.hold_back, agent, DATE)
    agent.polls = 0
    at(NOW, witness.hold_back, agent, DATE)
    # What the application asked for goes on, whatever the clock says.
    at(NOW + 70 * DAY, witness.hold_back, agent, DATE)
    at(NOW, witness.hold_back, agent, None)
    agent.clean()

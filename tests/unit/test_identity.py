"""What the program sees of the board's identity, when it renews, and what it shows of it."""

import os

import check
from est import identity, parts, posix, schedule, status, store, verdict
from est.agent import Agent, take
from est.errors import StorageError, UsageError
from estd import status as estd_status

DAY = 86400
START = 1800000000


def record(**meta):
    """Items as est.store describes them."""
    whole = {"not_before": START, "not_after": START + 90 * DAY, "issued": 0, "generation": 3}
    whole.update(meta)
    return [whole, b"key", b"leaf", b"middle"]


def known(kind=identity.Identity, **meta):
    found = kind(None)
    found.take(record(**meta))
    return found


def test_before_the_first_enrolment():
    found = identity.Identity(None)
    assert tuple(found) == ([], None)
    assert (found.not_before, found.not_after, found.issued, found.generation) == (0, 0, 0, 0)


def test_what_the_record_says():
    found = known(issued=START + 5)
    chain, key = found
    assert (chain, key) == ([b"leaf", b"middle"], b"key")
    assert (found[0], found[1]) == (chain, key)
    assert (found.not_before, found.not_after) == (START, START + 90 * DAY)
    assert (found.issued, found.generation) == (START + 5, 3)
    found.take([])
    assert tuple(found) == ([], None)
    assert found.generation == 0


def test_life_counts_from_the_time_of_issue():
    now = START + 80 * DAY
    # (issued, where the life begins)
    for issued, begin in (
        (0, START),
        (START - 9, START),
        (START, START),
        (START + 9, START + 9),
        (now, now),
        # The clock was wrong then: no certificate is issued later than now.
        (now + 1, START),
        (START + 89 * DAY, START),
    ):
        found = known(issued=issued)
        assert found.life(now) == (begin, START + 90 * DAY - begin), issued


def test_a_ca_that_backdates_causes_no_storm():
    # Of 90 days 80 are over when it is issued: without more care it would be renewed at once.
    issued = START + 80 * DAY
    found = known(issued=issued)
    due = found.renew_at(issued)
    assert issued + 6 * DAY < due < issued + 7 * DAY
    # Two thirds of what is left, in full also where a clock comes right later.
    assert due == issued + 10 * DAY * 43690 // 65536
    assert known().renew_at(START) == START + 90 * DAY * 43690 // 65536


def test_the_share():
    for share in (2731, 32768, 43690):
        assert known(share=share).renew_at(START) == START + 90 * DAY * share // 65536
    # 68 years of 32 bits do not overflow.
    far = known(not_after=START + (1 << 31), share=43690)
    assert far.renew_at(START) == START + (1 << 31) * 43690 // 65536


def test_shares_have_bounds():
    kept = schedule._unique
    try:
        for first, late, earliest, latest in (
            (True, 0, 2731, 43690),
            (True, 9999, 2731, 43690),
            (False, 0, 40959, 43690),
            (False, 10000, 30959, 33690),
            (False, 38228, 2731, 5462),
            # More than there is: over the whole of the life, as the first.
            (False, 38229, 2731, 43690),
            (False, 1 << 20, 2731, 43690),
        ):
            shares = []
            for number in range(400):
                leaf = number.to_bytes(2, "big")
                schedule._unique = lambda: leaf
                shares.append(schedule.share(leaf, first, late))
            assert earliest <= min(shares) and max(shares) < latest
            # All of the range is used, and evenly.
            width = latest - earliest
            assert min(shares) < earliest + width // 40
            assert max(shares) > latest - width // 40
            assert abs(sum(shares) // 400 - earliest - width // 2) < width // 10
    finally:
        schedule._unique = kept


def test_the_first_share_is_of_the_board():
    kept = schedule._unique
    try:
        schedule._unique = lambda: b"board 1"
        first = schedule.share(b"leaf", True, 0)
        assert schedule.share(b"another leaf", True, 0) == first
        # Later ones are of the certificate, or an outage would bring the same boards together.
        later = {schedule.share(b"leaf %d" % number, False, 0) for number in range(9)}
        assert len(later) == 9
        schedule._unique = lambda: b"board 2"
        assert schedule.share(b"leaf", True, 0) != first
        # A computer has no number of its own: the certificate tells it from others.
        schedule._unique = lambda: b""
        assert len({schedule.share(b"leaf %d" % one, True, 0) for one in range(9)}) == 9
    finally:
        schedule._unique = kept


def test_share_and_spread_as_asked():
    for first in (True, False):
        assert schedule.share(b"leaf", first, 0, 32768, 0) == 32768
        found = [schedule.share(b"leaf %d" % one, False, 0, 32768, 6554) for one in range(99)]
        assert 32768 - 6554 <= min(found) < max(found) <= 32768
        # Never before 1/24, whatever is asked.
        assert schedule.share(b"leaf", first, 0, 6554, 60000) >= 2731
    late = schedule.share(b"leaf", False, 2000, 32768, 6554)
    assert schedule.share(b"leaf", False, 0, 32768, 6554) - late == 2000
    assert 2731 <= schedule.share(b"leaf", True, 0, 32768) <= 32768


def test_status():
    found = parts.Known(None)
    empty = status.of(found)
    assert empty["enrolled"] is False
    assert (empty["next"], empty["next_at"], empty["failure"]) == (None, 0, None)
    found.take(record())
    found.next = ("renew", START + 9)
    found.failure = "simplereenroll: no answer"
    shown = found.status()
    assert shown == {
        "enrolled": True,
        "generation": 3,
        "not_before": START,
        "not_after": START + 90 * DAY,
        "renew_at": found.renew_at(0),
        "next": "renew",
        "next_at": START + 9,
        "failure": "simplereenroll: no answer",
    }
    assert set(shown) == set(empty)
    assert "key" not in repr(shown) and "leaf" not in repr(shown)


def test_what_the_application_heard():
    found = known(parts.Known)
    found.refused(OSError(5, "alert"))
    assert "alert" in found.doubt or "EIO" in found.doubt


def test_one_copy_is_enough_to_take_over():
    """Where no second one can be written, it is told."""
    path = check.folder("identity")
    os.mkdir(path + "/identity.0")
    os.mkdir(path + "/identity.1")
    records = store.Store(path)
    agent = Taking(records)
    verdict.take(agent, Taken, record()[1:], {})
    assert agent.known.generation == 3 and agent.ended
    assert len(agent.lines) == 1 and "cannot write" in agent.lines[0]
    again = identity.Identity(records)
    again.take(store.unpack(records.load("identity")))
    assert tuple(again) == ([b"leaf", b"middle"], b"key")
    for slot in (0, 1):
        os.rmdir("%s/identity.%d" % (path, slot))
    check.clean(path)


def test_what_tls_does_not_load_is_not_taken():
    """In the least install. Where it is not the certificate's fault, the order stays."""
    for failing, ended in ((None, False), (([b"leaf", b"middle"], b"key"), True)):
        least = Loading(failing)
        check.raises(UsageError, take, least, Taken, record()[1:])
        assert least.ended == ended, failing


def test_a_first_save_that_was_cut():
    """It is no damage while the enrolment is at hand; the same file is, without."""
    path = check.folder("identity")
    records = store.Store(path)
    whole = saved(records, path)
    settings = {"state": path, "url": "https://127.0.0.1:1", "export": []}
    for data in (b"", whole[:9], whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
        for leaf in (None, "", "5e"):
            if leaf is None:
                records.erase("order")
            else:
                meta = {"kind": "simpleenroll", "state": "made", "since": 0, "leaf": leaf}
                records.save("order", store.pack(meta, b"key", b"request"))
            with open(path + "/identity.0", "wb") as file:
                file.write(data)
            agent = Agent(store.Store(path), "https://127.0.0.1:1", trust=[b"0"])
            if leaf == "":
                assert agent.identity() is None
                assert agent.due() == 0
                assert estd_status.stored(settings)["certificate"] is None
            else:
                check.raises(StorageError, agent.identity)
                check.raises(StorageError, estd_status.stored, settings)
    posix.close(path)
    check.clean(path)


def saved(records, path):
    """The octets of an identity's first copy."""
    records.save("identity", store.pack(*record()))
    with open(path + "/identity.0", "rb") as file:
        return file.read()


class Taken:
    """An order whose answer is judged."""

    meta = {"leaf": "", "date": START, "since": START}


class Taking:
    """What est.verdict.take asks of an agent."""

    def __init__(self, records):
        self.store = records
        self.known = known()
        self.lines = []
        self.log = self.lines.append
        self.ended = False

    def end(self):
        self.ended = True


class Loading(Taking):
    """One whose TLS does not load what is shown."""

    def __init__(self, failing):
        super().__init__(None)
        self.failing = failing

    def client(self, identity=None):
        if identity == self.failing:
            raise UsageError("does not load")

    def close(self):
        pass


class Forgetful:
    """A store that tells what is erased of it, and fails at one of them."""

    def __init__(self, failing=None):
        self.erased = []
        self.failing = failing

    def erase(self, name):
        if name == self.failing:
            raise StorageError("cannot erase")
        self.erased.append(name)


def test_erasing_forgets_all_but_trust():
    path = check.folder("identity")
    records = store.Store(path)
    names = ("identity", "order", "aside", "retry", "anchors")
    for name in names:
        for _ in range(2):
            records.save(name, store.pack({"not_after": 9, "generation": 2}, b"key", b"leaf"))
    found = parts.Known(records)
    found.take(store.unpack(records.load("identity")))
    assert found.chain
    found.erase()
    assert tuple(found) == ([], None)
    assert [name for name in names if records.load(name) is not None] == ["anchors"]
    check.clean(path)
    # The identity goes last: what is left of an order could bring it back.
    records = Forgetful()
    parts.Known(records).erase()
    assert records.erased[-1] == "identity" and len(records.erased) == 4
    # One record that cannot be erased is told, and keeps no other.
    records = Forgetful("order")
    found = parts.Known(records)
    found.take(record())
    check.raises(StorageError, found.erase)
    assert not found.chain
    assert records.erased[-1] == "identity"

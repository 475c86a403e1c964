"""Which roots become anchors: linked ones, and nothing that a link does not prove."""

import binascii
import hashlib
import os

import check
from est import cms, der, rollover, x509
from est.agent import Agent
from est.errors import NotTrusted, StorageError, UsageError
from est.store import Store, pack, unpack
from test_messages import DAY, KEY, NOW, OTHER, certificate

FOLDER = "/tmp/est-rollover-%d" % (int.from_bytes(os.urandom(4), "big"))
CA = (x509.BASIC_CONSTRAINTS, der.sequence(der.tlv(der.BOOLEAN, b"\xff")))


def root(key=KEY, signer=None, subject="CN=root", issuer=None, start=-DAY, end=DAY):
    """A self-signed root, or what `signer` says of `key`."""
    return certificate(
        subject, issuer or subject, key, signer or key, start=start, end=end, extra=[CA]
    )


OLD = root()
NEW = root(OTHER, end=2 * DAY)
NEW_WITH_OLD = root(OTHER, KEY)
OLD_WITH_NEW = root(KEY, OTHER)


class FakeAgent:
    """What est.rollover needs of an est.agent.Agent."""

    url = "https://127.0.0.1:1"
    timeout = 1

    def __init__(self):
        self.said = []

    def log(self, text):
        self.said.append(text)


def at(now, verified, function, *arguments):
    """`function` at time `now`, with a server that passes with the anchors left, or does not."""

    class Clock:
        pass

    Clock.now = lambda: now
    kept = rollover.clock, rollover._verified
    rollover.clock = Clock
    rollover._verified = lambda agent, anchors: verified
    try:
        return function(*arguments)
    finally:
        rollover.clock, rollover._verified = kept


def choose(known, offered, first=False, verified=False, now=NOW):
    """(anchors chosen, whether they verify the server, what was logged)."""
    agent = FakeAgent()
    known = [one.der for one in known]
    offered = [one.der for one in offered]
    found, own = at(now, verified, rollover._chosen, agent, known, offered, first, [])
    return [x509.Certificate(one) for one in found], own, " ".join(agent.said)


def ders(certificates):
    return [one.der for one in certificates]


def named(certificate):
    """As the log names it: old and new root have one name."""
    digest = binascii.hexlify(hashlib.sha256(certificate.der).digest()).decode()
    return "%s (SHA-256 %s)" % (certificate, digest[:8])


def check_chosen(expected, *arguments, **named):
    found, own, said = choose(*arguments, **named)
    assert ders(found) == ders(expected), said
    assert own
    return said


def test_new_root_is_adopted_beside_the_old():
    for offered in (
        [OLD, NEW, OLD_WITH_NEW, NEW_WITH_OLD],
        [NEW_WITH_OLD, OLD_WITH_NEW, NEW, OLD],
    ):
        said = check_chosen([OLD, NEW], [OLD], offered)
        assert said == named(NEW) + " is trusted from now on"
        # Nor is it news the second time.
        assert check_chosen([OLD, NEW], [OLD, NEW], offered) == ""


def test_names_may_differ():
    new = root(OTHER, subject="CN=new", end=2 * DAY)
    new_with_old = root(OTHER, KEY, "CN=new with old", "CN=root")
    old_with_new = root(KEY, OTHER, "CN=old with new", "CN=new")
    check_chosen([OLD, new], [OLD], [OLD, new, new_with_old, old_with_new])


def test_what_proves_nothing():
    expired = root(OTHER, KEY, start=-3 * DAY, end=-2 * DAY)
    early = root(OTHER, KEY, start=2 * DAY, end=3 * DAY)
    leaf = certificate("CN=root", "CN=root", OTHER, KEY)
    elsewhere = root(OTHER, KEY, "CN=root", "CN=elsewhere")
    for links, word in (
        ([], "nothing links it"),
        ([OLD_WITH_NEW], "nothing links it"),
        ([NEW_WITH_OLD], "does not vouch for the old"),
        ([OLD_WITH_NEW, NEW], "nothing links it"),
        ([OLD_WITH_NEW, expired], "expired"),
        ([OLD_WITH_NEW, early], "not valid yet"),
        ([OLD_WITH_NEW, leaf], "nothing links it"),
        ([OLD_WITH_NEW, elsewhere], "no trusted certificate named CN=elsewhere"),
        # Signed by the new root itself, in the name of the old.
        ([OLD_WITH_NEW, root(OTHER, OTHER)], "nothing links it"),
        ([NEW_WITH_OLD, root(KEY, KEY, "CN=root")], "does not vouch for the old"),
    ):
        said = check_chosen([OLD], [OLD], [OLD, NEW] + links)
        assert word in said, said


def test_expired_anchor_vouches_for_nothing():
    old = root(start=-3 * DAY, end=-2 * DAY)
    offered = [old, NEW, OLD_WITH_NEW, NEW_WITH_OLD]
    assert named(old) + " has expired" in check_chosen([old], [old], offered)


def test_unlinked_root_beside_a_rollover():
    stranger = root(OTHER, subject="CN=stranger", end=3 * DAY)
    offered = [stranger, OLD, NEW, OLD_WITH_NEW, NEW_WITH_OLD]
    assert named(stranger) + " is not trusted" in check_chosen([OLD, NEW], [OLD], offered)


def test_old_root_stays_until_the_server_moves():
    offered = [NEW, OLD_WITH_NEW, NEW_WITH_OLD]
    check_chosen([NEW, OLD], [OLD], offered)
    said = check_chosen([NEW], [OLD], offered, verified=True)
    assert named(OLD) + " is no longer trusted" in said
    expired = root(start=-3 * DAY, end=-2 * DAY)
    assert "no longer trusted" not in check_chosen([NEW], [NEW, expired], [NEW])


def test_no_known_root_is_offered():
    stranger = root(OTHER, subject="CN=stranger")
    assert "not trusted" in check_chosen([OLD], [OLD], [stranger], verified=True)
    check_chosen([OLD], [OLD], [certificate("CN=leaf", "CN=root", OTHER, KEY)])
    check_chosen([OLD], [OLD], [])


def test_implicit_anchors_name_the_explicit():
    web = root(KEY, subject="CN=web")
    stranger = root(OTHER, subject="CN=stranger")
    offered = [stranger, OLD, NEW, OLD_WITH_NEW, NEW_WITH_OLD]
    said = check_chosen([NEW, OLD], [web], offered, first=True, verified=True)
    assert named(web) + " is no longer trusted" in said
    assert named(stranger) + " is not trusted" in said
    found, own, said = choose([web], offered, first=True)
    assert ders(found) == ders([NEW, OLD])
    assert not own
    assert "still needed" in said
    # One that was given wins over what it was not asked about.
    check_chosen([OLD], [OLD], [OLD, stranger], first=True)
    check_chosen([OLD], [OLD, web], [OLD], first=True, verified=True)


def test_malformed_certificates_are_passed_over():
    class Broken:
        der = b"\x30\x03\x02\x01\x01"

    said = check_chosen([OLD, NEW], [OLD], [Broken, OLD, NEW, OLD_WITH_NEW, NEW_WITH_OLD])
    assert "left out" in said


def test_links_of_rfc7030_do_not_validate():
    """They say nothing of being a CA, expired in 2014, and carry SHA-1 signatures."""
    bag = cms.certificates(check.vector("rfc7030/a1-cacerts-resp.der"))
    offered = [x509.Certificate(one) for one in bag]
    old, new_with_old, old_with_new, new = offered
    assert (new_with_old.spki, old_with_new.spki) == (new.spki, old.spki)
    assert (new_with_old.issuer, old_with_new.issuer) == (old.subject, new.subject)
    assert [one.path_length() >= 0 for one in offered] == [True, False, False, True]
    for one in offered:
        assert one.not_after < x509.unix_time(2014, 5, 10, 0, 0, 0)
        check.raises(NotTrusted, one.check, NOW)
    for link, issuer in ((new_with_old, old), (old_with_new, new)):
        check.raises(NotTrusted, link.check_signature, issuer)
    # Not even when they were fresh.
    for now in (NOW, x509.unix_time(2013, 6, 1, 0, 0, 0)):
        check_chosen([old], [old], offered, now=now)


def records():
    os.mkdir(FOLDER)
    return Store(FOLDER)


def clean():
    for name in os.listdir(FOLDER):
        os.remove(FOLDER + "/" + name)
    os.rmdir(FOLDER)


def test_power_cut_leaves_old_or_new_trust():
    agent = Agent(records(), "https://127.0.0.1:1", trust=[OLD.der])
    rollover.adopt(agent, agent.anchors(), [OLD.der])
    assert unpack(agent.store.load("anchors"))[1:] == [OLD.der]
    offered = ders([OLD, NEW, OLD_WITH_NEW, NEW_WITH_OLD])
    at(NOW, False, rollover.adopt, agent, agent.anchors(), offered)
    assert agent.anchors() == [OLD.der, NEW.der]
    path = FOLDER + "/anchors.1"
    with open(path, "rb") as file:
        whole = file.read()
    for size in range(len(whole) + 1):
        with open(path, "wb") as file:
            file.write(whole[:size])
        # What is read back is what was saved, or the log says that it may not be.
        said = []
        Agent(Store(FOLDER), "https://127.0.0.1:1", log=said.append).anchors()
        assert len(said) == (size < len(whole)), said
        for trust in ([OLD.der], None):
            again = Agent(Store(FOLDER), "https://127.0.0.1:1", trust=trust)
            expected = [OLD.der] if size < len(whole) else [OLD.der, NEW.der]
            assert again.anchors() == expected
    clean()


def test_a_first_save_that_is_cut():
    agent = Agent(records(), "https://127.0.0.1:1", trust=[OLD.der])
    rollover.adopt(agent, agent.anchors(), [OLD.der])
    path = FOLDER + "/anchors.0"
    with open(path, "rb") as file:
        whole = file.read()
    for size in range(0, len(whole), 7):
        with open(path, "wb") as file:
            file.write(whole[:size])
        again = Agent(Store(FOLDER), "https://127.0.0.1:1")
        assert "stored anchors" in str(check.raises(StorageError, again.anchors))
        again = Agent(Store(FOLDER), "https://127.0.0.1:1", trust=[OLD.der])
        assert again.anchors() == [OLD.der]
    rollover.adopt(again, again.anchors(), [OLD.der])
    assert Agent(Store(FOLDER), "https://127.0.0.1:1").anchors() == [OLD.der]
    clean()
    nothing = Agent(records(), "https://127.0.0.1:1")
    assert "nothing to trust" in str(check.raises(UsageError, nothing.anchors))
    clean()


def test_given_anchors_count_until_they_are_replaced():
    agent = Agent(records(), "https://127.0.0.1:1", trust=[OLD.der])
    assert agent.anchors() == [OLD.der]
    # Nothing is stored before a server was verified.
    assert agent.store.load("anchors") is None
    agent.store.save("anchors", pack(agent.voucher, NEW.der))
    assert agent.anchors() == [NEW.der]
    other = Agent(agent.store, "https://127.0.0.1:1", trust=[OLD_WITH_NEW.der])
    assert other.anchors() == [OLD_WITH_NEW.der]
    assert Agent(agent.store, "https://127.0.0.1:1").anchors() == [NEW.der]
    clean()

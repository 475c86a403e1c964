"""Which roots become anchors: linked ones, and nothing that a link does not prove."""

import binascii
import hashlib
import os

import check
from est import asn1, clock, cms, der, keys, parts, rollover, run, x509
from est.agent import Agent
from est.errors import NotTrusted, PeerError, StorageError, UsageError
from est.store import Store, pack, unpack
from test_messages import DAY, KEY, NOW, OTHER, certificate

FOLDER = "/tmp/est-rollover-%d" % (int.from_bytes(os.urandom(4), "big"))
CA = (check.BASIC_CONSTRAINTS, der.sequence(der.tlv(asn1.BOOLEAN, b"\xff")))


def root(key=KEY, signer=None, subject="CN=root", issuer=None, start=-DAY, end=DAY):
    """A self-signed root, or what `signer` says of `key`."""
    return certificate(
        subject, issuer or subject, key, signer or key, start=start, end=end, extra=[CA]
    )


STRAY = keys.P256Key(bytes(30) + b"\2\1")
OLD = root()
NEW = root(OTHER, end=2 * DAY)
NEW_WITH_OLD = root(OTHER, KEY)
OLD_WITH_NEW = root(KEY, OTHER)


class FakeAgent:
    """What est.rollover needs of an est.agent.Agent."""

    url = "https://127.0.0.1:1"
    timeout = 1
    ca = None

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
    rollover._verified = lambda agent, anchors: check.steps(verified)
    try:
        return run(function(*arguments))
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


def test_an_intermediate_stays_with_its_root():
    """Servers forget to offer theirs, or to send it."""
    middle = certificate("CN=middle", "CN=root", STRAY, KEY, extra=[CA])
    stray = certificate("CN=stray", "CN=elsewhere", STRAY, OTHER, extra=[CA])
    check_chosen([OLD, middle], [OLD, middle, stray], [OLD], verified=True)
    check_chosen([OLD, NEW, middle], [middle, OLD], [OLD, NEW, OLD_WITH_NEW, NEW_WITH_OLD])
    # It does not outlive its root.
    new = root(OTHER, subject="CN=new", end=2 * DAY)
    check_chosen([new], [new, middle], [new], verified=True)


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
        assert one.not_after < clock.unix_time(2014, 5, 10, 0, 0, 0)
        check.raises(NotTrusted, one.check, NOW)
    for link, issuer in ((new_with_old, old), (old_with_new, new)):
        check.raises(NotTrusted, link.check_signature, issuer)
    # Not even when they were fresh.
    for now in (NOW, clock.unix_time(2013, 6, 1, 0, 0, 0)):
        check_chosen([old], [old], offered, now=now)


class Rollovers:
    """`count` of them: count + 1 roots, and for each the links (NewWithOld, OldWithNew)."""

    def __init__(self, count, dated=True, named=False):
        self.keys = [keys.P256Key(bytes(30) + bytes([1, at])) for at in range(count + 1)]
        self.dated = dated
        self.named = named
        self.roots = [self.link(at, at) for at in range(count + 1)]
        self.links = [(self.link(at + 1, at), self.link(at, at + 1)) for at in range(count)]

    def link(self, of, by, **changes):
        """What root `by` says of the key of root `of`; it begins with that root."""
        values = {
            "subject": "CN=%d" % of if self.named else "CN=root",
            "issuer": "CN=%d" % by if self.named else "CN=root",
            "start": (of - 14) * DAY if self.dated else -DAY,
        }
        values.update(changes)
        return root(self.keys[of], self.keys[by], **values)

    def flat(self):
        return [link for pair in self.links for link in pair]


def succeed(anchors, offered, now=NOW):
    """(DER of the successors, what was logged)."""
    said = []
    return rollover.successors(ders(anchors), ders(offered), now, said.append), " ".join(said)


def check_not_adopted(word, anchor, offered):
    found, said = succeed([anchor], offered)
    assert not found, said
    assert "is not trusted" in said
    assert word in said, said


class Checks:
    """Counts the checks of signatures; `real`, or none of them passes."""

    def __init__(self, real=True):
        self.count = 0
        self.real = real

    def __enter__(self):
        self.verify = x509.verify
        x509.verify = self
        return self

    def __exit__(self, *error):
        x509.verify = self.verify

    def __call__(self, *arguments):
        self.count += 1
        return self.real and self.verify(*arguments)


def test_rollovers_slept_through():
    for count in (2, 3, 12):
        for named in (False, True):
            slept = Rollovers(count, named=named)
            old, new = slept.roots[0], slept.roots[-1]
            # The roots between are known by their links alone.
            offered = [new] + slept.flat()
            assert succeed([old], offered) == ([new.der], "")
            assert succeed([old], offered[::-1]) == ([new.der], "")
            check_chosen([new, old], [old], offered)
            check_chosen([new], [old], offered, verified=True)
            # All that are offered are adopted, the nearest first.
            with Checks() as checks:
                found, _ = succeed([old], slept.roots + slept.flat())
            assert found == ders(slept.roots[1:])
            assert checks.count <= 6 * count, checks.count
            # Nothing leads back.
            found, said = succeed([new], slept.roots + slept.flat())
            assert not found
            assert "older than what is trusted" in said


def test_rollovers_that_no_date_puts_in_order():
    slept = Rollovers(12, dated=False)
    # Nine that look like links of the last roots, and are tried at each hop.
    junk = [root(key, STRAY) for key in slept.keys[4:]]
    with Checks() as checks:
        found, _ = succeed(slept.roots[:1], slept.roots + slept.flat() + junk)
    assert set(found) == set(ders(slept.roots[1:]))
    assert checks.count <= 320, checks.count


def failing(slept, of, by):
    """Certificates that say of the key of root `of` what root `by` does not, and why."""
    forged = bytearray(slept.link(of, by).der)
    forged[-1] ^= 1

    class Broken:
        der = b"\x30\x03\x02\x01\x01"

    return (
        (x509.Certificate(forged), "was not signed by"),
        (root(slept.keys[of], STRAY), "was not signed by"),
        (slept.link(of, by, start=-3 * DAY, end=-2 * DAY), "expired"),
        (slept.link(of, by, start=2 * DAY, end=3 * DAY), "not valid yet"),
        (slept.link(of, by, issuer="CN=else"), "no trusted certificate named CN=else"),
        (certificate("CN=root", "CN=root", slept.keys[of], slept.keys[by]), "is no CA"),
        (Broken, "left out"),
    )


def test_a_link_that_fails_is_passed_over():
    slept = Rollovers(3)
    old, _, _, new = slept.roots
    for of, by in ((2, 1), (1, 2)):
        bad = [one for one, _ in failing(slept, of, by)]
        for offered in (bad + slept.flat(), slept.flat() + bad + slept.flat()):
            assert succeed([old], offered + [new])[0] == [new.der]
    # And all of them at every hop of many.
    slept = Rollovers(12)
    offered = slept.flat() + slept.roots[-1:]
    for at in range(12):
        offered += [one for one, _ in failing(slept, at + 1, at)][:: 1 + at % 3]
        offered += [one for one, _ in failing(slept, at, at + 1)][:: 1 + at % 2]
    assert succeed(slept.roots[:1], offered)[0] == [slept.roots[-1].der]


def test_a_hop_that_is_missing():
    for named, word in ((False, "was not signed by"), (True, "no trusted certificate named CN=2")):
        slept = Rollovers(3, named=named)
        old, _, _, new = slept.roots
        for at in range(3):
            links = slept.flat()
            del links[2 * at : 2 * at + 2]
            check_not_adopted("nothing links it" if at == 2 else word, old, links + [new])
        # The root between is as good as before.
        found, said = succeed([old], slept.flat()[:2] + slept.flat()[4:] + slept.roots)
        assert found == [slept.roots[1].der], said


def test_a_hop_that_fails():
    slept = Rollovers(2)
    old, _, new = slept.roots
    for of, by in ((2, 1), (1, 2)):
        links = [one for one in slept.flat() if one is not slept.links[1][of < by]]
        for one, word in failing(slept, of, by):
            if of < by and word.startswith("no trusted"):
                word = "nothing links it"  # it vouches for the old root under another name
            check_not_adopted(word, old, links + [one, new])


def test_a_hop_in_one_direction():
    for count in (1, 3):
        slept = Rollovers(count)
        for at in range(count):
            for direction in (0, 1):
                links = slept.flat()
                del links[2 * at + direction]
                word = "is not trusted"
                if at == count - 1:
                    word = ("nothing links it", "does not vouch for the old root")[direction]
                check_not_adopted(word, slept.roots[0], links + slept.roots[-1:])


def test_a_new_root_may_end_earlier():
    old = root(start=-2 * DAY, end=3 * DAY)
    new = root(OTHER, start=-DAY, end=2 * DAY)
    offered = [new, root(OTHER, KEY), root(KEY, OTHER, start=-2 * DAY)]
    assert succeed([old], offered) == ([new.der], "")
    assert "older than what is trusted" in succeed([new], offered + [old])[1]


def test_a_root_that_was_given_up_has_no_successors():
    """Whoever stole its key can link it with any root, and has the links that are published."""
    for dated in (True, False):
        slept = Rollovers(1, dated)
        old, new = slept.roots
        loot = [
            root(STRAY, start=0),
            root(STRAY, slept.keys[0], start=0),
            root(slept.keys[0], STRAY, start=0),
            # It may call the old root young.
            root(slept.keys[1], slept.keys[0], start=0),
        ]
        # Whoever trusts the old root follows the thief.
        assert succeed([old], slept.flat() + loot)[0] == [loot[0].der]
        if dated:
            young = root(slept.keys[0], start=0)
            check_not_adopted("was not signed by", new, slept.flat() + loot + [young])
            check_not_adopted("older than what is trusted", new, slept.flat() + [young])
    # Where links begin when they were made, the old root tells its age itself.
    old = root(start=-3 * DAY)
    new = root(OTHER, start=-2 * DAY)
    links = [root(OTHER, KEY), root(KEY, OTHER)]
    loot = [root(STRAY, start=0), root(STRAY, KEY, start=0), root(KEY, STRAY, start=0)]
    check_not_adopted("older than what is trusted", new, links + loot + [old])


def test_a_flood_is_bounded():
    slept = Rollovers(12)
    stray = root(STRAY).der
    flood = []
    for at in range(400):
        flood.append(x509.Certificate(stray[:-2] + bytes([at >> 8, at & 0xFF])))
    offered = slept.roots + slept.flat() + flood
    # The names are right; no signature is.
    with Checks(real=False) as checks:
        found, said = succeed([OLD], offered)
        assert not found
        assert said == ""  # what is no root is not told
    assert checks.count == 320, checks.count
    # Who has no trusted key cannot have more than two of each checked.
    few = slept.flat()[2:] + slept.roots[1:]
    with Checks() as checks:
        assert not succeed(slept.roots[:1], few)[0]
    assert len(few) < checks.count <= 2 * len(few), checks.count


def test_names_that_cannot_be_told():
    bad = [
        x509.Certificate(one.der.replace(b"\x31\x0d\x30\x0b", b"\x04\x0d\x30\x0b"))
        for one in (NEW, NEW_WITH_OLD)
    ]
    check.raises(PeerError, str, bad[0])
    found, said = succeed([OLD], bad + [NEW, OLD_WITH_NEW, NEW_WITH_OLD])
    assert found == [NEW.der]
    assert "left out" in said


def test_anchors_are_few():
    slept = Rollovers(12)
    offered = slept.roots + slept.flat()
    old = slept.roots[0]
    check_chosen(slept.roots[5:], [old], offered, verified=True)
    # One that the server may need stays, and so it does the next time.
    kept = slept.roots[6:] + [old]
    check_chosen(kept, [old], offered)
    assert check_chosen(kept, kept, offered) == ""
    # Of a server that others verified, too.
    web = root(subject="CN=web")
    found, _, _ = choose([web], offered, first=True, verified=True)
    assert ders(found) == ders(slept.roots[5:])


def records():
    os.mkdir(FOLDER)
    return Store(FOLDER)


def clean():
    for name in os.listdir(FOLDER):
        os.remove(FOLDER + "/" + name)
    os.rmdir(FOLDER)


def test_roots_that_lead_nowhere_are_taken_out():
    """They cannot vouch for anything, and parsed again they would fill the heap."""
    lone = [root(STRAY, subject="CN=%d" % number) for number in range(3)]
    kept = [OLD, NEW, OLD_WITH_NEW, NEW_WITH_OLD]
    offered = ders(lone[:1] + kept[:3] + lone[1:] + kept[3:])
    agent = FakeAgent()
    found, _ = at(NOW, False, rollover._chosen, agent, [OLD.der], offered, False, [])
    assert found == ders([OLD, NEW]) and offered == ders(kept)
    assert " ".join(agent.said).count("nothing links it") == 3


def test_no_room_for_ca_certificates():
    def full(*arguments):
        raise MemoryError("memory allocation failed")

    agent = FakeAgent()
    offered = [OLD.der, NEW.der]
    adopt = rollover.adopt
    rollover.adopt = full
    try:
        assert run(parts.adopt(agent, [OLD.der], offered)) is None
    finally:
        rollover.adopt = adopt
    assert not offered
    assert agent.said == ["2 CA certificates are left out: memory allocation failed"]


def test_power_cut_leaves_old_or_new_trust():
    agent = Agent(records(), "https://127.0.0.1:1", trust=[OLD.der])
    run(rollover.adopt(agent, agent.anchors(), [OLD.der]))
    assert unpack(agent.store.load("anchors"))[1:] == [OLD.der]
    offered = ders([OLD, NEW, OLD_WITH_NEW, NEW_WITH_OLD])
    at(NOW, False, rollover.adopt, agent, agent.anchors(), offered)
    assert agent.anchors() == [OLD.der, NEW.der]
    path = FOLDER + "/anchors.1"
    with open(path, "rb") as file:
        whole = file.read()
    # tests/unit/test_store.py cuts at every octet.
    for size in list(range(0, len(whole) - 1, 9)) + [len(whole) - 1, len(whole)]:
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
    run(rollover.adopt(agent, agent.anchors(), [OLD.der]))
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
    run(rollover.adopt(again, again.anchors(), [OLD.der]))
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
    agent.store.save("anchors", pack({"voucher": agent.voucher.hex(), "checked": 0}, NEW.der))
    assert agent.anchors() == [NEW.der]
    other = Agent(agent.store, "https://127.0.0.1:1", trust=[OLD_WITH_NEW.der])
    assert other.anchors() == [OLD_WITH_NEW.der]
    assert Agent(agent.store, "https://127.0.0.1:1").anchors() == [NEW.der]
    clean()


class Offering:
    """In place of a Client: the server that TLS does not verify any more."""

    est = None

    def __init__(self, offered):
        self.offered = offered

    def steps(self, operation):
        return check.steps(self.offered)

    def close(self):
        pass


def test_what_judges_does_not_follow_the_anchors_of_tls():
    agent = Agent(records(), "https://127.0.0.1:1", trust=[OLD.der])
    own = root(STRAY, subject="CN=own").der
    agent.connect = lambda anchors, bootstrap: Offering(
        ders([OLD, NEW, OLD_WITH_NEW, NEW_WITH_OLD])
    )
    agent.load("anchors")
    given = {"voucher": "", "given": agent.voucher.hex(), "checked": 0}
    agent.store.save("anchors", pack(given, own))
    agent._start()
    assert agent.judges() == [own]
    at(NOW, True, rollover.follow, agent)
    assert agent.judges() == [own]
    # Where they are the anchors of TLS, those that succeed them count, too.
    agent.store.save("anchors", pack({"voucher": agent.voucher.hex(), "checked": 0}, OLD.der))
    assert at(NOW, True, rollover.follow, agent)
    assert agent.anchors() == [NEW.der, OLD.der]
    clean()

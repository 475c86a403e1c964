"""Records as est 0.1 stored them are taken over, whenever the power goes."""

import hashlib
import os

import check
from est import asn1, der, layout1, store
from est.agent import Agent
from est.errors import OtherLayout, StorageError
from test_messages import DAY, KEY, NOW, OTHER, certificate

LEAF = certificate("CN=leaf", "CN=root", OTHER, KEY).der
MIDDLE = certificate("CN=middle", "CN=root", KEY, KEY, 0).der
VOUCHER = bytes(range(32))
ANCHORS = [certificate("CN=root", "CN=root", KEY, KEY, 1).der, MIDDLE]


class PowerCut(Exception):
    """The power goes."""


class Folder:
    """Records in a new folder, in which writing or removing number `cut` from 0 fails."""

    def __init__(self):
        self.path = check.folder("layout1")

    def old(self, name, generation, *items):
        """Store a record as est 0.1 did: EST1, generation, length, payload, SHA-256."""
        payload = der.sequence(*[der.octets(item) for item in items])
        data = b"EST1" + generation.to_bytes(4, "big") + len(payload).to_bytes(4, "big") + payload
        self.write("%s.%d" % (name, (generation + 1) % 2), data + hashlib.sha256(data).digest())

    def read(self, name):
        with open(self.path + "/" + name, "rb") as file:
            return file.read()

    def write(self, name, data):
        with open(self.path + "/" + name, "wb") as file:
            file.write(data)

    def names(self):
        return sorted([name for name in os.listdir(self.path) if name != "est.lock"])

    def records(self):
        return store.Store(self.path)

    def upgraded(self):
        records = self.records()
        layout1.upgrade(records)
        return records

    def items(self, name):
        # By a Store that knows nothing of the layout before.
        return store.unpack(self.records().load(name))


def all_of(folder, asked=b"d" * 32, until=b"", key=KEY.der(), request=b"request"):
    folder.old("identity", 4, b"older key", b"older leaf")
    folder.old("identity", 5, OTHER.der(), LEAF, MIDDLE)
    folder.old("anchors", 1, VOUCHER, *ANCHORS)
    folder.old("pending", 1, asked, until, key, request)


def test_all_records():
    folder = Folder()
    all_of(folder)
    check.raises(OtherLayout, folder.records().load, "identity")
    folder.upgraded()
    meta, *rest = folder.items("identity")
    assert rest == [OTHER.der(), LEAF, MIDDLE]
    assert (meta["not_before"], meta["not_after"]) == (NOW - DAY, NOW + DAY)
    assert meta["generation"] == 1
    assert folder.items("anchors") == [{"voucher": VOUCHER.hex(), "checked": 0}] + ANCHORS
    meta, *rest = folder.items("order")
    assert rest == [KEY.der(), b"request"]
    assert meta["kind"] == "simplereenroll"
    assert meta["leaf"] == store.digest(LEAF)
    assert meta["state"] == "made"
    # Nothing of the layout before is left, and both copies are of the present one.
    expected = [
        "%s.%d" % (name, slot) for name in ("anchors", "identity", "order") for slot in (0, 1)
    ]
    assert folder.names() == expected
    assert {folder.read(name)[:4] for name in expected} == {b"EST2"}
    before = [folder.read(name) for name in expected]
    folder.upgraded()
    assert [folder.read(name) for name in expected] == before
    check.clean(folder.path)


def test_an_agent_goes_on_with_it():
    folder = Folder()
    all_of(folder)
    events = []
    agent = Agent(
        folder.records(), "https://127.0.0.1:1", on_event=lambda *event: events.append(event)
    )
    chain, key = agent.identity()
    assert chain == [LEAF, MIDDLE]
    assert key == OTHER.der()
    # What vouched for the anchors still does, and no other fingerprint.
    for trust, anchors in ((VOUCHER, ANCHORS), (None, ANCHORS), (bytes(32), [])):
        assert Agent(folder.records(), "https://127.0.0.1:1", trust=trust).vouched() == anchors
    current = agent.resume()
    assert (current.kind, current.key, current.request) == (
        "simplereenroll",
        KEY.der(),
        b"request",
    )
    assert current.meta["leaf"] == store.digest(LEAF)
    assert not current.answer
    check.clean(folder.path)


def test_a_pending_request_is_taken_over_whatever_its_digest():
    for asked in (b"", bytes(32), b"\xff" * 32):
        for until in (b"", (60 << 40 | NOW).to_bytes(9, "big")):
            folder = Folder()
            folder.old("pending", 3, asked, until, KEY.der(), b"request")
            folder.upgraded()
            meta, *rest = folder.items("order")
            assert rest == [KEY.der(), b"request"]
            # There is no identity: it is for a first certificate.
            assert (meta["kind"], meta["leaf"]) == ("simpleenroll", "")
            assert meta["state"] == "made"
            check.clean(folder.path)


def test_a_key_that_the_server_makes():
    for identity in (False, True):
        folder = Folder()
        if identity:
            folder.old("identity", 1, OTHER.der(), LEAF)
        folder.old("pending", 1, bytes(32), b"", b"", b"request")
        folder.upgraded()
        meta, *rest = folder.items("order")
        assert rest == [b"", b"request"]
        assert meta["kind"] == "serverkeygen"
        check.clean(folder.path)


def test_only_what_is_there():
    folder = Folder()
    folder.upgraded()
    assert folder.names() == []
    folder.old("anchors", 1, VOUCHER, *ANCHORS)
    folder.upgraded()
    assert folder.names() == ["anchors.0", "anchors.1"]
    assert folder.items("identity") == folder.items("order") == []
    check.clean(folder.path)


def test_the_newer_copy_counts_and_damage_does_not():
    folder = Folder()
    folder.old("identity", 8, b"older key", LEAF)
    folder.old("identity", 9, OTHER.der(), LEAF)
    whole = {name: folder.read(name) for name in folder.names()}
    assert sorted(whole) == ["identity.0", "identity.1"]
    newest = whole["identity.0"]
    folder.upgraded()
    assert folder.items("identity")[1] == OTHER.der()
    for damaged in (b"", newest[:3], newest[:-1], newest[:-1] + b"?", b"EST9" + newest[4:]):
        for name in whole:
            folder.write(name, whole[name])
        folder.write("identity.0", damaged)
        folder.upgraded()
        assert folder.items("identity")[1] == b"older key", damaged
    # Both are damaged: that is damage as ever, and no other layout.
    for name in whole:
        folder.write(name, whole[name][:-1] + b"?")
    folder.upgraded()
    check.raises(StorageError, folder.records().load, "identity")
    assert folder.read("identity.0") == whole["identity.0"][:-1] + b"?"
    check.clean(folder.path)


def test_malformed_payloads_are_no_record():
    folder = Folder()
    payload = der.sequence(der.octets(b"key"), der.octets(LEAF))
    for bad in (payload[:-1], payload[1:], b"", der.sequence(asn1.integer(1))):
        data = b"EST1" + (1).to_bytes(4, "big") + len(bad).to_bytes(4, "big") + bad
        data += hashlib.sha256(data).digest()
        folder.write("identity.0", data)
        folder.upgraded()
        assert folder.read("identity.0") == data
        check.raises(OtherLayout, folder.records().load, "identity")
    check.clean(folder.path)


def test_records_that_lack_something():
    # The checksum is good, and yet it is no record.
    for name in ("identity", "anchors", "pending"):
        for items in (
            (),
            (b"",),
            (b"key",),
            (b"key", b"no certificate"),
            (b"d", b"", b""),
            (b"d", b"", b"key", b""),
        ):
            if name == "anchors" and items:
                continue
            folder = Folder()
            folder.old(name, 1, *items)
            folder.upgraded()
            folder.upgraded()
            for new in ("identity", "anchors", "order"):
                assert folder.items(new) == []
            assert folder.names() == []
            check.clean(folder.path)
    folder = Folder()
    folder.old("identity", 1, b"key")
    folder.old("pending", 1, b"d", b"", KEY.der(), b"request", b"and more")
    folder.upgraded()
    assert folder.items("order")[1:] == [KEY.der(), b"request"]
    check.clean(folder.path)


def test_a_damaged_request_is_erased():
    # It may hold a key, and nothing overwrites it.
    for good in (0, 1, 2):
        folder = Folder()
        for slot in range(2):
            folder.old("pending", 1 + slot, b"d", b"", KEY.der(), b"request")
        for slot in range(good, 2):
            whole = folder.read("pending.%d" % slot)
            folder.write("pending.%d" % slot, whole[:-1] + b"?")
        folder.upgraded()
        assert bool(folder.items("order")) == (good > 0)
        assert folder.names() == (["order.0", "order.1"] if good else [])
        check.clean(folder.path)


def test_a_file_that_cannot_be_erased_stops_nothing():
    folder = Folder()
    all_of(folder)
    os.mkdir(folder.path + "/pending.1")  # instead of the older copy
    folder.write("pending.1/file", b"")
    said = []
    for _ in range(2):
        agent = Agent(folder.records(), "https://127.0.0.1:1", log=said.append)
        assert agent.identity().chain == [LEAF, MIDDLE]
        assert agent.resume().request == b"request"
        assert "pending.1" in said.pop()
    assert "pending.0" not in folder.names()
    check.clean(folder.path)


def test_what_the_present_layout_has_is_not_replaced():
    # The power went between the first new copy and the rest.
    folder = Folder()
    folder.old("identity", 9, OTHER.der(), LEAF)
    folder.old("anchors", 9, VOUCHER, *ANCHORS)
    folder.old("pending", 9, bytes(32), b"", KEY.der(), b"request")
    records = folder.records()
    records.replaces = (b"EST1",)
    for name in ("identity", "anchors", "order"):
        records.save(name, store.pack({"mine": name}, b"key"))
    folder.upgraded()
    for name in ("identity", "anchors", "order"):
        assert folder.items(name) == [{"mine": name}, b"key"]
    assert folder.names() == ["anchors.1", "identity.1", "order.0"]
    check.clean(folder.path)


def cut_at(folder, step, torn):
    """Upgrade, and cut the power at writing or removing number `step`; whether it came so far."""
    records = folder.records()
    counted = [0]
    usual = records.save
    erase = layout1._erase

    def due():
        counted[0] += 1
        return counted[0] == step

    def save(name, payload):
        if due():
            # Which copy a save writes is est.store's; what it writes is torn.
            before = {one: folder.read(one) for one in folder.names()}
            usual(name, payload)
            for one in folder.names():
                whole = folder.read(one)
                if before.get(one) != whole:
                    folder.write(one, whole[: len(whole) * torn // 4])
            raise PowerCut
        usual(name, payload)

    def erasing(records, path):
        if due():
            raise PowerCut
        return erase(records, path)

    records.save = save
    layout1._erase = erasing
    try:
        layout1.upgrade(records)
        return False
    except PowerCut:
        return True
    finally:
        layout1._erase = erase


def test_a_cut_leaves_the_record_before_or_the_new_one():
    cuts = 0
    for torn in range(5):
        step = 1
        going = True
        while going:
            folder = Folder()
            all_of(folder)
            going = cut_at(folder, step, torn)
            # And once more while it is mended.
            cut_at(folder, 1 + step % 3, torn)
            folder.upgraded()
            assert folder.items("identity")[1:] == [OTHER.der(), LEAF, MIDDLE], (step, torn)
            assert folder.items("anchors")[1:] == ANCHORS, (step, torn)
            assert folder.items("order")[1:] == [KEY.der(), b"request"], (step, torn)
            assert not [name for name in folder.names() if name[:7] == "pending"]
            check.clean(folder.path)
            cuts += going
            step += 1
    # Two writes for each record, and the old pending is removed.
    assert cuts == 5 * 7, cuts


def test_without_the_part_it_is_told_and_left():
    folder = Folder()
    all_of(folder)
    before = {name: folder.read(name) for name in folder.names()}
    said = []

    def live():
        for trust in (ANCHORS, None):
            agent = Agent(
                folder.records(),
                "https://127.0.0.1:1",
                trust=trust,
                on_event=lambda event, detail: said.append(detail.get("text", "")),
            )
            check.raises(OtherLayout, agent.identity)
            check.raises(OtherLayout, agent.enroll)
            assert agent.step() > 0

    check.without("layout1", live)
    for name in before:
        assert folder.read(name) == before[name]
    assert [text for text in said if "another version" in text]
    # Installed, it goes on.
    assert Agent(folder.records(), "https://127.0.0.1:1").identity().chain == [LEAF, MIDDLE]
    check.clean(folder.path)

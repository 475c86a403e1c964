"""Records on storage: every cut and every damage leaves the record before or the new one."""

import hashlib
import os

import check
from est import store
from est.errors import OtherLayout, StorageError, UsageError

FOLDER = "/tmp/est-store-%d" % (int.from_bytes(os.urandom(4), "big"))


def fresh():
    """A Store in a new folder, to be removed by `clean`."""
    os.mkdir(FOLDER)
    return store.Store(FOLDER)


def clean():
    check.clean(FOLDER)


def framed(magic, generation, payload, name=b"x"):
    """A copy of record x, or another, as est.store describes it."""
    payload = name + payload
    data = magic + generation.to_bytes(4, "big") + len(payload).to_bytes(4, "big") + payload
    return data + hashlib.sha256(data).digest()


def unreadable(slot):
    """Make a copy that opening or reading fails for: a folder lies in its place."""
    try:
        os.remove(FOLDER + "/x.%d" % slot)
    except OSError:
        pass  # there was none
    os.mkdir(FOLDER + "/x.%d" % slot)


def read(slot):
    with open(FOLDER + "/x.%d" % slot, "rb") as file:
        return file.read()


def write(slot, data):
    with open(FOLDER + "/x.%d" % slot, "wb") as file:
        file.write(data)


def test_save_load_erase():
    records = fresh()
    assert records.load("x") is None
    for number in range(5):
        records.save("x", b"%d" % number)
        assert records.load("x") == b"%d" % number
    records.save("y", b"other")
    records.erase("x")
    records.erase("x")
    assert records.load("x") is None
    assert records.load("y") == b"other"
    check.raises(UsageError, records.save, "x", bytes(40000))
    check.raises(StorageError, store.Store("/nowhere").save, "x", b"")
    clean()


def test_a_write_cut_anywhere_leaves_the_record_before():
    records = fresh()
    records.save("x", b"old")
    records.save("x", b"older is overwritten next")
    before = read(0)
    records.save("x", b"new")
    whole = read(0)
    assert whole != before
    for size in range(len(whole)):
        write(0, whole[:size])
        assert records.load("x") == b"older is overwritten next"
    for at in range(len(whole)):
        write(0, whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :])
        assert records.load("x") == b"older is overwritten next"
    records.save("x", b"again")
    assert records.load("x") == b"again"
    assert b"older" in read(1)
    clean()


def test_damage_is_not_taken_for_nothing():
    records = fresh()
    records.save("x", b"first")
    whole = read(0)
    for size in range(len(whole)):
        write(0, whole[:size])
        assert records.load("x") is None
        assert records.damaged
        check.raises(StorageError, records.load, "x", 0)
    assert records.load("y", 0) is None
    assert not records.damaged
    write(0, whole[:-1] + bytes((whole[-1] ^ 1,)))
    check.raises(StorageError, records.load, "x")
    write(0, whole)
    records.save("x", b"second")
    write(1, b"\xff" + read(1)[1:])
    assert records.load("x") == b"first"
    assert records.damaged
    write(0, b"")
    check.raises(StorageError, records.load, "x")
    write(1, b"")
    check.raises(StorageError, records.load, "x")
    records.save("x", b"third")
    assert records.load("x") == b"third"
    assert records.damaged  # the other file still is
    records.save("x", b"fourth")
    assert records.load("x") == b"fourth"
    assert not records.damaged
    clean()


def test_the_frame():
    records = fresh()
    records.save("x", b"first")
    assert read(0) == framed(b"EST2", 1, b"first")
    records.save("x", b"")
    assert read(1) == framed(b"EST2", 2, b"")
    assert records.load("x") == b""
    clean()


def test_octets_after_the_frame_mean_nothing():
    # On FAT a shorter record is written over a longer one, in place.
    records = fresh()
    for payload in (b"first", b"second"):
        records.save("x", payload)
    for rest in (b"\0", b"rest", b"\xff" * 5000, read(0)):
        write(1, framed(b"EST2", 2, b"second") + rest)
        assert records.load("x") == b"second"
        assert not records.damaged
    clean()


def test_a_copy_of_zeros_is_damage():
    # Such as ext4 may leave after a cut; on FAT it is none, see test_fat.py.
    records = fresh()
    for size in (44, 8192):
        write(0, bytes(size))
        write(1, bytes(size))
        check.raises(StorageError, records.load, "x")
        assert records.damaged
    records.save("x", b"first")
    assert records.load("x") == b"first"
    clean()


def test_a_copy_of_another_record_is_damage():
    # A cut on FAT can give two files the same clusters.
    records = fresh()
    records.save("x", b"mine")
    records.save("y", b"other")
    records.save("y", b"other, later")
    for slot in (0, 1):
        with open(FOLDER + "/y.%d" % slot, "rb") as file:
            write(1, file.read())
        assert records.load("x") == b"mine"
        assert records.damaged
    records.save("x", b"mine again")
    assert records.load("x") == b"mine again"
    assert not records.damaged
    # The name ends where the payload begins.
    write(0, framed(b"EST2", 9, b"y", b""))
    write(1, framed(b"EST2", 9, b"", b""))
    check.raises(StorageError, records.load, "x")
    clean()


def test_erasing_goes_on_after_a_copy_that_cannot_be_erased():
    for slot in (0, 1):
        records = fresh()
        records.save("x", b"first")
        records.save("x", b"second")
        unreadable(slot)
        error = check.raises(StorageError, records.erase, "x")
        assert "cannot erase" in str(error)
        assert _content(1 - slot) == b""
        check.raises(StorageError, records.load, "x")
        clean()


def test_a_changed_octet_is_damage():
    records = fresh()
    records.save("x", b"old")
    records.save("x", b"new")
    whole = read(1)
    random = check.numbers(3)
    for at in range(len(whole)):
        # In the magic each value: one digit more is another layout, if the checksum says so.
        for value in range(256) if at < 4 else [next(random) & 0xFF for _ in range(4)]:
            if value != whole[at]:
                write(1, whole[:at] + bytes((value,)) + whole[at + 1 :])
                assert records.load("x") == b"old", (at, value)
                assert records.damaged
    write(1, framed(b"ABC2", 2, b"new"))
    assert records.load("x") == b"old"
    assert records.damaged
    clean()


def test_sizes_that_lie():
    records = fresh()
    records.save("x", b"old")
    for size in (32769, 0x7FFFFFFF, 0xFFFFFFFF):
        data = b"EST2" + (2).to_bytes(4, "big") + size.to_bytes(4, "big") + b"xnew"
        write(1, data + hashlib.sha256(data).digest())
        assert records.load("x") == b"old"
        assert records.damaged
    clean()


def test_a_copy_that_cannot_be_read():
    # The other serves, and saving goes on in the third slot; nothing is lost meanwhile.
    for slot in (0, 1):
        records = fresh()
        records.save("x", b"first")
        records.save("x", b"second")
        unreadable(slot)
        assert records.load("x") == (b"second", b"first")[slot]
        assert records.damaged
        before = records.load("x")
        for number in range(5):
            payload = b"%d" % number
            # The newest copy is never the one that is written.
            newest = [at for at in (1 - slot, 2) if before in _content(at)]
            records.save("x", payload)
            assert before in _content(newest[0])
            assert records.load("x") == payload
            assert records.damaged
            before = payload
        os.rmdir(FOLDER + "/x.%d" % slot)
        assert records.load("x") == b"4"
        assert not records.damaged
        for payload in (b"again", b"and again"):
            records.save("x", payload)
            assert records.load("x") == payload
        records.erase("x")
        assert not [name for name in os.listdir(FOLDER) if name[:2] == "x."]
        clean()


def _content(slot):
    try:
        return read(slot)
    except OSError:
        return b""


def test_one_copy_that_cannot_be_read_is_not_nothing():
    # Unlike a first save that was cut: to enrol as if nothing was there could lose an identity.
    records = fresh()
    unreadable(0)
    check.raises(StorageError, records.load, "x")
    records.save("x", b"new")
    assert records.load("x") == b"new"
    assert records.damaged
    clean()


class Spoiling:
    """Files of which those whose names end in `spoiled` do not hold what was written."""

    FORM = "%s/%s.%d"

    def __init__(self, *spoiled):
        self.spoiled = spoiled

    def blank(self, file):
        return False

    def open(self, path):
        self.path = path
        return open(path, "wb")

    def done(self, file, path):
        assert path == self.path
        if path[-1] in self.spoiled:
            file.seek(13)
            file.write(b"?")


def test_a_write_that_reads_back_otherwise():
    records = fresh()
    records.files = Spoiling("0", "1")
    records.save("x", b"first")  # in the third slot
    assert records.load("x") == b"first"
    assert records.damaged
    records.files = Spoiling("0", "1", "2")
    error = check.raises(StorageError, records.save, "x", b"second")
    assert "damaged" in str(error)
    assert records.load("x") == b"first"
    records.files = Spoiling("0")
    records.save("x", b"third")
    assert records.load("x") == b"third"
    clean()


def test_a_spare_that_was_cut_is_none():
    """As a full disk leaves it; one that is damaged may have been the newest."""
    records = fresh()
    records.save("x", b"first")
    records.save("x", b"second")
    write(2, read(1)[:20])
    assert records.load("x") == b"second"
    assert not records.damaged
    write(2, read(1)[:-1] + b"?")
    assert records.load("x") == b"second"
    assert records.damaged
    clean()


def test_no_copy_can_be_written():
    records = fresh()
    records.save("x", b"first")
    before = read(0)
    for slot in (1, 2):
        unreadable(slot)
    error = check.raises(StorageError, records.save, "x", b"second")
    assert "cannot write" in str(error) and FOLDER in str(error)
    # The one that is there was not touched.
    assert read(0) == before
    assert records.load("x") == b"first"
    unreadable(0)
    check.raises(StorageError, records.save, "x", b"second")
    check.raises(StorageError, records.load, "x")
    clean()


def test_a_newer_layout_is_not_damage():
    for newer in ((0,), (1,), (2,), (0, 1)):
        records = fresh()
        records.save("x", b"old")
        records.save("x", b"new")
        for slot in newer:
            write(slot, framed(b"EST3", 7, b"of the future"))
        before = [_content(slot) for slot in (0, 1, 2)]
        for action in (
            lambda: records.load("x"),
            lambda: records.load("x", 0),
            lambda: records.save("x", b"newest"),
            lambda: records.erase("x"),
        ):
            error = check.raises(OtherLayout, action)
            assert "another version" in str(error) and "x.%d" % newer[0] in str(error)
            assert [_content(slot) for slot in (0, 1, 2)] == before
        # Another record goes on.
        records.save("y", b"other")
        assert records.load("y") == b"other"
        clean()


def test_an_older_layout_is_replaced_only_where_it_was_read():
    records = fresh()
    for slot in (0, 1):
        write(slot, framed(b"EST1", 7 + slot, b"old", b""))
    check.raises(OtherLayout, records.save, "x", b"new")
    records.replaces = (b"EST1",)
    records.save("x", b"new")
    # The older copy went, the newer one stays until there is another of the present layout.
    assert read(0) == framed(b"EST2", 9, b"new")
    assert read(1) == framed(b"EST1", 8, b"old", b"")
    assert store.Store(FOLDER).replaces == ()
    records.save("x", b"new")
    assert read(1) == framed(b"EST2", 10, b"new")
    clean()


def test_pack():
    meta = {"state": "made", "until": 1800000000, "leaf": ""}
    for items in ([], [b"a"], [b"a", b"", b"c" * 300], [bytes(range(256))] * 3):
        assert store.unpack(store.pack(meta, *items)) == [meta] + items
    assert store.unpack(None) == []
    assert store.unpack(b"") == []


def test_unpack_malformed():
    items = [{"kind": "simpleenroll", "since": 1}, b"key", b"", b"request" * 9]
    whole = store.pack(*items)
    # Between two items nothing tells that more were there.
    whole_items = {len(store.pack(*items[:count])): count for count in range(1, 5)}
    for size in range(1, len(whole)):
        count = whole_items.get(size)
        if count:
            assert store.unpack(whole[:size]) == items[:count]
        else:
            assert "malformed" in str(check.raises(StorageError, store.unpack, whole[:size]))
    check.mutated(store.unpack, whole)
    for bad in (
        b"\0",
        b"\0\0\0\0",
        b"\0\0\0\3abc",
        b"\x30\x05\x04",
        b"\xff\xff\xff\xff" + whole[4:],
        whole + b"\0",
    ):
        check.raises(StorageError, store.unpack, bad)

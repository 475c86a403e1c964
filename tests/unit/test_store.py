"""Records on storage: every cut and every damage leaves the record before or the new one."""

import os

import check
from est import store
from est.errors import StorageError, UsageError

FOLDER = "/tmp/est-store-%d" % (int.from_bytes(os.urandom(4), "big"))


def fresh():
    """A Store in a new folder, to be removed by `clean`."""
    os.mkdir(FOLDER)
    return store.Store(FOLDER)


def clean():
    for name in os.listdir(FOLDER):
        os.remove(FOLDER + "/" + name)
    os.rmdir(FOLDER)


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


def test_pack():
    assert store.unpack(store.pack(b"a", b"", b"c")) == [b"a", b"", b"c"]
    assert store.unpack(None) == []
    check.raises(StorageError, store.unpack, b"\x30\x05\x04")

"""Records on a FAT in memory: copies that share no sector but the tables, rewritten in place."""

import os

import check
from est import room, store
from est.errors import StorageError

try:
    import vfs
except ImportError:
    vfs = None

_SECTOR = 512
_SECTORS = 512


class Card:
    """A card of 256 KB in memory, which notes what is written; power goes after `left` sectors."""

    def __init__(self, data=None):
        self.data = data or bytearray(_SECTOR * _SECTORS)
        self.written = []
        self.left = -1

    def readblocks(self, block, buffer):
        buffer[:] = memoryview(self.data)[block * _SECTOR : block * _SECTOR + len(buffer)]

    def writeblocks(self, block, buffer):
        for at in range(len(buffer) // _SECTOR):
            if self.left == 0:
                return
            self.left -= 1
            self.written.append(block + at)
            start = (block + at) * _SECTOR
            self.data[start : start + _SECTOR] = buffer[at * _SECTOR : (at + 1) * _SECTOR]

    def ioctl(self, operation, argument):
        return {4: _SECTORS, 5: _SECTOR}.get(operation, 0)


def mounted(card, function):
    """The result of `function(Store)` with `card` at /card."""
    vfs.mount(vfs.VfsFat(card), "/card")
    try:
        return function(store.Store("/card"))
    finally:
        vfs.umount("/card")


def fresh():
    card = Card()
    vfs.VfsFat.mkfs(card)
    return card


def test_fat_is_found():
    def found(records):
        records.load("identity")
        return records.files.__name__

    assert mounted(fresh(), found) == "est.fat"
    # A folder of the system is none.
    records = store.Store("/tmp")
    records.load("identity")
    assert records.files.__name__ == "est.posix"


def test_save_load_erase():
    def live(records):
        assert records.load("identity") is None
        for number in range(7):
            records.save("identity", b"%d" % number * (1 + 700 * number))
            assert records.load("identity") == b"%d" % number * (1 + 700 * number)
            assert not records.damaged
        # Shorter again, in place: what stands behind the frame means nothing.
        records.save("identity", b"short")
        assert records.load("identity") == b"short"
        records.save("anchors", b"other")
        records.erase("identity")
        records.erase("identity")
        assert records.load("identity", 0) is None
        assert not records.damaged
        assert records.load("anchors") == b"other"
        records.save("identity", b"again")
        assert records.load("identity") == b"again"

    card = fresh()
    mounted(card, live)
    assert mounted(card, lambda records: records.load("identity")) == b"again"


def test_what_is_erased_is_not_left_on_the_card():
    card = fresh()

    def live(records):
        for _ in range(2):
            records.save("identity", b"the private key" * 90)
        records.erase("identity")

    mounted(card, live)
    assert b"private key" not in bytes(card.data)


def test_two_copies_share_no_sector():
    card = fresh()

    def live(records):
        records.load("identity")
        room.make(records)
        card.written.clear()
        room.make(records)
        assert not card.written  # once is enough
        by_copy = []
        for number in range(4):
            card.written.clear()
            records.save("identity", b"%d" % number * 6000)
            by_copy.append(set(card.written))
        return by_copy

    by_copy = mounted(card, live)
    # Two saves of one copy touch the same sectors, those of the other copy none of them.
    assert by_copy[0] == by_copy[2] and by_copy[1] == by_copy[3]
    assert not by_copy[0] & by_copy[1]
    assert len(by_copy[0]) >= 12


def test_other_records_share_no_sector():
    card = fresh()

    def live(records):
        records.load("identity")
        room.make(records)
        touched = set()
        for name in ("identity", "order", "aside", "anchors", "retry"):
            for _ in range(2):
                card.written.clear()
                records.save(name, bytes(8000))
                assert not touched & set(card.written), name
                touched |= set(card.written)

    mounted(card, live)


def test_a_cut_leaves_the_record_before_or_the_new_one():
    card = fresh()

    def begin(records):
        records.load("identity")
        room.make(records)
        records.save("identity", b"older" * 200)
        records.save("identity", b"old" * 500)

    mounted(card, begin)
    old = bytes(card.data)
    seen = set()
    cuts = 0
    while True:
        card = Card(bytearray(old))
        card.left = cuts

        def change(records):
            try:
                records.save("identity", b"new" * 600)
            except StorageError:
                pass  # it reads back what it wrote

        mounted(card, change)
        cut = card.left == 0
        card.left = -1
        found = mounted(card, lambda records: records.load("identity"))
        assert found in (b"old" * 500, b"new" * 600), cuts
        seen.add(found)
        # And it can be saved again.
        again = mounted(
            card, lambda records: records.save("identity", b"x") or records.load("identity")
        )
        assert again == b"x"
        if not cut:
            break
        cuts += 1
    assert cuts >= 4
    assert len(seen) == 2


def test_no_room():
    card = fresh()

    def full(records):
        records.save("identity", b"mine")
        with open("/card/large", "wb") as file:
            for _ in range(os.statvfs("/card")[3] - 20):
                file.write(bytes(_SECTOR))
        error = check.raises(StorageError, room.make, records)
        assert "room" in str(error)
        # What is stored stays in use.
        assert records.load("identity") == b"mine"

    mounted(card, full)


def test_room_on_other_file_systems():
    class Records:
        files = False
        path = "/somewhere"
        load = staticmethod(lambda name: None)

    class Os:
        pass

    kept = room.os
    room.os = Os
    try:
        for block, blocks in ((4096, 6), (512, 48), (4096, 5), (512, 47), (1, 0)):
            # Free blocks are counted in fragments, which may be smaller than blocks.
            Os.statvfs = lambda path: (1 << 20, block, 1 << 20, blocks, blocks, 0, 0, 0, 0, 255)
            if block * blocks >= 24576:
                room.make(Records)
            else:
                error = check.raises(StorageError, room.make, Records)
                assert "%d bytes" % (block * blocks) in str(error)
                assert "/somewhere" in str(error)
    finally:
        room.os = kept


if not vfs:
    # CPython has no FAT of its own: these tests are for MicroPython alone.
    for name in list(globals()):
        if name.startswith("test_"):
            del globals()[name]

"""Records on a FAT in memory: copies that share no sector but the tables, rewritten in place."""

import os

import check
from est import files, room, store
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


def test_only_a_copy_of_zeros_is_none():
    def live(records):
        room.reserve(records)
        for name in ("x", "identity"):
            assert records.load(name, 0) is None
            assert not records.damaged
        # A torn sector of an erase: the header is gone, and not the rest.
        for at in (12, 44, 100, 511, 512, 5000, 8191):
            with open("/card/order.d0/copy", "r+b") as file:
                file.write(bytes(at) + b"k" + bytes(8191 - at))
            assert records.load("identity") is None
            assert not records.damaged
            check.raises(StorageError, records.load, "order")
            # It is erased again when the board starts.
            room.reserve(records)
            assert records.load("order", 0) is None
            assert not records.damaged
            with open("/card/order.d0/copy", "rb") as file:
                assert file.read() == bytes(8192)

    mounted(fresh(), live)


def test_erasing_writes_only_what_the_record_took():
    card = fresh()

    def live(records):
        room.make(records)
        records.save("order", b"k" * 600)
        records.save("order", b"k" * 1400)
        card.written.clear()
        records.erase("order")
        return len(card.written)

    # Two sectors and three, and the entry of each file.
    assert mounted(card, live) == 7
    assert b"kk" not in bytes(card.data)


def test_names_take_one_entry_each():
    card = fresh()

    def live(records):
        records.load("identity")
        room.make(records)
        for name in ("identity", "order", "aside", "anchors", "retry"):
            records.files.open(records._file(name, 2)).close()

    mounted(card, live)
    data = bytes(card.data)
    for name in (b"IDENTITY", b"ORDER   ", b"ASIDE   ", b"ANCHORS ", b"RETRY   "):
        for slot in (b"D0 ", b"D1 ", b"D2 "):
            assert data.count(name + slot) == 1
    # The attribute of an entry that belongs to a long name is 15.
    root = data.index(b"IDENTITYD0 ") // _SECTOR * _SECTOR
    assert 15 not in [data[at + 11] for at in range(root, root + _SECTOR, 32) if data[at]]


def entry(card, name):
    """Where the entry of a file or folder of this name of 11 characters lies."""
    return bytes(card.data).index(name)


def test_what_a_cut_left_of_making_is_mended():
    def make(records):
        records.load("identity")
        room.make(records)
        records.save("identity", b"mine")
        records.save("identity", b"mine")
        records.save("anchors", b"trust")

    def kept(records):
        assert records.load("identity") == b"mine"
        assert records.load("anchors") == b"trust"
        room.make(records)
        for name in ("order", "retry", "aside"):
            for number in range(3):
                records.save(name, b"%d" % number * 4000)
                assert records.load(name) == b"%d" % number * 4000
                assert not records.damaged
                assert len(os.listdir("/card/%s.d%d" % (name, number % 2))) == 1
        assert records.load("identity") == b"mine"
        assert records.load("anchors") == b"trust"

    def file_in_place(records):
        os.remove("/card/order.d0/copy")
        os.rmdir("/card/order.d0")
        with open("/card/order.d0", "wb") as file:
            file.write(b"x")

    def no_copy(records):
        os.remove("/card/order.d0/copy")

    def empty(records):
        open("/card/order.d0/copy", "wb").close()

    card = fresh()
    mounted(card, make)
    whole = bytes(card.data)
    for spoil in (file_in_place, no_copy, empty):
        card = Card(bytearray(whole))
        mounted(card, spoil)
        mounted(card, kept)
    for name, at, octets in (
        (b"ORDER   D0 ", 26, b"\xf0\x0f"),  # a folder beyond the card
        (b"ORDER   D0 ", 26, b"\0\0"),
        (b"ORDER   D0 ", 26, b"\x05\0"),  # in another's clusters
        (b"ORDER   D0 ", 11, b"\0"),  # a file
        (b"ASIDE   D1 ", 11, b"\0"),
        (b"RETRY   D0 ", 26, b"\x01\0"),
    ):
        card = Card(bytearray(whole))
        where = entry(card, name) + at
        card.data[where : where + len(octets)] = octets
        mounted(card, kept)
    # A file whose clusters end too soon, or lie beyond the card.
    folder = entry(card, b"ORDER   D0 ")
    start = int.from_bytes(bytes(card.data[folder + 26 : folder + 28]), "little")
    copies = [at for at in range(0, len(whole), 32) if whole[at : at + 11] == b"COPY       "]
    assert len(copies) == 10 and start
    for copy in copies[2:6]:  # of order and aside
        for octets in (b"\xf0\x0f", b"\x01\0", b"\0\0"):
            card = Card(bytearray(whole))
            card.data[copy + 26 : copy + 28] = octets
            mounted(card, kept)


def test_a_broken_copy_beside_a_damaged_one_is_left():
    card = fresh()

    def make(records):
        records.load("identity")
        room.make(records)
        records.save("identity", b"mine")
        records.save("identity", b"mine")
        with open("/card/identity.d1/copy", "r+b") as file:
            file.write(b"?")

    mounted(card, make)
    copy = [at for at in range(0, len(card.data), 32) if card.data[at : at + 4] == b"COPY"][0]
    card.data[copy + 26 : copy + 28] = b"\xf0\x0f"
    before = bytes(card.data)

    def live(records):
        error = check.raises(StorageError, room.reserve, records)
        assert "identity.d0" in str(error)

    mounted(card, live)
    assert bytes(card.data) == before


def test_what_is_of_no_use_is_erased_at_the_start():
    good = {"kind": "simpleenroll", "leaf": "", "asked": "", "state": "made", "since": 1}
    noise = b"\x55" * 600

    def live(records):
        room.reserve(records)
        for name in ("order", "aside", "retry"):
            # One copy erased, and the sector of the other spoiled while it was.
            with open("/card/%s.d1/copy" % name, "r+b") as file:
                file.write(noise)
            check.raises(StorageError, records.load, name)
            room.reserve(records)
            assert records.load(name, 0) is None
            assert not records.damaged
        for name in ("order", "aside"):
            records.save(name, store.pack(good, b"key", b"request"))
            room.reserve(records)
            assert records.load(name)
        # What tells that there was an identity, or trust, stays.
        for name in ("identity", "anchors"):
            with open("/card/%s.d1/copy" % name, "r+b") as file:
                file.write(noise)
            room.reserve(records)
            check.raises(StorageError, records.load, name)

    card = fresh()
    mounted(card, live)
    assert bytes(card.data).count(noise) == 2


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
        _file = staticmethod(lambda name, slot: None)

    class Os:
        pass

    kept = room.os
    room.os = Os

    def fail(path):
        raise OSError(5, "EIO")

    try:
        Os.statvfs = fail
        assert "/somewhere" in str(check.raises(StorageError, room.make, Records))
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


def test_a_file_system_that_cannot_be_told():
    # Looked for as on littlefs, nothing would be found, and enrolled anew.
    class Os:
        def stat(path):
            raise OSError(5, "EIO")

    kept = files.os
    files.os = Os
    try:
        records = store.Store("/tmp")
        for action in (records.load, records.erase):
            check.raises(StorageError, action, "identity")
        assert records.files is None
    finally:
        files.os = kept


def test_records_that_lack_something_are_erased_at_the_start():
    path = check.folder("room")
    records = store.Store(path)
    good = {"kind": "simpleenroll", "leaf": "", "asked": "", "state": "made", "since": 1}
    waiting = dict(good, state="waiting", until=2, wait=1)
    answered = dict(good, state="answered", date=0)
    for name in ("order", "aside"):
        for meta in (good, waiting, answered):
            records.save(name, store.pack(meta, b"key", b"request"))
            room.reserve(records)
            assert records.load(name), meta
            for field in meta:
                if meta is not good and field in good:
                    continue
                for value in (None, [], {}):
                    records.save(name, store.pack(dict(meta, **{field: value}), b"", b""))
                    room.reserve(records)
                    assert records.load(name, 0) is None, (meta, field)
            records.save(name, store.pack(meta, b"key"))
            room.reserve(records)
            assert records.load(name, 0) is None
    for name in ("identity", "order", "aside", "anchors", "retry"):
        for meta in ([], 1, "text", None):
            records.save(name, store.pack(meta, b"key", b"leaf"))
            room.reserve(records)
            assert records.load(name, 0) is None, (name, meta)
        records.save(name, b"malformed")
        room.reserve(records)
        passing = name in ("order", "aside", "retry")
        assert (records.load(name) is None) == passing
    for payload in (store.pack({}), store.pack({}, b"key")):
        records.save("identity", payload)
        room.reserve(records)
        assert records.load("identity", 0) is None
    # One that cannot be erased does not keep the others.
    for name in ("order", "aside"):
        records.save(name, b"malformed")
    os.mkdir(path + "/order.1")
    check.raises(StorageError, room.reserve, records)
    assert records.load("aside", 0) is None
    os.rmdir(path + "/order.1")
    # An identity says when it ends or is renewed at once.
    for name, items in (("identity", (b"key", b"leaf")), ("anchors", ()), ("retry", ())):
        records.save(name, store.pack({}, *items))
        room.reserve(records)
        assert records.load(name)
    check.clean(path)


if not vfs:
    # CPython has no FAT of its own: these tests are for MicroPython alone.
    for name in list(globals()):
        if name.startswith("test_") and not name.startswith(("test_records", "test_a_file_")):
            del globals()[name]

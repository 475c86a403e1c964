"""Records on a Unix system: for their owner alone, and for one process at a time."""

import builtins
import os

import check
from est import files, posix, store
from est.agent import Agent
from est.errors import OtherLayout


def mode(path):
    return os.stat(path)[0] & 0o777


def test_it_is_found():
    assert files.find("/tmp") is posix
    assert files.find("/nowhere") is posix


def test_files_are_for_their_owner_alone():
    if not hasattr(os, "chmod") and not posix.libc():
        raise check.Skip("needs os.chmod or ffi")
    path = check.folder("posix")
    records = store.Store(path)
    for _ in range(3):
        records.save("identity", b"the private key")
        for slot in (0, 1):
            copy = path + "/identity.%d" % slot
            try:
                assert mode(copy) == 0o600
            except OSError:
                assert slot == 1  # there is none yet
    # One that others may read, such as of a version before, is so no more.
    copy = path + "/order.0"
    with open(copy, "wb") as file:
        file.write(b"EST1")
    if hasattr(os, "chmod"):
        os.chmod(copy, 0o644)
    else:
        posix.libc().func("i", "chmod", "si")(copy, 0o644)
    records.save("order", b"the private key")
    assert records.load("order") == b"the private key"
    assert mode(copy) == 0o600
    posix.close(path)
    check.clean(path)


def test_removing():
    path = check.folder("posix")
    with open(path + "/x", "wb") as file:
        file.write(b"x")
    posix.remove(path + "/x")
    assert "x" not in os.listdir(path)
    error = check.raises(OSError, posix.remove, path + "/x")
    assert error.errno == 2
    check.clean(path)


def test_a_folder_is_locked_once():
    path = check.folder("posix")
    for _ in range(3):
        with posix.open(path + "/x") as file:
            file.write(b"x")
            file.flush()
            posix.done(file, path + "/x")
        assert list(posix._locked).count(path) == 1
    posix.close(path)
    assert path not in posix._locked
    posix.close(path)
    check.clean(path)


def test_what_the_system_cannot_do_is_left_out():
    # MicroPython without ffi: no modes and no lock, and yet it stores.
    path = check.folder("posix")
    kept = posix.libc
    posix.libc = lambda: None
    try:
        records = store.Store(path)
        for payload in (b"first", b"second"):
            records.save("identity", payload)
            assert records.load("identity") == payload
    finally:
        posix.libc = kept
        posix.close(path)
    check.clean(path)


class Forbidding:
    """Stands for builtins: opening some files ends with an error number."""

    def __init__(self, numbers):
        self.numbers = numbers

    def open(self, path, *arguments, **options):
        number = self.numbers.get(path.rsplit("/", 1)[1])
        if number:
            raise OSError(number, "no")
        return builtins.open(path, *arguments, **options)


def test_what_another_user_keeps_is_not_damage():
    """Nothing is sent, nothing is written, until it can be read."""
    path = check.folder("posix")
    records = store.Store(path)
    for _ in range(2):
        records.save("order", store.pack({"leaf": "", "kind": "simpleenroll"}, b"key", b"request"))
        records.save("identity", store.pack({}, b"key", b"leaf"))
    posix.close(path)
    for name in ("identity", "order"):
        for number in (1, 13):
            posix.builtins = Forbidding({"%s.%d" % (name, slot): number for slot in (0, 1)})
            try:
                error = check.raises(OtherLayout, store.Store(path).load, "anchors")
                assert "cannot read %s/%s." % (path, name) in str(error)
                told = []
                agent = Agent(
                    store.Store(path),
                    "https://127.0.0.1:1",
                    trust=[b"0"],
                    on_event=lambda event, detail: told.append((event, detail.get("text"))),
                )
                check.raises(OtherLayout, agent.identity)
                check.raises(OtherLayout, agent.enroll)
                assert agent.step() > 0
            finally:
                posix.builtins = builtins
            assert [event for event, _ in told] == ["failed"], told
            assert "cannot read" in told[0][1]
            assert records.load(name)
    # Where one copy can be read it serves, and what cannot be read by anybody is damaged.
    for numbers in ({"identity.0": 13}, {"identity.0": 5, "identity.1": 5}):
        posix.builtins = Forbidding(numbers)
        try:
            assert files.find(path) is posix
        finally:
            posix.builtins = builtins
    check.clean(path)

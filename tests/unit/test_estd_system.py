"""Modes, owners and links, on each runtime and in each way that it has."""

import os

import check
from est import posix
from estd import system


def mode(path):
    return os.stat(path)[0] & 0o7777


def test_modes():
    def try_it(folder):
        path = folder + "/it's a file"
        me = os.stat(folder)[4:6]
        system.write(path, b"text", 0o640, -1, me[1])
        assert mode(path) == 0o640
        assert tuple(os.stat(path)[4:6]) == tuple(me)
        with open(path, "rb") as file:
            assert file.read() == b"text"
        system.chown(path, me[0], -1)
        system.chown(path, me[0], me[1])
        system.make_folder(folder + "/inner")
        assert mode(folder + "/inner") == 0o700
        posix.sync_folder(folder)
        check.raises(OSError, system.chmod, folder + "/none", 0o600)
        check.raises(OSError, system.chown, folder + "/none", me[0], -1)
        check.raises(OSError, system.write, folder + "/none/file", b"", 0o600, -1, -1)

    check.ways(try_it)


def test_owners():
    def try_it(folder):
        if os.stat(folder)[4]:
            raise check.Skip("needs root")
        system.write(folder + "/file", b"", 0o600, 12345, 54321)
        assert tuple(os.stat(folder + "/file")[4:6]) == (12345, 54321)
        system.chown(folder + "/file", -1, 7)
        assert tuple(os.stat(folder + "/file")[4:6]) == (12345, 7)

    check.ways(try_it)


def test_links():
    def try_it(folder):
        path = folder + "/link"
        assert not system.leads(path, "target")
        system.symlink("target", path)
        assert system.leads(path, "target")
        for other in ("targe", "target2", "tarGet", ""):
            assert not system.leads(path, other)
        with open(folder + "/target", "wb") as file:
            file.write(b"")
        assert system.leads(path, "target")
        assert not system.leads(folder + "/target", "target")
        check.raises(OSError, system.symlink, "target", path)

    check.ways(try_it)


def test_numbers():
    assert system.number("root", "passwd") == 0
    assert system.number("root", "group") == 0
    assert system.number("17", "group") == 17
    for file in ("passwd", "group"):
        check.raises(LookupError, system.number, "nobody is called so", file)

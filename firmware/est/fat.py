"""Copies of records on FAT, for est.store: each in a folder of its own, rewritten in place.

Writing in place leaves the table of files and the other folders alone. That is enough where a cut
spoils at most the sectors being written, as on an SD card. On bare flash it is not: there a block
of 4 KB is erased with all sectors in it. Put littlefs there.

All names are of 8.3 characters and one case, so that each is one entry of its folder.
"""

import builtins
import os

from micropython import const

from est.errors import StorageError

FORM = "%s/%s.d%d/copy"
# Made ahead. A record that outgrows it changes the table of all files.
_RESERVED = const(8192)
_SECTOR = const(512)
_RECORDS = ("identity", "order", "aside", "anchors", "retry")
# Folders that lead nowhere and cannot be removed: each is what a cut left.
_MAX_LOST = const(100)
_ENOENT = const(2)


def blank(file):
    """Whether open `file` is of zeros to its end, and not empty; else it is at its beginning.

    Erasing that was cut leaves other octets behind a header of zeros: no copy, and not none.
    """
    piece = file.read(_SECTOR)
    not_empty = bool(piece)
    while piece and not any(piece):
        piece = file.read(_SECTOR)
    if piece:
        file.seek(0)
        return False
    return not_empty


def open(path):
    """The file at `path` for writing in place; made if absent, with its folder."""
    try:
        return builtins.open(path, "r+b")
    except OSError as error:
        if error.errno != _ENOENT:
            raise
    return _new(path)


def done(file, path):
    """FAT writes when the file is closed."""


def remove(path):
    """Overwrite the file at `path` with zeros, where it is not. Raises OSError (ENOENT) if absent.

    Whatever part of it a cut leaves is damaged, and erased again.
    """
    at = 0
    with builtins.open(path, "r+b") as file:
        piece = file.read(_SECTOR)
        while piece:
            if any(piece):
                file.seek(at)
                file.write(bytes(len(piece)))
            at += len(piece)
            piece = file.read(_SECTOR)


def prepare(store):
    """Make the copies of all records of est.store.Store `store`, where they are not there.

    What cuts left of making and erasing them is mended. All is looked at first: what a cut left
    may lie where the next file would.
    """
    missing = []
    for name in _RECORDS:
        for slot in (0, 1):
            path = FORM % (store.path, name, slot)
            try:
                size = _checked(path)
            except OSError as error:
                # Where another copy is damaged, this one may be all that is left.
                generations = [store._read(name, twin)[0] for twin in (0, 1, 2) if twin != slot]
                if error.errno != _ENOENT and min(generations) < 0:
                    raise _no_room(path, error)
                size = 0
            if size < _RESERVED:
                missing.append((path, size and store._read(name, slot)[0]))
    for path, used in missing:
        try:
            with builtins.open(path, "r+b") if used else _new(path) as file:
                for _ in range(file.seek(0, 2), _RESERVED, _SECTOR):
                    file.write(bytes(_SECTOR))
        except OSError as error:
            raise _no_room(path, error)


def close(path):
    """There is one program."""


def _no_room(path, error):
    return StorageError("cannot make room for %s: %s" % (path, error))


def _checked(path):
    # Size of the copy at `path`, whose erasing is finished if it was begun.
    with builtins.open(path, "r+b") as file:
        # Follows the table of files to the end.
        size = file.seek(0, 2)
        file.seek(0)
        cut = not blank(file) and size and not any(file.read(12))
    if cut:
        remove(path)
    return size


def _new(path):
    # A new file in a new folder, in the place of what a cut left there.
    folder = path.rsplit("/", 1)[0]
    for remove_it, name in ((os.remove, path), (os.rmdir, folder), (os.remove, folder)):
        try:
            remove_it(name)
        except OSError:
            pass  # not there, or not of that kind
    try:
        os.mkdir(folder)
    except OSError as error:
        if error.errno != 17:  # EEXIST
            raise
        os.rename(folder, _lost(path))
        os.mkdir(folder)
    return builtins.open(path, "wb")


def _lost(path):
    # A name that is free, beside the folder of `path`.
    base = path.rsplit("/", 2)[0]
    for number in range(_MAX_LOST):
        name = "%s/lost.%d" % (base, number)
        try:
            os.stat(name)
        except OSError:
            return name
    raise OSError(28)  # ENOSPC

"""Copies of records on FAT, for est.store: each in a folder of its own, rewritten in place.

Writing in place leaves the table of files and the other folders alone. That is enough where a cut
spoils at most the sectors being written, as on an SD card. On bare flash it is not: there a block
of 4 KB is erased with all sectors in it. Put littlefs there.
"""

import builtins
import os

from micropython import const

from est.errors import StorageError

SUFFIX = ".d/copy"
# Made ahead. A record that outgrows it changes the table of all files.
_RESERVED = const(8192)
_SECTOR = const(512)
_RECORDS = ("identity", "order", "aside", "anchors", "retry")


def open(path):
    """The file at `path` for writing in place; made if absent, with its folder."""
    try:
        return builtins.open(path, "r+b")
    except OSError as error:
        if error.errno != 2:
            raise
    try:
        os.mkdir(path.rsplit("/", 1)[0])
    except OSError as error:
        if error.errno != 17:  # EEXIST
            raise
    return builtins.open(path, "wb")


def done(file, path):
    """FAT writes when the file is closed."""


def remove(path):
    """Overwrite the file at `path` with zeros. Raises OSError (ENOENT) if absent.

    From its end: while the beginning stands, what a cut leaves is damaged, and erased again.
    """
    zeros = bytes(_SECTOR)
    with builtins.open(path, "r+b") as file:
        size = file.seek(0, 2)
        for at in range((size - 1) // _SECTOR * _SECTOR, -1, -_SECTOR):
            file.seek(at)
            file.write(zeros[: size - at])
            file.flush()


def prepare(store):
    """Make the copies of all records of est.store.Store `store`, where they are not there."""
    for name in _RECORDS:
        for slot in (0, 1):
            path = "%s/%s.%d%s" % (store.path, name, slot, SUFFIX)
            try:
                with open(path) as file:
                    had = file.seek(0, 2)
                    if had < _RESERVED:
                        file.write(bytes(_RESERVED - had))
            except OSError as error:
                raise StorageError("cannot make room for %s: %s" % (path, error))


def close(path):
    """There is one program."""

"""Room for a new certificate, so that no order is begun that cannot be finished."""

import os

from micropython import const

from est import store
from est.errors import OtherLayout, StorageError

# What a new order takes at most: order, identity and anchors, of two blocks each.
_LEAST_FREE = const(24576)
# The number of items that are read of each record as if they must be there.
_ITEMS = {"identity": 3, "order": 3, "aside": 3, "anchors": 1, "retry": 1}
# Damaged, they serve nobody. A damaged identity, or trust, says that there was one.
_PASSING = const(("order", "aside", "retry"))


def reserve(records):
    """Make the files of est.store.Store `records` that must be there before anything is written.

    On FAT a file that grows changes the table of all files, and a cut may mix them up. What is of
    no use any more, and may hold a key, is erased. Raises StorageError.
    """
    failure = None
    try:
        _prepare(records)
    except StorageError as error:
        failure = error
    for name in _ITEMS:
        try:
            if _useless(records, name):
                records.erase(name)
        except StorageError as error:
            failure = error
    if failure:
        raise failure


def _prepare(records):
    records._file("retry", 0)  # finds out how to write there
    if records.files:
        records.files.prepare(records)


def _useless(records, name):
    # Whether all of a record is damaged, or what is whole of it lacks something.
    try:
        record = store.unpack(records.load(name))
    except OtherLayout:
        return False
    except StorageError:
        return name in _PASSING
    if not record:
        return records.damaged and name in _PASSING
    if len(record) < _ITEMS[name] or not isinstance(record[0], dict):
        return True
    return name in ("order", "aside") and _lacking(record[0])


def _lacking(meta):
    # Whether an order has not what is read of it in its state.
    numbers = {"waiting": ("since", "until", "wait"), "answered": ("since", "date")}
    for field, default in (("kind", 0), ("leaf", 0), ("state", 0), ("asked", "")):
        if not isinstance(meta.get(field, default), str):
            return True
    for field in numbers.get(meta["state"], ("since",)):
        if not isinstance(meta.get(field), int):
            return True
    return False


def make(records):
    """Make those files, and check the room for a new certificate. What is stored stays in use."""
    _prepare(records)
    try:
        stat = os.statvfs(records.path)
    except OSError as error:
        raise StorageError("cannot tell the room in %s: %s" % (records.path, error))
    free = stat[1] * stat[3]
    if free < _LEAST_FREE:
        raise StorageError(
            "only %d bytes are free in %s: make room for a new certificate" % (free, records.path)
        )

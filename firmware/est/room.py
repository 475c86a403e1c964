"""Room for a new certificate, so that no order is begun that cannot be finished."""

import os

from micropython import const

from est.errors import StorageError

# What a new order takes at most: order, identity and anchors, of two blocks each.
_LEAST_FREE = const(24576)


def reserve(store):
    """Make the files of est.store.Store `store` that must be there before anything is written.

    On FAT a file that grows changes the table of all files, and a cut may mix them up. Raises
    StorageError.
    """
    store.load("retry")  # finds out how to write there
    if store.files:
        store.files.prepare(store)


def make(store):
    """As `reserve`, and check the room for a new certificate. What is stored stays in use."""
    reserve(store)
    stat = os.statvfs(store.path)
    free = stat[1] * stat[3]
    if free < _LEAST_FREE:
        raise StorageError(
            "only %d bytes are free in %s: make room for a new certificate" % (free, store.path)
        )

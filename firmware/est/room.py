"""Room for a new certificate, so that no order is begun that cannot be finished."""

import os

from micropython import const

from est.errors import StorageError

# What a new order takes at most: order, identity and anchors, of two blocks each.
_LEAST_FREE = const(24576)


def make(store):
    """Make the files of est.store.Store `store` that must be there before, and check the room.

    Raises StorageError. What is stored stays in use.
    """
    if store.files:
        store.files.prepare(store)
    stat = os.statvfs(store.path)
    free = stat[1] * stat[3]
    if free < _LEAST_FREE:
        raise StorageError(
            "only %d bytes are free in %s: make room for a new certificate" % (free, store.path)
        )

"""Records of layout 1, as est 0.1 stored them: read, written anew, read back, then erased.

A file is `EST1 | generation (4) | length (4) | payload | SHA-256`. The payload is a DER SEQUENCE
of OCTET STRINGs. identity: key, leaf, intermediates. anchors: voucher, anchors. pending: digest,
time to ask again, key, request.
"""

import binascii
import hashlib
import os

from micropython import const

from est import clock, der, store
from est.errors import EstError, PeerError, StorageError

_MAGIC = const(b"EST1")
_HEADER = const(12)
_MAX_RECORD = const(32768)


def upgrade(records):
    """Bring what est.store.Store `records` has of layout 1 to the present one.

    A cut leaves the old record or the new one. Returns what to tell of a file that cannot be
    erased, or None. Raises StorageError where the new one cannot be stored.
    """
    records.replaces = (_MAGIC,)
    failure = None
    for old_name in ("identity", "anchors", "pending"):
        new_name = "order" if old_name == "pending" else old_name
        newer = _newer(records, new_name)
        payload = _payload(records, old_name)
        if payload and not newer:
            # Both copies.
            records.save(new_name, payload)
            records.save(new_name, payload)
        for slot in (0, 1):
            path = _path(records, old_name, slot)
            generation = _read(path)[0]
            # Damaged ones that nothing overwrites may hold a key.
            if path != records._file(new_name, slot) and (
                payload or newer or (generation < 0 and old_name == "pending")
            ):
                generation = _there(path)
            if generation > 0:
                failure = _erase(records, path) or failure
    return failure


def _there(path):
    try:
        return os.stat(path)[0] > 0
    except OSError as error:
        return error.errno != 2  # ENOENT


def _erase(records, path):
    # On FAT what was removed would lie there still.
    for remove in ((records.files or os).remove, os.remove):
        try:
            remove(path)
        except OSError as error:
            if error.errno != 2:  # ENOENT
                return "cannot erase %s: %s" % (path, error)


def _newer(records, name):
    # Whether the present layout has the record already.
    try:
        return records.load(name) is not None
    except StorageError:
        return False


def _path(records, name, slot):
    return "%s/%s.%d" % (records.path, name, slot)


def _load(records, name):
    # (generation, items) of the newest whole file; (0 or -1, None).
    return max([_read(_path(records, name, slot)) for slot in (0, 1)], key=lambda one: one[0])


def _read(path):
    # (generation, items); else (0 if it cannot be read, -1 if damaged or of another layout; None).
    try:
        with open(path, "rb") as file:
            data = file.read(_HEADER + _MAX_RECORD + 32)
    except OSError:
        return 0, None
    body = len(data) - 32
    if data[:4] != _MAGIC or hashlib.sha256(data[:body]).digest() != data[body:]:
        return -1, None
    items = []
    try:
        reader = der.Reader(data[_HEADER:body]).enter()
        while reader.more():
            items.append(reader.bytes())
    except PeerError:
        return -1, None
    return int.from_bytes(data[4:8], "big"), items


def _payload(records, name):
    # The record of the present layout; None where there is none, or what there is is malformed.
    items = _load(records, name)[1]
    try:
        return items and _converted(records, name, items)
    except (EstError, IndexError):
        return None


def _converted(records, name, items):
    if name == "anchors":
        voucher = binascii.hexlify(items[0]).decode()
        return store.pack({"voucher": voucher, "checked": 0}, *items[1:])
    if name == "identity":
        from est import verdict

        not_before, not_after = verdict.validity(items[1])
        meta = {"not_before": not_before, "not_after": not_after, "generation": 1}
        return store.pack(meta, *items)
    # Whatever it was asked for: it is asked for once more, and what comes is used.
    leaf = ""
    kind = "simpleenroll"
    try:
        identity = store.unpack(records.load("identity"))
    except StorageError:
        identity = []
    if len(identity) > 2:
        leaf = binascii.hexlify(hashlib.sha256(identity[2]).digest()).decode()
        kind = "simplereenroll"
    if not items[3]:
        return None
    if not items[2]:
        kind = "serverkeygen"
    now = clock.now_or_0()
    meta = {"kind": kind, "leaf": leaf, "asked": "", "settings": "", "url": ""}
    meta.update(state="made", since=now)
    return store.pack(meta, *items[2:4])

"""Records that survive power cuts: each in two files, the older one overwritten by the next save.

A file is `magic | generation (4) | length (4) | payload | SHA-256 of all before`. Whatever moment
the power goes, the file that was not being written still holds the record before. A file that is
too short is a write cut off; one that is whole but has another checksum has been damaged since.
"""

import hashlib
import os

from micropython import const

from est import der
from est.errors import PeerError, StorageError, UsageError

_MAGIC = const(b"EST1")
_HEADER = const(12)
# Key, leaf and intermediates, or all anchors: a few KB.
_MAX_RECORD = const(32768)


class Store:
    """Records in folder `path`, which must exist. Raises StorageError.

    damaged: whether the last `load` met a file that is cut off or damaged: what it returned may be
        older than what was saved last.
    """

    def __init__(self, path):
        self._path = path.rstrip("/") or "/"
        self.damaged = False

    def _file(self, name, slot):
        return "%s/%s.%d" % (self._path, name, slot)

    def _read(self, name, slot):
        # (generation, payload) of a good file; else (0 if absent, -1 if cut, -2 if damaged; None).
        try:
            with open(self._file(name, slot), "rb") as file:
                # Not more than there is: the buffer is as large as what is asked for.
                size = min(file.seek(0, 2), _MAX_RECORD + _HEADER + 33)
                file.seek(0)
                data = file.read(size)
        except OSError as error:
            if error.errno == 2:  # ENOENT
                return 0, None
            raise StorageError("cannot read %s: %s" % (self._file(name, slot), error))
        body = len(data) - 32
        if body < _HEADER or body - _HEADER < int.from_bytes(data[8:12], "big"):
            return -1, None
        if data[:4] != _MAGIC or hashlib.sha256(data[:body]).digest() != data[body:]:
            return -2, None
        return int.from_bytes(data[4:8], "big"), data[_HEADER:body]

    def load(self, name, least=-1):
        """Newest undamaged payload (bytes) of record `name`; None where there was none.

        least: 0 where a first save that was cut counts as damage.
        """
        found = [self._read(name, slot) for slot in (0, 1)]
        states = [generation for generation, _ in found]
        self.damaged = min(states) < 0
        newest = states[1] > states[0]
        # A first save that was cut leaves one file cut (-1); nothing but damage leaves two.
        if states[newest] <= 0 and sum(states) < least:
            raise StorageError("the stored %s: damaged; enrol again or give trust" % name)
        return found[newest][1]

    def save(self, name, payload):
        """Replace record `name`. The one before stays until the new one is read back whole."""
        if len(payload) > _MAX_RECORD:
            raise UsageError("%s is too large" % name)
        generations = [self._read(name, slot)[0] for slot in (0, 1)]
        slot = generations[0] > generations[1]
        generation = max(generations[0], generations[1], 0) + 1
        data = _MAGIC + generation.to_bytes(4, "big") + len(payload).to_bytes(4, "big") + payload
        path = self._file(name, slot)
        try:
            with open(path, "wb") as file:
                file.write(data)
                file.write(hashlib.sha256(data).digest())
        except OSError as error:
            raise StorageError("cannot write %s: %s" % (path, error))
        if self._read(name, slot) != (generation, payload):
            raise StorageError("%s reads back damaged: the storage is failing" % path)

    def erase(self, name):
        """Remove record `name`, the older file first, so that a cut cannot bring it back."""
        generations = [self._read(name, slot)[0] for slot in (0, 1)]
        newest = generations[1] > generations[0]
        for slot in (1 - newest, newest):
            try:
                os.remove(self._file(name, slot))
            except OSError as error:
                if error.errno != 2:
                    raise StorageError("cannot erase %s: %s" % (name, error))


def pack(*items):
    """One payload of bytes items."""
    return der.sequence(*[der.octets(item) for item in items])


def unpack(payload):
    """List of the items of a payload; [] for None."""
    items = []
    if payload:
        try:
            reader = der.Reader(payload).enter()
            while reader.more():
                items.append(reader.bytes())
        except PeerError as error:
            raise StorageError("a stored record is malformed: %s" % error)
    return items

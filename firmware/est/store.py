"""Records that survive power cuts: each in two copies, the older one overwritten by the next save.

A copy is `EST2 | generation (4) | length (4) of name and payload | name | payload | SHA-256 of
all before`. Octets after that mean nothing. Whatever moment the power goes, the copy that was not
being written still holds the record before. A copy that is too short is a write cut off. One that
cannot be read, or has another checksum or another record's name, is damaged.

The copies of record NAME are the files NAME.0 and NAME.1. NAME.2 is used while one of these cannot
be written. On FAT a cut can spoil the sector that describes all files of a folder. So there each
copy lies in a folder of its own, NAME.d0/copy. `prepare` makes it, `save` rewrites it in place,
and one that is of zeros to its end is none.

What this package stores, each as `pack(meta, *items)`. meta is a dict that JSON can hold. Times
are Unix seconds, digests are SHA-256 in hex:

identity: key (DER), leaf (DER), intermediates (DER)...
    not_before, not_after: of the leaf. issued: when it was issued (est.identity).
    share: at which share of its life, in 1/65536, it is renewed. generation: counts identities.
    agreed: when clock and server last agreed, or 0. settings: digest of what was asked for.
    voucher: of the anchors it was asked for under.
order: key (DER; empty where the server makes it), request (DER), what the server answered...
    kind: name of the order's class (est.order). state: "made", "waiting" or "answered".
    asked, terms: tell the request from others; without asked, or "", any. settings: digest of the
    agent's settings. leaf: digest of the certificate to renew, or "". was: leaf of a renewal that
    became an enrolment. url: where it was sent.
    since: when the state began. until: in state "waiting", when to ask again. wait: how long that
    was in seconds. date: in state "answered", the server's Date or 0.
aside: as an order in state "answered" whose certificate was not accepted.
anchors: trust anchors (DER)...
    voucher: of the trust given, which stands for them. checked: when the server last offered them.
retry: no items. See est.retry.
"""

import hashlib
import json
import os

from micropython import const

from est.errors import OtherLayout, StorageError, UsageError

_MAGIC = const(b"EST2")
_HEADER = const(12)
# Key, leaf and intermediates, all anchors, or an order with its answer: a few KB.
_MAX_RECORD = const(32768)


class Store:
    """Records in folder `path`, which must exist. Raises StorageError.

    files: module that writes in its own way, or False; known after the first use.
    damaged: not 0 if the last `load` met a copy that is cut off or damaged: what it returned may
        be older than what was saved last. Above 2, it was more than one.
    """

    damaged = 0
    # Layouts whose records est.layout1 takes over: saving overwrites them, the older first.
    replaces = ()
    files = None

    def __init__(self, path):
        self.path = path.rstrip("/") or "/"

    def _file(self, name, slot):
        if self.files is None:
            self.files = _files(self.path)
        form = self.files.FORM if self.files else "%s/%s.%d"
        return form % (self.path, name, slot)

    def _read(self, name, slot):
        # (generation, payload) of a good copy; else (0 if absent, -1 if cut, -2 if damaged; None).
        path = self._file(name, slot)
        try:
            with open(path, "rb") as file:
                if self.files and self.files.blank(file):
                    return 0, None
                data = file.read(_HEADER)
                size = int.from_bytes(data[8:], "big")
                if size <= _MAX_RECORD:
                    data += file.read(size + 32)
        except OSError as error:
            # ENOENT
            return (0 if error.errno == 2 else -2), None
        body = _HEADER + size
        if len(data) < body + 32:
            return (-1 if size <= _MAX_RECORD else -2), None
        if data[:3] != b"EST" or hashlib.sha256(data[:body]).digest() != data[body:]:
            return -2, None
        generation = int.from_bytes(data[4:8], "big")
        if data[:4] in self.replaces:
            return generation, None
        if data[:4] != _MAGIC:
            raise OtherLayout("%s: by another version of est, kept" % path)
        start = _HEADER + len(name)
        if data[_HEADER:start] != name.encode():
            return -2, None
        return generation, data[start:body]

    def _generations(self, name):
        return [self._read(name, slot)[0] for slot in (0, 1, 2)]

    def load(self, name, least=-1):
        """Newest undamaged payload (bytes) of record `name`; None where there was none.

        least: 0 where a first save that was cut counts as damage.
        """
        newest = damage = 0
        newest_payload = None
        for slot in (0, 1, 2):
            generation, payload = self._read(name, slot)
            if generation > newest:
                newest = generation
                newest_payload = payload
            # What was left of NAME.2 on a full disk is none.
            if generation + slot // 2 < 0:
                damage += generation
        self.damaged = -damage
        # A first save that was cut leaves one file cut (-1); nothing but damage leaves two.
        if not newest and damage < least:
            raise StorageError("the stored %s: damaged" % name)
        return newest_payload

    def save(self, name, payload):
        """Replace record `name`. The one before stays until the new one is read back whole."""
        size = len(name) + len(payload)
        if size > _MAX_RECORD:
            raise UsageError("%s is too large" % name)
        generations = self._generations(name)
        newest = max(0, *generations)
        header = _MAGIC + (newest + 1).to_bytes(4, "big") + size.to_bytes(4, "big") + name.encode()
        digest = hashlib.sha256(header)
        digest.update(payload)
        digest = digest.digest()
        for slot in (0, 1, 2) if generations[0] <= generations[1] else (1, 0, 2):
            if newest and generations[slot] == newest:
                continue
            path = self._file(name, slot)
            files = self.files
            try:
                with files.open(path) if files else open(path, "wb") as file:
                    for piece in (header, payload, digest):
                        file.write(piece)
                    if files:
                        files.done(file, path)
                if self._read(name, slot)[1] == payload:
                    return
                reason = "reads back damaged"
            except OSError as error:
                reason = error
        raise StorageError("cannot write %s: %s" % (path, reason))

    def erase(self, name):
        """Remove record `name`, the older copy first, so that a cut cannot bring it back."""
        failure = None
        for _, slot in sorted(zip(self._generations(name), (0, 1, 2))):
            path = self._file(name, slot)
            try:
                (self.files or os).remove(path)
            except OSError as error:
                if error.errno != 2:
                    failure = error
        if failure:
            raise StorageError("cannot erase %s: %s" % (name, failure))


def _files(path):
    try:
        from est import files
    except ImportError:
        return False  # an optional part; littlefs needs none
    return files.find(path)


def digest(value):
    """Hex digest that tells settings, requests and certificates (bytes) from others."""
    if not isinstance(value, bytes):
        value = repr(value).encode()
    return hashlib.sha256(value).digest().hex()


def pack(meta, *items):
    """One payload (bytes) of a dict and bytes items."""
    pieces = [json.dumps(meta).encode()] + list(items)
    return b"".join([len(piece).to_bytes(4, "big") + piece for piece in pieces])


def unpack(payload):
    """[meta, *items] of a payload; [] for None."""
    record = []
    try:
        while payload:
            end = 4 + int.from_bytes(payload[:4], "big")
            if end > len(payload):
                raise ValueError
            record.append(payload[4:end])
            payload = payload[end:]
        if record:
            record[0] = json.loads(record[0])
    except ValueError:
        raise StorageError("a stored record is malformed")
    return record

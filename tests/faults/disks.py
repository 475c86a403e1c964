"""Block devices in memory for vfs.VfsLfs2 and vfs.VfsFat, whose power can go at any write.

A device calls `watch(kind, block, offset, data)` before it changes anything: "erase", "write" or,
on FAT, "sync". `save` then gives what a cut at this moment leaves: a copy of the surviving blocks
(immutable bytes, so that a copy is cheap), from which another device goes on. This is a cut of the
power itself: no exception runs through the code under test, no `finally`, no handler.

What a cut does to the write that it meets is a variant:
clean: nothing of it is there. torn: its first half is. noise: random bits are where it went.
reordered (FAT): a medium with a cache, such as an SD card: of the writes since the last sync, this
one included, some are there, in any order.
"""

import vfs


class _Disk:
    """block_size, count: of blocks. filled: what they hold at first, or what `save` gave."""

    def __init__(self, filled=None):
        self.blocks = list(filled) if filled else [self._empty] * self.count
        self.watch = None
        self.writes = self.erases = self.bytes = 0

    def save(self):
        return list(self.blocks)

    def readblocks(self, block, buffer, offset=0):
        view = memoryview(buffer)
        for at in range(0, len(view), self.block_size):
            piece = view[at : at + self.block_size]
            piece[:] = memoryview(self.blocks[block])[offset : offset + len(piece)]
            block += 1

    def _change(self, kind, block, offset, data):
        if self.watch:
            self.watch(kind, block, offset, data)
        old = self.blocks[block]
        self.blocks[block] = old[:offset] + data + old[offset + len(data) :]


class Flash(_Disk):
    """NOR flash as littlefs has it on a board: erased by the block, written by the page."""

    name = "littlefs"
    variants = ("clean", "torn", "noise")
    block_size = 4096
    count = 64
    _empty = b"\xff" * 4096
    _program = 256  # bytes; rp2's _boot.py

    def writeblocks(self, block, buffer, offset=0):
        data = bytes(buffer)
        old = self.blocks[block][offset : offset + len(data)]
        if old != self._empty[: len(data)]:
            # Bits go from 1 to 0 only. littlefs does so over what a cut left.
            old = int.from_bytes(old, "big") & int.from_bytes(data, "big")
            data = old.to_bytes(len(data), "big")
        self.writes += 1
        self.bytes += len(data)
        self._change("write", block, offset, data)

    def ioctl(self, operation, argument):
        if operation == 4:
            return self.count
        if operation == 5:
            return self.block_size
        if operation == 6:
            self.erases += 1
            self._change("erase", argument, 0, self._empty)
        return 0

    def format(self):
        vfs.VfsLfs2.mkfs(self, progsize=self._program)

    def mount(self, path):
        vfs.mount(vfs.VfsLfs2(self, progsize=self._program), path)


class Card(_Disk):
    """Sectors as FAT has them on an SD card, or on flash that moves what it rewrites."""

    name = "fat"
    variants = ("clean", "torn", "noise", "reordered")
    block_size = 512
    count = 512
    _empty = bytes(512)

    def __init__(self, filled=None):
        super().__init__(filled)
        # The blocks at the last sync, and what was written since: [(block, data)].
        self._synced = list(self.blocks)
        self._since = []

    def writeblocks(self, block, buffer, offset=0):
        data = bytes(buffer)
        for at in range(0, len(data), 512):
            self.writes += 1
            self.bytes += 512
            self._change("write", block, 0, data[at : at + 512])
            self._since.append((block, data[at : at + 512]))
            block += 1

    def ioctl(self, operation, argument):
        if operation == 3:
            if self._since and self.watch:
                self.watch("sync", 0, 0, b"")
            self._synced = list(self.blocks)
            self._since = []
        elif operation == 4:
            return self.count
        elif operation == 5:
            return self.block_size
        return 0

    def cache(self):
        """(blocks at the last sync, [(block, data)] since), for `reordered`."""
        return self._synced, list(self._since)

    def format(self):
        vfs.VfsFat.mkfs(self)

    def mount(self, path):
        vfs.mount(vfs.VfsFat(self), path)


DISKS = {"littlefs": Flash, "fat": Card}


def cut(variant, saved, cache, kind, block, offset, data, random):
    """The blocks that a cut leaves, or None where this variant is like the clean one.

    saved: the blocks before. cache: see Card.cache. random(n): a number from 0 to n - 1.
    """
    if variant == "clean":
        return saved
    if variant == "reordered":
        blocks, since = cache
        if kind == "write":
            since = since + [(block, data)]
        if kind not in ("write", "sync") or len(since) < 2:
            return None
        blocks = list(blocks)
        since = list(since)
        for _ in range(random(len(since) + 1)):
            at, content = since.pop(random(len(since)))
            blocks[at] = content
        return blocks
    if not data:
        return None
    if variant == "torn":
        data = data[: len(data) // 2]
    else:
        data = b"".join([random(1 << 24).to_bytes(3, "big") for _ in range(0, len(data), 3)])[
            : len(data)
        ]
    blocks = list(saved)
    old = blocks[block]
    blocks[block] = old[:offset] + data + old[offset + len(data) :]
    return blocks

"""Storage in RAM that no reset clears, with littlefs2 on it.

As the flash of a real board, it takes nothing from the heap. Else a collection could begin in the
midst of littlefs, and close a file that was left open there; and an exception for want of memory
would leave littlefs in the midst of its work, its list of open files with an entry that is none.
"""

import uctypes
import vfs
from micropython import const

_BLOCK = const(4096)


@micropython.viper  # noqa: F821 - MicroPython knows it by itself
def _read(memory: ptr8, start: int, buffer: ptr8, count: int):  # noqa: F821
    at = 0
    while at < count:
        buffer[at] = memory[start + at]
        at += 1


@micropython.viper  # noqa: F821
def _write(memory: ptr8, start: int, buffer: ptr8, count: int):  # noqa: F821
    at = 0
    while at < count:
        memory[start + at] = buffer[at]
        at += 1


class RamDisk:
    """A block device over `size` bytes of memory at `address`."""

    def __init__(self, address, size):
        self._memory = uctypes.bytearray_at(address, size)

    def readblocks(self, block, buffer, offset=0):
        _read(self._memory, block * _BLOCK + offset, buffer, len(buffer))

    def writeblocks(self, block, buffer, offset=0):
        _write(self._memory, block * _BLOCK + offset, buffer, len(buffer))

    def ioctl(self, operation, _argument):
        if operation == 4:
            return len(self._memory) // _BLOCK
        if operation == 5:
            return _BLOCK
        return 0


def mount(device):
    """Mount `device` at /, formatted first where it holds no file system."""
    try:
        filesystem = vfs.VfsLfs2(device)
    except OSError:
        vfs.VfsLfs2.mkfs(device)
        filesystem = vfs.VfsLfs2(device)
    vfs.mount(filesystem, "/")

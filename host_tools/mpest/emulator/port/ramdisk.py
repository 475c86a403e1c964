"""Storage in RAM that no reset clears, with littlefs2 on it."""

import uctypes
import vfs
from micropython import const

_BLOCK = const(4096)


class RamDisk:
    """A block device over `size` bytes of memory at `address`."""

    def __init__(self, address, size):
        self._memory = memoryview(uctypes.bytearray_at(address, size))

    def readblocks(self, block, buffer, offset=0):
        start = block * _BLOCK + offset
        buffer[:] = self._memory[start : start + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        start = block * _BLOCK + offset
        self._memory[start : start + len(buffer)] = buffer

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

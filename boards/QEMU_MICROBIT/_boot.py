"""Frozen: the upper half of the nRF51's flash, written through its NVMC as on the chip."""

import sys

import uctypes
from machine import mem32
from micropython import const
from ramdisk import mount

_START = const(0x80000)
_PAGES = const(512)
_PAGE = const(1024)
_CONFIG = const(0x4001E504)
_ERASE_PAGE = const(0x4001E508)
_READ, _WRITE, _ERASE = const(0), const(1), const(2)


class Flash:
    """A block device of pages of 1 KB; littlefs erases before it writes."""

    def readblocks(self, block, buffer, offset=0):
        buffer[:] = uctypes.bytearray_at(_START + block * _PAGE + offset, len(buffer))

    def writeblocks(self, block, buffer, offset=0):
        address = _START + block * _PAGE + offset
        mem32[_CONFIG] = _WRITE
        for at in range(0, len(buffer), 4):
            mem32[address + at] = int.from_bytes(buffer[at : at + 4], "little")
        mem32[_CONFIG] = _READ

    def ioctl(self, operation, block):
        if operation == 4:
            return _PAGES
        if operation == 5:
            return _PAGE
        if operation == 6:
            mem32[_CONFIG] = _ERASE
            mem32[_ERASE_PAGE] = _START + block * _PAGE
            mem32[_CONFIG] = _READ
        return 0


mount(Flash())
sys.path.append("/lib")

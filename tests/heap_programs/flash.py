"""Runs on the board: prints what one renewal writes to a littlefs like a Pico W's: erases, bytes.

The file system lies in memory and starts from the files in settings.STATE.
"""

import os

import settings
import vfs

from est.agent import Agent
from est.store import Store

BLOCK = 4096
BLOCKS = 64
PROGRAM = 256  # bytes; rp2's _boot.py


class Flash:
    """A block device in memory that counts."""

    def __init__(self):
        self._data = bytearray(BLOCK * BLOCKS)
        self.erases = 0
        self.bytes = 0

    def readblocks(self, block, buffer, offset=0):
        at = block * BLOCK + offset
        buffer[:] = memoryview(self._data)[at : at + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        at = block * BLOCK + offset
        memoryview(self._data)[at : at + len(buffer)] = buffer
        self.bytes += len(buffer)

    def ioctl(self, operation, argument):
        if operation == 4:
            return BLOCKS
        if operation == 5:
            return BLOCK
        if operation == 6:
            self.erases += 1
            return 0
        return None


flash = Flash()
vfs.VfsLfs2.mkfs(flash, progsize=PROGRAM)
vfs.mount(vfs.VfsLfs2(flash, progsize=PROGRAM), "/flash")
for name in os.listdir(settings.STATE):
    with open(settings.STATE + "/" + name, "rb") as old, open("/flash/" + name, "wb") as new:
        new.write(old.read())
flash.erases = flash.bytes = 0
agent = Agent(Store("/flash"), settings.URL)
agent.reenroll()
agent.close()
print([flash.erases, flash.bytes])

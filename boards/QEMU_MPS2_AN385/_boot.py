"""Frozen: the board's PSRAM stands in for flash."""

import sys

from ramdisk import RamDisk, mount

mount(RamDisk(0x21000000, 1 << 20))
sys.path.append("/lib")

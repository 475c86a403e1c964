"""Frozen: RAM above the firmware's stands in for flash."""

import sys

from ramdisk import RamDisk, mount

mount(RamDisk(0x81000000, 1 << 20))
sys.path.append("/lib")

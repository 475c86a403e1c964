"""Cuts the power at every write while config.new.json takes the place of config.json.

`micropython configuration_cuts.py DISK VARIANT` prints how many cuts there were. It fails if one
leaves neither file whole.
"""

import os
import random
import sys

import disks
import vfs

import configuration

_OLD = b'{"url": "https://old.example", "subject": "CN=a", "sha256": "%s"}' % (b"00" * 32)
_NEW = b'{"url": "https://new.example", "subject": "CN=a", "sha256": "%s"}\n' % (b"11" * 300)
_NEW = _NEW.replace(b"11" * 300, b"11" * 32) + b" " * 2000


def start(disk):
    disk.mount("/board")
    os.chdir("/board")


def stop():
    os.chdir("/")
    vfs.umount("/board")


def write(name, data):
    with open(name, "wb") as file:
        file.write(data)


def survivors(make, variant):
    """What each cut leaves."""
    disk = make()
    disk.format()
    start(disk)
    write("other.txt", bytes(3000))
    write(configuration.FILE, _OLD)
    write(configuration.NEW, _NEW)
    left = []

    def watch(*change):
        blocks = disk.save()
        cache = disk.cache() if variant == "reordered" else None
        cut = disks.cut(variant, blocks, cache, *change, random=random.randrange)
        if cut:
            left.append(cut)

    disk.watch = watch
    configuration.adopt()
    disk.watch = None
    left.append(disk.save())
    stop()
    return left


def check(make, blocks):
    start(make(blocks))
    new = configuration.read(configuration.NEW)[0] if configuration.NEW in os.listdir() else None
    config = configuration.read(configuration.FILE)[0]
    assert new or config, os.listdir()
    # Whoever tried the new ones tries them again, or has them.
    assert (new or config)["url"] == "https://new.example"
    if new:
        configuration.adopt()
        assert configuration.NEW not in os.listdir()
        assert configuration.read(configuration.FILE)[0] == new
    stop()


def main(name, variant):
    make = disks.DISKS[name]
    left = survivors(make, variant)
    for blocks in left:
        check(make, blocks)
    print(len(left))


main(sys.argv[1], sys.argv[2])

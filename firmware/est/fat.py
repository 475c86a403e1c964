"""Copies of records on FAT (est.store): each in a folder of its own, rewritten in place.

Writing in place leaves the table of files and the other folders alone. That is enough where a cut
spoils at most the sectors being written, as on an SD card. On bare flash it is not: there a block
of 4 KB is erased with all sectors in it. Put littlefs there.
"""

import builtins
import os


def open(path):
    """The file at `path` for writing in place; made if absent, with its folder."""
    try:
        return builtins.open(path, "r+b")
    except OSError as error:
        if error.errno != 2:
            raise
    try:
        os.mkdir(path.rsplit("/", 1)[0])
    except OSError as error:
        if error.errno != 17:  # EEXIST
            raise
    return builtins.open(path, "wb")


def reserve(path, size):
    """Let the file at `path` have at least `size` octets, zeros where there were none."""
    with open(path) as file:
        had = file.seek(0, 2)
        if had < size:
            file.write(bytes(size - had))


def blank(path):
    """Overwrite the file at `path` with zeros. Raises OSError (ENOENT) if absent."""
    with builtins.open(path, "r+b") as file:
        left = file.seek(0, 2)
        file.seek(0)
        while left > 0:
            left -= file.write(bytes(min(left, 512)))

"""How est.store writes where closing a file is not enough: on FAT, and on Unix systems."""

import os

from est.errors import StorageError


def find(path):
    """est.fat, est.posix, or False for the file system that folder `path` is on.

    Raises StorageError if that cannot be told: in another's way nothing would be found. Raises
    OtherLayout as est.posix.check.
    """
    try:
        os.stat(path + "/*")
    except OSError as error:
        # EINVAL: no name on FAT has an asterisk. Elsewhere there is no such file.
        if error.errno == 22:
            from est import fat

            return fat
        if error.errno == 5:  # EIO
            raise StorageError("cannot read %s: %s" % (path, error))
    try:
        from est import posix
    except ImportError:
        return False  # a board
    posix.check(path)
    return posix

"""What est.store needs of a Unix system, and no board has: modes, fsync, one process at a time.

CPython's `os` has it. MicroPython's unix port reaches it by `ffi`, if that is built in. Without,
files get the mode that the umask of its starter gives, and two processes are not told apart.
"""

import os

from micropython import const

from est.errors import StorageError

_LOCK = "est.lock"
_EXCLUSIVE = const(2)  # F_TLOCK of lockf()

# Files locked by this process, by folder. Closing one would give the lock up.
_locked = {}


def _libc():
    # The C library through ffi, or None.
    try:
        import ffi

        return ffi.open(None)
    except (ImportError, OSError):
        return None


def create(folder, path):
    """Lock `folder`, and make sure that the file at `path` is there, for its owner alone.

    Raises StorageError if another process has the folder.
    """
    lock(folder)
    if hasattr(os, "chmod"):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        if os.stat(path).st_mode & 0o077:
            os.chmod(path, 0o600)
        return
    libc = _libc()
    if libc:
        with open(path, "ab"):
            pass
        libc.func("i", "chmod", "si")(path, 0o600)


def sync(file):
    """Write `file`, flushed before, to the medium."""
    if hasattr(os, "fsync"):
        os.fsync(file.fileno())


def sync_folder(path):
    """Write the names in folder `path` to the medium."""
    try:
        if hasattr(os, "fsync"):
            folder = os.open(path, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        else:
            with open(path) as folder:
                folder.flush()
    except OSError:
        pass  # a file system that does not sync folders


def lock(folder):
    """Keep other processes from writing to `folder` for as long as this one runs."""
    if folder in _locked:
        return
    path = folder + "/" + _LOCK
    file = open(path, "ab")
    try:
        import fcntl

        def take(number):
            fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return 0

    except ImportError:
        libc = _libc()
        if not libc:
            file.close()
            return
        call = libc.func("i", "lockf", "iil")

        def take(number):
            return call(number, _EXCLUSIVE, 0)

    try:
        taken = take(file.fileno()) == 0
    except OSError:
        taken = False
    if not taken:
        file.close()
        raise StorageError("another process uses %s: stop one of the two" % folder)
    _locked[folder] = file


def unlock(folder):
    """Let other processes write to `folder`."""
    file = _locked.pop(folder, None)
    if file:
        file.close()

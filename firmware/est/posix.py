"""What est.store needs of a Unix system, and no board has: modes, fsync, one process at a time.

CPython's `os` has it. MicroPython's unix port reaches it by `ffi`, if that is built in. Without,
files get the mode that the umask of its starter gives, and two processes are not told apart.
"""

import builtins
import os

from micropython import const

from est.errors import OtherLayout, StorageError

FORM = "%s/%s.%d"
_LOCK = const("est.lock")
_EXCLUSIVE = const(2)  # F_TLOCK of lockf()

# Files locked by this process, by folder. Closing one would give the lock up.
_locked = {}


def libc():
    """The C library through ffi, or None."""
    try:
        import ffi

        return ffi.open(None)
    except (ImportError, OSError):
        return None


def check(folder):
    """Raise OtherLayout for a record of `folder` of which another user keeps every copy.

    It is not damaged: nobody may enrol over it.
    """
    for name in ("identity", "order", "anchors"):
        kept = None
        for slot in (0, 1, 2):
            path = FORM % (folder, name, slot)
            try:
                builtins.open(path, "rb").close()
                break
            except OSError as error:
                if error.errno in (1, 13):  # EPERM, EACCES
                    kept = path, error
        else:
            if kept:
                raise OtherLayout("cannot read %s: %s: run as the user whose file it is" % kept)


def blank(file):
    """No copy is made ahead: one of zeros is damaged."""
    return False


def open(path):
    """The file at `path` for writing, for its owner alone; its folder is locked.

    Raises StorageError if another process has the folder.
    """
    lock(path.rsplit("/", 1)[0])
    if hasattr(os, "chmod"):
        file = builtins.open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600))
        if os.fstat(file.fileno()).st_mode & 0o077:
            os.chmod(path, 0o600)
        return file
    file = builtins.open(path, "wb")
    found = libc()
    if found:
        found.func("i", "chmod", "si")(path, 0o600)
    return file


def done(file, path):
    """Write `file` and its name to the medium. MicroPython's flush is an fsync already."""
    file.flush()
    if hasattr(os, "fsync"):
        os.fsync(file.fileno())
    _sync_folder_of(path)


def remove(path):
    """Remove the file at `path`, on the medium too. Raises StorageError as `open`."""
    lock(path.rsplit("/", 1)[0])
    os.remove(path)
    _sync_folder_of(path)


def prepare(store):
    """Nothing to make ahead."""


def close(folder):
    """Let other processes write to `folder`."""
    file = _locked.pop(folder, None)
    if file:
        file.close()


def sync_folder(path):
    """Write the names in a folder to the medium. Raises OSError."""
    if hasattr(os, "fsync"):
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    else:
        with builtins.open(path) as folder:
            folder.flush()


def _sync_folder_of(path):
    try:
        sync_folder(path.rsplit("/", 1)[0])
    except OSError:
        pass  # a file system that does not sync folders


def lock(folder):
    """Keep other processes from writing to `folder` for as long as this one runs.

    Raises StorageError if another process has it already.
    """
    if folder in _locked:
        return
    path = folder + "/" + _LOCK
    file = builtins.open(path, "ab")
    try:
        import fcntl

        def take(number):
            fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return 0

    except ImportError:
        found = libc()
        if not found:
            file.close()
            return
        call = found.func("i", "lockf", "iil")

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

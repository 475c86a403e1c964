"""What a Linux agent needs of the system's files: modes, owners, links, fsync, users' numbers.

CPython's `os` has it. MicroPython's unix port lacks it and reaches the C library by `ffi`. Where
that is not built in, programs of the system do it, started by `os.system`.
"""

import os

from est import posix


def chmod(path, mode):
    """Set the mode of a file or folder. Raises OSError, as all here."""
    if hasattr(os, "chmod"):
        os.chmod(path, mode)
    elif not _call("chmod", "si", path, mode):
        program("chmod", "%o" % mode, path)


def chown(path, user, group):
    """Give a file or folder to these numbers; -1 leaves one as it is."""
    if hasattr(os, "chown"):
        os.chown(path, user, group)
    elif not _call("chown", "sii", path, user, group):
        owner = "" if user < 0 else "%d" % user
        program("chown", owner if group < 0 else "%s:%d" % (owner, group), path)


def symlink(target, path):
    """Make `path` a link to `target`."""
    if hasattr(os, "symlink"):
        os.symlink(target, path)
    elif not _call("symlink", "ss", target, path):
        program("ln", "-s", target, path)


def leads(path, target):
    """Whether `path` is a link to `target`, whether or not that exists."""
    if hasattr(os, "readlink"):
        try:
            return os.readlink(path) == target
        except OSError:
            return False
    libc = posix.libc()
    if libc:
        wanted = target.encode()
        found = bytearray(len(wanted) + 1)
        size = libc.func("l", "readlink", "spl")(path, found, len(found))
        return size == len(wanted) and found[:size] == wanted
    return not os.system('[ "$(readlink %s)" = %s ]' % (quoted(path), quoted(target)))


def make_folder(path):
    """Make a folder for its owner alone."""
    os.mkdir(path)
    chmod(path, 0o700)


def write(path, data, mode, user, group):
    """Make a file of these bytes, mode and owners, all of it on the medium."""
    with open(path, "wb") as file:
        # Before the first byte: in a folder for its owner alone nobody can have opened it.
        chmod(path, 0o600)
        file.write(data)
        if user >= 0 or group >= 0:
            chown(path, user, group)
        chmod(path, mode)
        file.flush()  # MicroPython's is an fsync
        if hasattr(os, "fsync"):
            os.fsync(file.fileno())


def user():
    """The number of the user that this process acts as; None where that cannot be told."""
    if hasattr(os, "geteuid"):
        return os.geteuid()
    libc = posix.libc()
    return libc.func("i", "geteuid", "")() if libc else None


def name(user):
    """The name of the user of this number, which is text itself where it has none."""
    with open("/etc/passwd") as lines:
        for line in lines:
            fields = line.split(":")
            if fields[2:3] == ["%d" % user]:
                return fields[0]
    return "%d" % user


def number(name, file):
    """The number of a user or group (`file`: "passwd" or "group"), of its name or in digits.

    Raises LookupError.
    """
    if name.isdigit():
        return int(name)
    try:
        # Knows those of a directory service too.
        if file == "group":
            import grp

            return grp.getgrnam(name).gr_gid
        import pwd

        return pwd.getpwnam(name).pw_uid
    except ImportError:
        with open("/etc/" + file) as lines:
            for line in lines:
                fields = line.split(":")
                if fields[0] == name:
                    return int(fields[2])
        raise LookupError(name)


def quoted(text):
    """`text` as one word of a shell."""
    return "'%s'" % text.replace("'", "'\\''")


def _call(name, types, *arguments):
    # Call a function of the C library; returns False where there is no ffi.
    libc = posix.libc()
    if not libc:
        return False
    if libc.func("i", name, types)(*arguments) < 0:
        raise OSError(os.errno(), "%s fails" % name)
    return True


def program(*words):
    """Run a program of the system for what it changes."""
    if os.system(" ".join([quoted(word) for word in words]) + " 2>/dev/null"):
        raise OSError(1, "%s fails" % " ".join(words))

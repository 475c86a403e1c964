"""The identity as files of other programs: a matching set of them at every instant.

In the folder FOLDER, which a container can mount whole:

    cert.pem -> .live/cert.pem      and so each file that the configuration names
    .live -> .set.7                 the set in use
    .set.7/cert.pem ...

A new set is written beside, all of it to the medium, and takes over when a new `.live` is renamed
over the one before. A cut leaves the old set or the new one; what it left half written is removed
by the next deploy(). Who has opened one file of the old set finds the others there: it stays until
that deploy() which finds nothing to change.
"""

import os

from est import posix
from est.errors import StorageError, UsageError
from estd import pem, system

_LIVE = ".live"
_SET = ".set."
# A link or folder on its way to its name.
_NEW = ".new"
# Of stat's mode: what kind it is, a folder, and what chmod sets.
_KIND = 0xF000
_FOLDER = 0x4000
_MODES = 0o7777

# What is written, and under which name unless the configuration says otherwise; null leaves out.
FILES = {
    "cert": "cert.pem",
    "chain": "chain.pem",
    "fullchain": "fullchain.pem",
    "key": "key.pem",
    "combined": None,
    "anchors": None,
}
# Who has the files, and where the system lists them.
OWNERS = (("owner", "passwd"), ("group", "group"))
MODE = "640"
FOLDER_MODE = "750"


def deploy(exports, chain, key, anchors=()):
    """Have the files hold this identity; returns whether any of them changed.

    exports: one export of the configuration, or a list of them (docs/linux.md). chain: DER
    certificates, leaf first. key: DER as est stores it. anchors: DER certificates.

    It may be repeated at any time. Raises UsageError or StorageError for the first export that
    fails, once it has tried the others.
    """
    failure = None
    changed = False
    for wanted in exports if isinstance(exports, list) else [exports]:
        try:
            changed = _deploy(wanted, contents(wanted, chain, key, anchors)) or changed
        except (StorageError, UsageError) as error:
            failure = failure or error
        except OSError as error:
            advice = ": run as root, or as a member of the group" if error.errno in (1, 13) else ""
            failure = failure or StorageError(
                "cannot export to %s: %s%s" % (wanted["folder"], error, advice)
            )
    if failure:
        raise failure
    return changed


def withdraw(exports):
    """Remove what was exported: the identity is no more. The folders stay."""
    for wanted in exports if isinstance(exports, list) else [exports]:
        folder = _path(wanted)
        try:
            if folder_exists(folder):
                _remove_links(folder, _names(folder, _sets(folder)))
                if _live(folder):
                    os.remove(folder + "/" + _LIVE)
                _remove_sets(folder, ())
                posix.sync_folder(folder)
                if _sets(folder):
                    raise OSError("%s is still there" % _sets(folder)[0])
        except OSError as error:
            raise StorageError("cannot remove what is exported to %s: %s" % (folder, error))


def contents(wanted, chain, key, anchors):
    """{file name: text} of one export."""
    form = wanted.get("key_form") or pem.PKCS8
    made = {
        "cert": lambda: pem.certificates(chain[:1]),
        "chain": lambda: pem.certificates(chain[1:]),
        "fullchain": lambda: pem.certificates(chain),
        "key": lambda: pem.key(key, form),
        "combined": lambda: pem.certificates(chain) + pem.key(key, form),
        "anchors": lambda: pem.certificates(anchors),
    }
    texts = {}
    for kind in sorted(FILES):
        name = wanted.get(kind, FILES[kind])
        # A CA that issues directly leaves no chain, and an empty file is none to other programs.
        if not name or (kind == "chain" and not chain[1:]) or (kind == "anchors" and not anchors):
            continue
        if "/" in name or name[0] == "." or name in texts:
            raise UsageError("export: %s: %s: must be a file name of its own" % (kind, name))
        texts[name] = made[kind]()
    return texts


def _deploy(wanted, texts):
    folder = _path(wanted)
    mode = int(wanted.get("mode") or MODE, 8)
    folder_mode = int(wanted.get("folder_mode") or FOLDER_MODE, 8)
    user, group = [number(wanted, *of) for of in OWNERS]
    _make_folders(folder, group, folder_mode)
    for name in texts:
        path = folder + "/" + name
        # What it leads to may be another user's.
        if not system.leads(path, _LIVE + "/" + name) and _exists(path):
            raise UsageError("export: %s is not a file of mpest: move it away" % path)
    before = live = _live(folder)
    names = _names(folder, _sets(folder))
    changed = not (live and _holds(folder + "/" + live, texts, mode, user, group))
    if changed:
        live = _SET + "%d" % (max([0] + [_count(name) for name in _sets(folder)]) + 1)
    try:
        if changed:
            _write(folder + "/" + live, texts, (mode, user, group), (group, folder_mode))
        # New names lead nowhere yet, so that they too appear all at once.
        for name in texts:
            if not system.leads(folder + "/" + name, _LIVE + "/" + name):
                _link(folder, _LIVE + "/" + name, name)
        # `.live` may never lead to what the medium does not hold.
        posix.sync_folder(folder)
        if changed:
            _link(folder, live, _LIVE)
    except OSError:
        if changed:
            _remove_set(folder + "/" + live)
        raise
    # Of names that the configuration had before.
    _remove_links(folder, [name for name in names if name not in texts])
    if changed:
        posix.sync_folder(folder)
    _remove_sets(folder, (before, live))
    return changed


def _write(path, texts, of_files, of_folder):
    # Make a set at `path`, on the medium.
    system.make_folder(path)
    for name in sorted(texts):
        system.write(path + "/" + name, texts[name].encode(), *of_files)
    _own(path, *of_folder)
    posix.sync_folder(path)


def _link(folder, target, name):
    # Have NAME lead to `target`, by one rename.
    new = folder + "/" + _NEW
    try:
        os.remove(new)
    except OSError:
        pass  # there is none
    system.symlink(target, new)
    os.rename(new, folder + "/" + name)


def _own(path, group, mode):
    if group >= 0:
        system.chown(path, -1, group)
    system.chmod(path, mode)


def _holds(path, texts, mode, user, group):
    # Whether the set at `path` is as wanted.
    try:
        if sorted(os.listdir(path)) != sorted(texts):
            return False
        for name in texts:
            file = path + "/" + name
            status = os.stat(file)
            if status[0] & _MODES != mode or user not in (-1, status[4]):
                return False
            if group not in (-1, status[5]):
                return False
            with open(file, "rb") as read:
                if read.read() != texts[name].encode():
                    return False
    except OSError:
        return False
    return True


def _live(folder):
    # The set that `.live` leads to, or None.
    for name in _sets(folder):
        if system.leads(folder + "/" + _LIVE, name):
            return name
    return None


def _sets(folder):
    # Names of the sets, also half written ones, the newest last.
    sets = [name for name in os.listdir(folder) if _count(name)]
    return sorted(sets, key=_count)


def _count(name):
    digits = name[len(_SET) :]
    return int(digits) if name[: len(_SET)] == _SET and digits.isdigit() else 0


def _names(folder, sets):
    names = []
    for name in sets:
        try:
            names += os.listdir(folder + "/" + name)
        except OSError:
            pass  # another user's
    return names


def _remove_links(folder, names):
    for name in names:
        if system.leads(folder + "/" + name, _LIVE + "/" + name):
            os.remove(folder + "/" + name)


def _remove_sets(folder, kept):
    for name in _sets(folder):
        if name not in kept:
            _remove_set(folder + "/" + name)


def _remove_set(path):
    try:
        for name in os.listdir(path):
            os.remove(path + "/" + name)
        os.rmdir(path)
    except OSError:
        pass  # there is none, or the next deploy() removes it


def _make_folders(folder, group, mode):
    # Those of the path that lack. Each has group and mode from the first moment on, whatever cuts.
    if not folder or folder_exists(folder):
        return
    _make_folders(folder.rpartition("/")[0], group, mode)
    new = folder + _NEW
    if not folder_exists(new):
        os.mkdir(new)
    _own(new, group, mode)
    os.rename(new, folder)


def folder_exists(path):
    """Whether there is a folder at `path`."""
    return _exists(path) and os.stat(path)[0] & _KIND == _FOLDER


def _exists(path):
    try:
        os.stat(path)
    except OSError as error:
        if error.errno == 2:
            return False
        raise
    return True


def _path(wanted):
    folder = wanted["folder"].rstrip("/")
    if folder[:1] != "/":
        raise UsageError("export: folder: %s: must begin with /" % wanted["folder"])
    return folder


def number(wanted, key, file):
    """The number of an export's user or group, -1 for none. Raises UsageError.

    key, file: one of OWNERS.
    """
    name = wanted.get(key)
    if name is None:
        return -1
    try:
        return system.number(name, file)
    except LookupError:
        raise UsageError("export: %s: there is no %s here" % (key, name))

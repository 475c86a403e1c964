"""Whether the programs that are to read an export can, as far as this user may try; and what may
hinder them besides modes: SELinux, AppArmor.
"""

import os

from micropython import const

from estd import export, system

_PASSWD = const("/etc/passwd")
_GROUP = const("/etc/group")
_SELINUX = const("/sys/fs/selinux/enforce")
_APPARMOR = const("/sys/kernel/security/apparmor/profiles")
# Where refusals are noted, as far as this user may read them.
_LOGS = const(("/var/log/audit/audit.log", "/var/log/kern.log", "/var/log/syslog"))
# Of a log's end.
_MAX_LOG = const(262144)
_MAX_PROFILES = const(1048576)
_STATUS = const("/proc/self/status")
# CAP_CHOWN, as a bit of capabilities.
_CHOWN = const(1)
# W_OK.
_WRITE = const(2)


def unwritable(folders, root=""):
    """Which of the folders, or of those that they are to be made in, this user cannot write to.

    A list of lines. root: folder in the place of / for what the system tells.
    """
    lines = []
    for folder in folders:
        while folder and not export.folder_exists(folder):
            folder = folder.rpartition("/")[0]
        if not _may_write(folder or "/"):
            text = "%s cannot be written to by this user%s"
            lines.append(text % (folder or "/", hints("", folder, root)))
    return lines


def ungivable(wanted, root=""):
    """Why this user cannot give the files of an export to its owner and group: a list of lines."""
    told = {}
    for line in _text(root + _STATUS, 4096).split("\n"):
        name, _, value = line.partition(":")
        told[name] = value.split()
    if not told.get("CapEff") or int(told["CapEff"][0], 16) & _CHOWN:
        return []
    mine = {"owner": told["Uid"][1:2], "group": told["Gid"][1:2] + told["Groups"]}
    advice = {"owner": "root can, such as by `deploy`", "group": "a member of the group can"}
    lines = []
    for key, file in export.OWNERS:
        number = export.number(wanted, key, file)
        if number >= 0 and "%d" % number not in mine[key]:
            text = "export: %s: this user cannot give files to %s: %s"
            lines.append(text % (key, wanted[key], advice[key]))
    return lines


def refused(wanted, tell, root=""):
    """What the readers of an export cannot read: a list of lines.

    tell: an estd.events.Events, told of what can be read, and of what cannot be tried.
    """
    folder = wanted["folder"].rstrip("/")
    paths = [folder + "/" + wanted[kind] for kind in sorted(export.FILES) if wanted.get(kind)]
    paths = [path for path in paths if exists(path)]
    lines = []
    for reader in wanted["readers"]:
        try:
            user = _user(reader)
        except LookupError:
            lines.append("export: readers: there is no user %s here" % reader)
            continue
        places = _folders(folder + "/x") + paths
        place = _first_closed(reader, user, [place for place in places if exists(place)])
        if place is None:
            tell.note("only root can try whether %s reads %s" % (reader, folder))
        elif place:
            status = os.stat(place)
            text = "%s cannot %s %s (mode %o, user %d, group %d)%s"
            what = "enter" if export.folder_exists(place) else "read"
            found = (status[0] & 0o7777, status[4], status[5], hints(reader, folder, root))
            lines.append(text % ((reader, what, place) + found))
        elif paths or _will_read(reader, user, wanted):
            can = "can" if paths else "will be able to"
            text = "%s %s read %s%s"
            tell("dry-run", {"text": text % (reader, can, folder, hints(reader, folder, root))})
        else:
            text = "%s will not be able to read %s: mode %s, and group %s, which it is not in"
            group = wanted["group"] or "that of the agent"
            lines.append(text % (reader, folder, wanted["mode"], group))
    return lines


def hints(reader, folder, root=""):
    """What else than modes may refuse a program, or has: text to append, "" for nothing."""
    words = []
    if _text(root + _SELINUX)[:1] == "1":
        words.append(
            "SELinux enforces: `ls -Z %s` shows the type, cert_t is read by most" % folder
        )
    for line in _text(root + _APPARMOR, _MAX_PROFILES).split("\n"):
        name = line.partition(" (")[0]
        if reader and reader in name and "(enforce)" in line:
            words.append("AppArmor's profile %s must allow `%s/** r,`" % (name, folder))
    for log in _LOGS:
        for line in reversed(_end(root + log).split("\n")):
            denied = 'apparmor="DENIED"' in line or "avc:  denied" in line
            if denied and folder and folder in line:
                words.append("%s has: %s" % (log, line.strip()[:400]))
                break
    return "; " + "; ".join(words) if words else ""


def _text(path, size=256):
    try:
        with open(path, "rb") as file:
            return file.read(size).decode()
    except (OSError, ValueError):
        return ""


def _end(path):
    try:
        with open(path, "rb") as file:
            file.seek(max(os.stat(path)[6] - _MAX_LOG, 0))
            octets = file.read(_MAX_LOG)
    except OSError:
        return ""
    return "".join([chr(octet) if octet < 128 else "?" for octet in octets])


def exists(path):
    """Whether there is something at `path`, as far as this user can tell."""
    try:
        os.stat(path)
        return True
    except OSError:
        return False


def _may_write(path):
    if hasattr(os, "access"):
        return os.access(path, _WRITE)
    try:
        import ffi

        return ffi.open(None).func("i", "access", "si")(path, _WRITE) == 0
    except ImportError:
        return os.system("[ -w %s ]" % system.quoted(path)) == 0


def _user(name):
    # (Number of the user, number of its group). Raises LookupError.
    with open(_PASSWD) as file:
        for line in file:
            fields = line.split(":")
            if name in (fields[0], fields[2:3] and fields[2]):
                return int(fields[2]), int(fields[3])
    raise LookupError(name)


def _first_closed(reader, user, places):
    # The first folder that the user cannot enter, or file that it cannot read; "" for none, None
    # where only root could try.
    if hasattr(os, "fork"):
        calls = _calls_of_os()
    else:
        try:
            calls = _calls_of_c()
        except ImportError:
            return None
    number, fork, groups, group_id, user_id, wait, leave = calls
    if number() not in (0, user[0]):
        return None
    child = fork()
    if not child:
        code = len(places)
        try:
            if number() == 0:
                groups(reader, user[1])
                group_id(user[1])
                user_id(user[0])
            if number() == user[0]:
                code = _first(places)
        finally:
            leave(code)
    code = wait(child)
    return places[code - 1] if code else ""


def _will_read(reader, user, wanted):
    # Whether the user can read files of such mode and group, once they are there.
    mode = int(wanted["mode"], 8)
    if mode & 0o004 or not user[0] or (wanted["owner"] in (reader, str(user[0])) and mode & 0o400):
        return True
    try:
        group = system.number(wanted["group"] or "", "group")
    except LookupError:
        return False
    if not mode & 0o040:
        return False
    if group == user[1]:
        return True
    with open(_GROUP) as file:
        for line in file:
            fields = line.strip().split(":")
            if fields[2:3] == ["%d" % group] and reader in fields[3].split(","):
                return True
    return False


def _folders(path):
    # Folders from the top to that of the file, with what leads to the set in use.
    folders = []
    at = path.find("/", 1)
    while at > 0:
        folders.append(path[:at])
        at = path.find("/", at + 1)
    return folders + [folders[-1] + "/.live"]


def _first(places):
    # One more than the place of the first that is closed; 0 for none.
    for at, place in enumerate(places):
        try:
            if export.folder_exists(place):
                os.stat(place + "/.")
            else:
                open(place, "rb").close()
        except OSError:
            return at + 1
    return 0


def _calls_of_os():
    return (
        os.geteuid,
        os.fork,
        os.initgroups,
        os.setgid,
        os.setuid,
        lambda child: os.waitpid(child, 0)[1] >> 8,
        os._exit,
    )


def _calls_of_c():
    import ffi

    libc = ffi.open(None)
    waitpid = libc.func("i", "waitpid", "ipi")

    def wait(child):
        status = bytearray(4)
        waitpid(child, status, 0)
        return status[1]

    return (
        libc.func("i", "geteuid", ""),
        libc.func("i", "fork", ""),
        libc.func("i", "initgroups", "si"),
        libc.func("i", "setgid", "i"),
        libc.func("i", "setuid", "i"),
        wait,
        libc.func("v", "_exit", "i"),
    )

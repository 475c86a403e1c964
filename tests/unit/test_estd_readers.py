"""Whether the programs that are to read an export can; what may hinder them besides modes."""

import os

import check
from estd import config, readers, system
from test_estd_hardware import write


class Told:
    def __init__(self):
        self.lines = []

    def __call__(self, event, detail):
        self.lines.append(detail["text"])

    def note(self, text):
        self.lines.append(text)


def exported(mode, folder_mode):
    """An export (estd.config) of such modes."""
    parent = check.folder("readers")
    system.chmod(parent, 0o755)
    wanted = {"folder": parent + "/out", "readers": ["nobody"], "cert": "cert.pem"}
    wanted = config._with_defaults(wanted)
    os.mkdir(wanted["folder"])
    system.chmod(wanted["folder"], folder_mode)
    write(wanted["folder"], "/cert.pem", b"x")
    system.chmod(wanted["folder"] + "/cert.pem", mode)
    return parent, wanted


def may_try():
    if hasattr(os, "geteuid"):
        if os.geteuid():
            raise check.Skip("needs root")
        return
    try:
        import ffi
    except ImportError:
        raise check.Skip("needs ffi")
    if ffi.open(None).func("i", "geteuid", "")():
        raise check.Skip("needs root")


def test_what_a_reader_can():
    may_try()
    for mode, folder_mode, words in (
        (0o644, 0o755, None),
        (0o640, 0o755, "nobody cannot read %s/cert.pem (mode 640, user 0, group 0)"),
        (0o644, 0o750, "nobody cannot enter %s (mode 750, user 0, group 0)"),
    ):
        parent, wanted = exported(mode, folder_mode)
        told = Told()
        lines = readers.refused(wanted, told, parent)
        assert lines == ([words % wanted["folder"]] if words else [])
        assert told.lines == ([] if words else ["nobody can read " + wanted["folder"]])
        check.clean(parent)


def test_what_cannot_be_tried():
    parent, wanted = exported(0o644, 0o755)
    wanted["readers"] = ["no-such-user"]
    lines = readers.refused(wanted, Told(), parent)
    assert lines == ["export: readers: there is no user no-such-user here"]
    check.clean(parent)


def test_before_there_are_files():
    may_try()
    group = [line.split(":")[0] for line in open("/etc/group") if line.split(":")[2] == "1"][0]
    parent, wanted = exported(0o644, 0o755)
    wanted["folder"] += "/none"
    wanted["readers"] = ["daemon"]
    for changes, able in (
        ({}, False),
        ({"group": "root"}, False),
        ({"group": group}, True),
        ({"group": group, "mode": "600"}, False),
        ({"mode": "644"}, True),
        ({"owner": "daemon"}, True),
    ):
        told = Told()
        lines = readers.refused(dict(wanted, **changes), told, parent)
        if able:
            assert lines == [], lines
            assert told.lines == ["daemon will be able to read " + wanted["folder"]]
        else:
            assert "daemon will not be able to read" in lines[0] and told.lines == []
    system.chmod(parent, 0o700)
    lines = readers.refused(wanted, Told(), parent)
    assert "daemon cannot enter %s (mode 700" % parent in lines[0]
    check.clean(parent)


def test_where_this_user_cannot_write():
    folder = check.folder("readers")
    assert readers.unwritable([folder, folder + "/a/b"], folder) == []
    lines = readers.unwritable(["/proc/a"], folder)
    assert not lines or lines == ["/proc cannot be written to by this user"]
    check.clean(folder)


def test_whom_this_user_cannot_give_files_to():
    folder = check.folder("readers")
    text = b"Name:\tx\nUid:\t0\t7\t7\t7\nGid:\t0\t8\t8\t8\nGroups:\t9 10 \nCapEff:\t00%s\n"
    others = {"owner": "root", "group": "root"}
    write(folder, "/proc/self/status", text % b"fe")
    for owner, group in (("7", "8"), ("7", "10"), (None, None)):
        assert readers.ungivable({"owner": owner, "group": group}, folder) == []
    lines = readers.ungivable(others, folder)
    assert lines == [
        "export: owner: this user cannot give files to root: root can, such as by `deploy`",
        "export: group: this user cannot give files to root: a member of the group can",
    ]
    write(folder, "/proc/self/status", text % b"01")
    assert readers.ungivable(others, folder) == []
    assert readers.ungivable(others, folder + "/none") == []
    check.clean(folder)


def test_what_else_refuses():
    root = check.folder("readers")
    assert readers.hints("web", "/etc/web", root) == ""
    write(root, "/sys/fs/selinux/enforce", b"0")
    assert readers.hints("web", "/etc/web", root) == ""
    write(root, "/sys/fs/selinux/enforce", b"1")
    assert "SELinux enforces" in readers.hints("web", "/etc/web", root)
    write(
        root,
        "/sys/kernel/security/apparmor/profiles",
        b"/usr/sbin/web (enforce)\n/usr/sbin/webalizer (complain)\n/usr/sbin/other (enforce)\n",
    )
    text = readers.hints("web", "/etc/web", root)
    assert "AppArmor's profile /usr/sbin/web must allow `/etc/web/** r,`" in text
    assert "webalizer" not in text and "other" not in text
    write(
        root,
        "/var/log/audit/audit.log",
        b'type=AVC avc:  denied  { read } name="/etc/elsewhere"\n'
        b'apparmor="DENIED" operation="open" profile="web" name="/etc/web/key.pem"\n',
    )
    text = readers.hints("web", "/etc/web", root)
    assert 'audit.log has: apparmor="DENIED"' in text and "elsewhere" not in text
    check.clean(root)

"""Modes, links and programs of the system, on each runtime and in each way that it has."""

import os
import sys
import time

import check
from estd import system


def ways(test):
    """Run `test(folder)` as the runtime does it, and on MicroPython without ffi as well."""
    kept = system._libc
    for without in (False, True):
        if without and hasattr(os, "chmod"):
            continue
        folder = check.folder("system")
        system._libc = (lambda: None) if without else kept
        try:
            test(folder)
        finally:
            system._libc = kept
        os.system("rm -rf " + folder)


def mode(path):
    return os.stat(path)[0] & 0o7777


def test_modes():
    def try_it(folder):
        path = folder + "/it's a file"
        me = os.stat(folder)[4:6]
        system.write(path, b"text", 0o640, -1, me[1])
        assert mode(path) == 0o640
        assert tuple(os.stat(path)[4:6]) == tuple(me)
        with open(path, "rb") as file:
            assert file.read() == b"text"
        system.chown(path, me[0], -1)
        system.chown(path, me[0], me[1])
        system.make_folder(folder + "/inner")
        assert mode(folder + "/inner") == 0o700
        system.sync_folder(folder)
        check.raises(OSError, system.chmod, folder + "/none", 0o600)
        check.raises(OSError, system.chown, folder + "/none", me[0], -1)
        check.raises(OSError, system.write, folder + "/none/file", b"", 0o600, -1, -1)

    ways(try_it)


def test_owners():
    def try_it(folder):
        if os.stat(folder)[4]:
            raise check.Skip("needs root")
        system.write(folder + "/file", b"", 0o600, 12345, 54321)
        assert tuple(os.stat(folder + "/file")[4:6]) == (12345, 54321)
        system.chown(folder + "/file", -1, 7)
        assert tuple(os.stat(folder + "/file")[4:6]) == (12345, 7)

    ways(try_it)


def test_links():
    def try_it(folder):
        path = folder + "/link"
        assert not system.leads(path, "target")
        system.symlink("target", path)
        assert system.leads(path, "target")
        for other in ("targe", "target2", "tarGet", ""):
            assert not system.leads(path, other)
        with open(folder + "/target", "wb") as file:
            file.write(b"")
        assert system.leads(path, "target")
        assert not system.leads(folder + "/target", "target")
        check.raises(OSError, system.symlink, "target", path)

    ways(try_it)


def test_numbers():
    assert system.number("root", "passwd") == 0
    assert system.number("root", "group") == 0
    assert system.number("17", "group") == 17
    for file in ("passwd", "group"):
        check.raises(LookupError, system.number, "nobody is called so", file)


def shell(folder, text, seconds=10, **environment):
    """(exit code, output) of a script of the shell."""
    log = folder + "/log"
    environment["PATH"] = "/usr/bin:/bin"
    code = system.run(["sh", "-c", text, "word with ' and $HOME"], environment, log, seconds)
    with open(log) as file:
        return code, file.read()


def test_programs():
    def try_it(folder):
        assert shell(folder, "exit 3")[0] == 3
        assert shell(folder, "kill -9 $$")[0] == -9
        code, output = shell(folder, 'echo "$0"; env; echo error >&2; cat', WORD="a 'b' $c")
        assert code == 0
        lines = output.splitlines()
        assert lines[0] == "word with ' and $HOME"
        assert lines[-1] == "error"
        shown = [line for line in lines[1:-1] if line[:2] not in ("PW", "SH", "_=", "OL")]
        assert sorted(shown) == ["PATH=/usr/bin:/bin", "WORD=a 'b' $c"]
        # The log is appended to.
        assert shell(folder, "echo more")[1] == output + "more\n"
        code = system.run(["no-such-program"], {"PATH": "/bin"}, folder + "/log", 10)
        assert code == 127

    ways(try_it)


def test_a_program_that_takes_too_long_is_killed_with_its_children():
    def try_it(folder):
        text = "(sleep 7; echo late) & echo $!; sleep 60"
        code, output = shell(folder, text, seconds=1)
        assert code == system.TIMED_OUT
        child = int(output)
        for _ in range(50):
            # Whoever adopted it may not have waited for it yet.
            try:
                with open("/proc/%d/stat" % child) as file:
                    ended = file.read().rsplit(")", 1)[1].split()[0] in "ZX"
            except OSError:
                ended = True
            if ended:
                break
            time.sleep(0.1)
        assert ended

    ways(try_it)


def test_a_program_may_leave_a_daemon():
    def try_it(folder):
        code, output = shell(folder, "sleep 30 & echo $!", seconds=5)
        assert code == 0
        daemon = int(output)
        # It lives on, with the log open.
        assert "log" in os.listdir(folder)
        assert os.system("kill %d" % daemon) == 0

    ways(try_it)


def test_text_is_the_same_on_each_runtime():
    assert system.text([("ä€", None, "a'b")]) == "[('\\xe4\\u20ac', None, \"a'b\")]"


def test_output_is_bounded():
    def try_it(folder):
        log = folder + "/log"
        with open(log, "wb") as file:
            file.write(b"before\n")
        most = 7 + system.MAX_OUTPUT
        # It ends by itself, or does not.
        code = system.run(["sh", "-c", "yes | head -c 3000000"], {"PATH": "/bin:/usr/bin"}, log, 9)
        assert code in (0, system.TOO_MUCH)
        assert os.stat(log)[6] == most
        assert shell(folder, "yes")[0] == system.TOO_MUCH
        with open(log, "rb") as file:
            assert file.read(9) == b"before\ny\n"
        assert os.stat(log)[6] == most + system.MAX_OUTPUT
        # Its own files are no log.
        code = shell(folder, "yes | head -c 3000000 >%s/own; exit 4" % folder)[0]
        assert code == 4 and os.stat(folder + "/own")[6] == 3000000

    ways(try_it)


def test_another_program():
    if not hasattr(os, "execv") and not system._libc():
        raise check.Skip("needs os.execv or ffi")
    start = " ".join([system.quoted(word) for word in interpreter()])
    if os.system(start + " -c 1 2>/dev/null"):
        raise check.Skip("needs an interpreter that starts without an emulator")
    folder = check.folder("system")
    program = (
        "import sys; sys.path = %r; from estd import system;"
        "system.execute('/bin/sh', [b'sh', b'-c', b'echo $0 >%s/out; exit 7', b'a b'])"
    )
    with open(folder + "/program.py", "w") as file:
        file.write(program % (sys.path, folder))
    assert os.system("%s %s/program.py" % (start, folder)) >> 8 == 7
    with open(folder + "/out") as file:
        assert file.read() == "a b\n"
    os.system("rm -rf " + folder)


def interpreter():
    """The words that start what runs this."""
    with open("/proc/self/cmdline", "rb") as file:
        words = file.read().decode().split("\0")[:-1]
    if hasattr(os, "execv"):
        return [sys.executable]
    for at, word in enumerate(words):
        if word.rsplit("/", 1)[-1] == "micropython":
            return words[: at + 1]


def test_programs_inherit_no_files():
    def try_it(folder):
        with open(folder + "/open", "wb"):
            code, output = shell(folder, "ls -l /proc/self/fd")
        assert code == 0
        if system._libc() or hasattr(os, "chmod"):
            assert folder + "/open" not in output

    ways(try_it)

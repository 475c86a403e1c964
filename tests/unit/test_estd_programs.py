"""Programs of the system, on each runtime and in each way that it has."""

import os
import sys
import time

import check
from est import posix
from estd import programs, system


def shell(folder, text, seconds=10, **environment):
    """(exit code, output) of a script of the shell."""
    log = folder + "/log"
    environment["PATH"] = "/usr/bin:/bin"
    code = programs.run(["sh", "-c", text, "word with ' and $HOME"], environment, log, seconds)
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
        code = programs.run(["no-such-program"], {"PATH": "/bin"}, folder + "/log", 10)
        assert code == 127

    check.ways(try_it)


def test_a_program_that_takes_too_long_is_killed_with_its_children():
    def try_it(folder):
        text = "(sleep 7; echo late) & echo $!; sleep 60"
        code, output = shell(folder, text, seconds=1)
        assert code == programs.TIMED_OUT
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

    check.ways(try_it)


def test_a_program_may_leave_a_daemon():
    def try_it(folder):
        code, output = shell(folder, "sleep 30 & echo $!", seconds=5)
        assert code == 0
        daemon = int(output)
        # It lives on, with the log open.
        assert "log" in os.listdir(folder)
        assert os.system("kill %d" % daemon) == 0

    check.ways(try_it)


def test_output_is_bounded():
    def try_it(folder):
        log = folder + "/log"
        with open(log, "wb") as file:
            file.write(b"before\n")
        most = 7 + programs.MAX_OUTPUT
        # It ends by itself, or does not.
        command = ["sh", "-c", "yes | head -c 3000000"]
        code = programs.run(command, {"PATH": "/bin:/usr/bin"}, log, 9)
        assert code in (0, programs.TOO_MUCH)
        assert os.stat(log)[6] == most
        assert shell(folder, "yes")[0] == programs.TOO_MUCH
        with open(log, "rb") as file:
            assert file.read(9) == b"before\ny\n"
        assert os.stat(log)[6] == most + programs.MAX_OUTPUT
        # Its own files are no log.
        code = shell(folder, "yes | head -c 3000000 >%s/own; exit 4" % folder)[0]
        assert code == 4 and os.stat(folder + "/own")[6] == 3000000

    check.ways(try_it)


def test_another_program():
    if not hasattr(os, "execv") and not posix.libc():
        raise check.Skip("needs os.execv or ffi")
    start = " ".join([system.quoted(word) for word in interpreter()])
    if os.system(start + " -c 1 2>/dev/null"):
        raise check.Skip("needs an interpreter that starts without an emulator")
    folder = check.folder("system")
    program = (
        "import sys; sys.path = %r; from estd import programs;"
        "programs.execute('/bin/sh', [b'sh', b'-c', b'echo $0 >%s/out; exit 7', b'a b'])"
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
        if posix.libc() or hasattr(os, "chmod"):
            assert folder + "/open" not in output

    check.ways(try_it)

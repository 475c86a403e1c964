"""Running other programs, and ending with them: estd.hooks has it done.

Without `os.posix_spawn` and `ffi` the shell runs them.
"""

import os
import time

from est import posix
from estd import system

# Seconds between two looks at a program that runs: at first, and at most. What it writes between
# two of them is on the disk.
_FIRST_LOOK = 0.01
_LAST_LOOK = 0.1
# At a program that was killed: what the kernel does for it may take its time.
_LAST_LOOKS = 50
# Open files of ours that a program would inherit from MicroPython, which marks none to be closed.
_MAX_FILES = 64
_ENV = "/usr/bin/env"
# What run() returns where a program had to be killed: minus SIGXCPU and SIGXFSZ.
TIMED_OUT = -24
TOO_MUCH = -25
# Octets that one program may leave in its log.
MAX_OUTPUT = 1 << 20
_WNOHANG = 1
_SIGKILL = 9
_SIGPIPE = 13
_SIGTERM = 15
# SIG_SETMASK, and octets of sigset_t: estd.wake has SIGHUP blocked.
_SETMASK = 2
_MASK = 128

# The group of the program that runs, and what C calls at SIGTERM.
_running = [0]
_handlers = []


def end_by_sigterm(code=None):
    """Have SIGTERM end the program that runs and this process, with an exit code or by the signal.

    With a code also as the first process of a container. On MicroPython without ffi the system
    ends this process alone.
    """
    if hasattr(os, "fspath"):
        import signal
        import sys

        def ended(number, frame):
            if code is not None:
                sys.exit(code)
            if _running[0]:
                _kill_group(_running[0])
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

        signal.signal(signal.SIGTERM, ended)
        return
    try:
        import ffi

        libc = ffi.open(None)
        kill = libc.func("i", "kill", "ii")
        leave = libc.func("v", "_exit", "i")
        handle = libc.func("v", "signal", "iP")
        own = libc.func("i", "getpid", "")()

        # One variable: a call of what has five of its own is made in the heap.
        known = (kill, leave, handle, own, code)

        def end(number):
            # At any moment of the interpreter, so nothing is allocated here.
            kill, leave, handle, own, code = known
            if _running[0]:
                kill(-_running[0], _SIGKILL)
            if code is None:
                handle(number, 0)
                kill(own, number)
            else:
                leave(code)

        _handlers.append(ffi.callback("v", end, "i", lock=True))
        handle(_SIGTERM, _handlers[-1])
    except (ImportError, OSError, MemoryError, TypeError):
        pass  # such as without memory that is both written to and run


def mark(process):
    """Text that tells a process from all others, also after a restart of the system.

    None where it has ended, or the system does not tell.
    """
    try:
        with open("/proc/%d/stat" % process, "rb") as file:
            # A name is in brackets, and may hold some.
            fields = file.read().rpartition(b")")[2].split()
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            start = file.read().strip()
    except OSError:
        return None
    if fields[0] in (b"Z", b"X"):
        return None
    return "%d %s %s" % (process, fields[19].decode(), start.decode())


def end(marked):
    """End the group of a program that an agent before this one left running.

    marked: its `mark`. Returns whether it still ran.
    """
    process = int(marked.split()[0])
    if mark(process) != marked:
        return False
    _kill_group(process)
    for _ in range(_LAST_LOOKS):
        if mark(process) != marked:
            break
        time.sleep(_LAST_LOOK)
    return True


def run(command, environment, log, seconds, begun=None):
    """Run a program in a process group of its own; returns its exit code.

    command: list of texts. environment: all of it, a dict. log: path of the file that its output
    is appended to, not a pipe: it may leave a daemon. A negative code is minus the signal that
    ended it. After so many seconds the group is killed: TIMED_OUT. So it is once it wrote more
    than MAX_OUTPUT: TOO_MUCH. Of that the log keeps the beginning. begun: called with the `mark`,
    where there is one. Whatever ends the wait ends the program.
    """
    most = size(log) + MAX_OUTPUT
    code = _run(command, environment, log, seconds, most, begun)
    if size(log) > most:
        _cut(log, most)
    return code


def size(path):
    """Octets of a file, 0 where there is none."""
    try:
        return os.stat(path)[6]
    except OSError:
        return 0


def _cut(path, size):
    if hasattr(os, "truncate"):
        os.truncate(path, size)
    else:
        # off_t of C's truncate() is of no size that is known here.
        system.program("dd", "if=/dev/null", "of=" + path, "bs=1", "seek=%d" % size)


def _run(command, environment, log, seconds, most, begun):
    words = [_ENV, "-i"] + ["%s=%s" % pair for pair in sorted(environment.items())]
    words += command
    if not hasattr(os, "posix_spawn") and not posix.libc():
        return _by_shell(words, log, seconds, most)
    with open(log, "ab") as output:
        process = (_spawn if hasattr(os, "posix_spawn") else _fork)(words, output.fileno())
    _running[0] = process
    code = None
    try:
        marked = begun and mark(process)
        if marked:
            begun(marked)
        code = _awaited(process, log, seconds, most)
        return code
    finally:
        if code is None:
            _kill_group(process)
        _running[0] = 0


def _awaited(process, log, seconds, most):
    look = _FIRST_LOOK
    while True:
        code = _ended(process)
        if code is not None:
            return code
        too_much = size(log) > most
        if too_much or seconds <= 0:
            _kill_group(process)
            while _ended(process) is None:
                time.sleep(_FIRST_LOOK)
            return TOO_MUCH if too_much else TIMED_OUT
        # Counted, for a clock may be set meanwhile.
        time.sleep(look)
        seconds -= look
        look = min(2 * look, _LAST_LOOK)


def _spawn(words, output):
    import signal

    return os.posix_spawn(
        words[0],
        words,
        {},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ],
        setpgroup=0,
        setsigmask=[],
        # Ignored by Python; a program expects them as usual.
        setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP],
    )


def execute(path, arguments):
    """Be another program from now on; arguments: list of bytes. Returns where nothing can."""
    if hasattr(os, "execv"):
        os.execv(path, arguments)
    libc = posix.libc()
    if libc:
        texts, pointers = _vector(arguments)
        libc.func("i", "execv", "sp")(path, pointers)


def _vector(words):
    # C's argv of a list of bytes; the texts must be kept for as long as it is used.
    import struct

    from uctypes import addressof

    texts = [word + b"\0" for word in words]
    return texts, struct.pack(
        "%dP" % (len(texts) + 1), *([addressof(text) for text in texts] + [0])
    )


def _fork(words, output):
    libc = posix.libc()
    texts, pointers = _vector([word.encode() for word in words])
    setpgid, dup2, close, leave, execv, handle, unblock, fork = [
        libc.func(*signature)
        for signature in (
            ("i", "setpgid", "ii"),
            ("i", "dup2", "ii"),
            ("i", "close", "i"),
            ("v", "_exit", "i"),
            ("i", "execv", "pp"),
            ("p", "signal", "iP"),
            ("i", "sigprocmask", "ipp"),
            ("i", "fork", ""),
        )
    ]
    with open("/dev/null", "rb") as nothing:
        process = fork()
        if process:
            if process < 0:
                raise OSError(os.errno(), "fork")
            setpgid(process, process)
            return process
        setpgid(0, 0)
        dup2(nothing.fileno(), 0)
        dup2(output, 1)
        dup2(output, 2)
        for file in range(3, _MAX_FILES):
            close(file)
        handle(_SIGPIPE, 0)
        unblock(_SETMASK, bytearray(_MASK), None)
        execv(texts[0], pointers)
        leave(127)


def _ended(process):
    # The exit code of a child, or None while it runs.
    if hasattr(os, "waitpid"):
        found, status = os.waitpid(process, os.WNOHANG)
    else:
        import struct

        out = bytearray(4)
        found = posix.libc().func("i", "waitpid", "ipi")(process, out, _WNOHANG)
        status = struct.unpack("i", out)[0]
    if not found:
        return None
    return -(status & 0x7F) if status & 0x7F else status >> 8


def _kill_group(process):
    if hasattr(os, "killpg"):
        os.killpg(process, _SIGKILL)
    else:
        posix.libc().func("i", "kill", "ii")(-process, _SIGKILL)


# It runs a program, for so many seconds and while its log is not too large. Without setsid the
# shell's job control makes the group; where it has none, the program alone is killed.
_SHELL = """\
s=; if command -v setsid >/dev/null; then s=setsid; else set -m 2>/dev/null; fi
$s %s </dev/null >>%s 2>&1 & p=$!
n=0; e=; l=%s
while kill -0 $p 2>/dev/null; do
    set -- $(ls -lnL "$l" 2>/dev/null)
    if [ "$5" -gt %d ] 2>/dev/null; then e=%d; elif [ $n -ge %d ]; then e=%d; fi
    if [ $e ]; then kill -9 -$p 2>/dev/null || kill -9 $p 2>/dev/null; exit $e; fi
    sleep 1; n=$((n+1))
done
wait $p"""


def _by_shell(words, log, seconds, most):
    command = " ".join([system.quoted(word) for word in words])
    log = system.quoted(log)
    script = _SHELL % (command, log, log, most, 128 - TOO_MUCH, seconds, 128 - TIMED_OUT)
    code = os.system(script) >> 8
    # As the shell tells of a signal.
    return 128 - code if code > 128 else code

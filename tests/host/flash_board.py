"""A board whose storage is littlefs in memory, for the tests of cuts while it is updated.

On MicroPython's unix port, driven by test_flash_cuts.py. It reads lines of JSON on standard input,
and answers each with one. ["exec", CODE] gives what the code printed. ["boot"] runs main.py, and
gives what that printed. ["watch", NAME] keeps, from then on, what a cut of the power leaves at
each write or erasure, in two of the variants of tests/faults/disks.py. ["count", NAME] gives how
many that are, ["restore", NAME, NUMBER] goes on from one of them.
"""

import builtins
import gc
import io
import json
import os
import random
import sys

import disks
import vfs

_BUILT_IN = list(sys.modules)


class Storage(disks.Flash):
    count = 256


class Sleepless:
    def sleep(self, seconds):
        pass


class Machine:
    def unique_id(self):
        return b"\x0a\x0b\x0c"


class System:
    # What `mpest flash` looks at.
    platform = "rp2"

    class implementation:
        name = "micropython"
        version = (1, 25, 0, "")
        _machine = "Raspberry Pi Pico W with RP2040"
        _mpy = 6 | 3 << 8 | 4 << 10  # armv6m


System.modules = sys.modules
System.path = sys.path
stdin, stdout, print_exception = sys.stdin, sys.stdout, sys.print_exception


class Board:
    def __init__(self):
        self.cuts = {}
        self.disk = Storage()
        self.disk.format()
        vfs.umount("/")
        self.disk.mount("/")
        os.chdir("/")
        # What works with the host's file system goes on with this one.
        sys.path[:] = ["", ".frozen", "/lib"]

    def exec(self, code):
        said = []
        usual = builtins.print
        builtins.print = lambda *values: said.append(" ".join(map(str, values)))
        for name in list(sys.modules):
            if name not in _BUILT_IN:
                del sys.modules[name]
        sys.modules.update({"machine": Machine(), "sys": System, "time": Sleepless()})
        gc.collect()
        try:
            exec(code, {"__name__": "__main__"})
        finally:
            builtins.print = usual
            for name in ("machine", "sys", "time"):
                del sys.modules[name]
        return "\n".join(said)

    def boot(self):
        if "main.py" in os.listdir("/"):
            return self.exec("execfile('main.py')")
        return ""

    def watch(self, name):
        cuts = self.cuts[name] = []

        def watch(*change):
            blocks = self.disk.save()
            for variant in ("clean", "torn"):
                cut = disks.cut(variant, blocks, None, *change, random=random.randrange)
                if cut:
                    cuts.append(cut)

        self.disk.watch = watch

    def count(self, name):
        return len(self.cuts[name])

    def restore(self, name, number):
        vfs.umount("/")
        self.disk = Storage(self.cuts[name][number])
        self.disk.mount("/")
        os.chdir("/")


board = Board()
while True:
    line = stdin.readline()
    if not line:
        break
    name, *arguments = json.loads(line)
    try:
        answer = getattr(board, name)(*arguments)
        stdout.write(json.dumps(["ok", answer]) + "\n")
    except Exception as error:
        text = io.StringIO()
        print_exception(error, text)
        stdout.write(json.dumps(["error", text.getvalue()]) + "\n")

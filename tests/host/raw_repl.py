"""A board for mpremote, played by MicroPython's unix port on a pseudo terminal.

Its root is the folder it is started in. Arguments: sys.platform, the machine, and the seconds
before it answers at first.
"""

import builtins
import io
import os
import sys
import time

import vfs

HOST = vfs.VfsPosix()
FOLDER = os.getcwd()


class Reset(Exception):
    pass


class System:
    def __init__(self, platform, machine):
        class Implementation:
            name = "micropython"
            version = (1, 25, 0, "")
            _machine = machine
            _mpy = 6 | 3 << 8 | 4 << 10  # armv6m

        self.platform = platform
        self.implementation = Implementation
        self.stdin = sys.stdin
        self.stdout = sys.stdout
        self.modules = sys.modules
        self.path = ["", ".frozen", "/lib"]


class Machine:
    def unique_id(self):
        return b"\x0a\x0b\x0c"

    def reset(self):
        raise Reset

    bootloader = reset


class Os:
    # VfsPosix.rename of 1.25 mixes both paths up where it has a root of its own.
    def __init__(self):
        for name in dir(os):
            setattr(self, name, getattr(os, name))
        self.rename = rename


def rename(path, to):
    HOST.rename(FOLDER + "/" + path, FOLDER + "/" + to)


def main(platform, machine, seconds):
    read = sys.stdin.buffer.read
    write = sys.stdout.buffer.write
    print_exception = sys.print_exception
    vfs.umount("/")
    vfs.mount(vfs.VfsPosix(FOLDER), "/")
    time.sleep(float(seconds))
    sys.modules["os"] = Os()
    sys.modules["machine"] = Machine()
    sys.modules["sys"] = System(platform, machine)
    scope = {"__name__": "__main__"}
    usual = print

    def told(*values, **options):
        usual(*values, end=options.get("end", "\r\n"), sep=options.get("sep", " "))

    builtins.print = told
    code = b""
    raw = False
    while True:
        byte = read(1)
        if byte == b"\x01":
            raw = True
            write(b"raw REPL; CTRL-B to exit\r\n>")
            code = b""
        elif byte == b"\x02":
            raw = False
            write(b"\r\nMicroPython v1.25.0\r\n>>> ")
        elif byte == b"\x03":
            code = b""
            write(b"\r\n>>> ")
        elif byte == b"\x05":
            read(2)
            write(b"R\x00")  # no raw paste here
            code = b""
        elif byte == b"\x04" and raw:
            write(b"OK")
            if code:
                try:
                    exec(code, scope)
                    write(b"\x04\x04>")
                except Reset:
                    raw = False
                except Exception as error:
                    text = io.StringIO()
                    print_exception(error, text)
                    write(b"\x04" + text.getvalue().encode() + b"\x04>")
            else:
                scope = {"__name__": "__main__"}
                write(b"\r\nMPY: soft reboot\r\nraw REPL; CTRL-B to exit\r\n>")
            code = b""
        elif raw:
            code += byte


main(*sys.argv[1:])

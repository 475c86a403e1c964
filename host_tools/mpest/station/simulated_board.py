"""A board behind a serial line: MicroPython's unix port, on its standard input and output.

Its root is the folder it is started in. Arguments: sys.platform, the machine, the seconds before
it answers at first, its number in hex, and the program that it runs before, if any.
"""

import binascii
import builtins
import gc
import io
import os
import sys
import time

import vfs

HOST = vfs.VfsPosix()
FOLDER = os.getcwd()
BUILT_IN = list(sys.modules)
BANNER = b'\r\nMicroPython v1.25.0\r\nType "help()" for more information.\r\n>>> '
WINDOW = 1024  # of raw paste; boards have 128 or 256


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
        self.path = sys.path


class Clock:
    def datetime(self, _):
        pass  # the computer's is right


class Machine:
    RTC = Clock

    def __init__(self, number):
        self._number = binascii.unhexlify(number)

    def unique_id(self):
        return self._number

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


def paste(read, write):
    # As the REPL of a board takes a program: in windows, up to the first \x04; \x03 ends that.
    write(b"R\x01" + WINDOW.to_bytes(2, "little"))
    code = bytearray()
    while True:
        byte = read(1)
        if byte in (b"\x03", b"\x04", b""):
            write(b"\x04")
            return b"raise KeyboardInterrupt" if byte == b"\x03" else bytes(code)
        code += byte
        if len(code) % WINDOW == 0:
            write(b"\x01")


def forget():
    # What a reset takes out of the heap.
    for name in list(sys.modules):
        if name not in BUILT_IN:
            del sys.modules[name]
    sys.modules["os"] = Os()
    sys.modules["machine"] = MACHINE
    sys.modules["sys"] = SYSTEM
    gc.collect()


def main(platform, machine, seconds, number="0a0b0c", program=None):
    global MACHINE, SYSTEM
    read = sys.stdin.buffer.read
    write = sys.stdout.buffer.write
    print_exception = sys.print_exception
    vfs.umount("/")
    vfs.mount(vfs.VfsPosix(FOLDER), "/")
    sys.path[:] = ["", ".frozen", "/lib"]
    time.sleep(float(seconds))
    MACHINE = Machine(number)
    SYSTEM = System(platform, machine)
    forget()
    scope = {"__name__": "__main__"}
    usual = print

    def told(*values, **options):
        usual(*values, end=options.get("end", "\r\n"), sep=options.get("sep", " "))

    builtins.print = told
    code = b""
    raw = False

    def run(code):
        # Whether it went on; not where the board reset itself.
        try:
            exec(code, scope)
            write(b"\x04\x04>")
        except Reset:
            forget()
            write(BANNER)
            return False
        except (Exception, KeyboardInterrupt) as error:
            text = io.StringIO()
            print_exception(error, text)
            write(b"\x04" + text.getvalue().encode() + b"\x04>")
        return True

    if program:
        with open(program) as file:
            exec(file.read(), scope)
    while True:
        byte = read(1)
        if not byte:
            return  # who held the other end is gone
        if byte == b"\x01":
            raw = True
            write(b"raw REPL; CTRL-B to exit\r\n>")
            code = b""
        elif byte == b"\x02":
            raw = False
            write(BANNER)
        elif byte == b"\x03":
            code = b""
            write(b"\r\n>>> ")
        elif byte == b"\x05" and raw:
            read(2)
            raw = run(paste(read, write))
            code = b""
        elif byte == b"\x04" and raw:
            write(b"OK")
            if code:
                raw = run(code)
            else:
                forget()
                scope = {"__name__": "__main__"}
                write(b"\r\nMPY: soft reboot\r\nraw REPL; CTRL-B to exit\r\n>")
            code = b""
        elif raw:
            code += byte


main(*sys.argv[1:])

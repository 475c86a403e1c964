"""What the unit tests share. Runs on MicroPython and on CPython."""

import builtins
import gc
import json
import os

from est.errors import EstError

# What certificates in the tests say of themselves.
KEY_USAGE = b"\x55\x1d\x0f"
SUBJECT_ALT_NAME = b"\x55\x1d\x11"
BASIC_CONSTRAINTS = b"\x55\x1d\x13"
NAME_CONSTRAINTS = b"\x55\x1d\x1e"
EXT_KEY_USAGE = b"\x55\x1d\x25"

# Test every this many of long lists of vectors; more than 1 where the machine is slow.
SAMPLE = int(os.getenv("MPEST_SAMPLE") or "1")


class Skip(Exception):
    """The test needs something that isn't here."""


def raises(error, function, *args):
    """The `error` that `function(*args)` raises; AssertionError if it raises none."""
    try:
        function(*args)
    except error as raised:
        return raised
    raise AssertionError("no %s raised" % error.__name__)


def without(part, function, *arguments):
    """The result of `function(*arguments)` while est.`part` cannot be imported."""
    usual = builtins.__import__

    def limited(name, *rest):
        listed = rest[2] if len(rest) > 2 else None
        if name == "est." + part or (name == "est" and listed and part in listed):
            raise ImportError("no module named 'est.%s'" % part)
        return usual(name, *rest)

    builtins.__import__ = limited
    try:
        return function(*arguments)
    finally:
        builtins.__import__ = usual


def folder(name):
    """Path of a new folder; remove it with `clean`."""
    path = "/tmp/est-%s-%d" % (name, int.from_bytes(os.urandom(4), "big"))
    os.mkdir(path)
    return path


def ways(test):
    """Run `test(folder)` as the runtime does it, and on MicroPython without ffi as well."""
    from est import posix

    usual = posix.libc
    for without in (False, True):
        if without and hasattr(os, "chmod"):
            continue
        path = folder("system")
        posix.libc = (lambda: None) if without else usual
        try:
            test(path)
        finally:
            posix.libc = usual
        os.system("rm -rf " + path)


def clean(path):
    """Remove folder `path` and what it holds."""
    for name in os.listdir(path):
        name = path + "/" + name
        if os.stat(name)[0] & 0xF000 == 0x4000:
            clean(name)
        else:
            os.remove(name)
    os.rmdir(path)


def vector(path):
    """bytes of a file of tests/vectors or MPEST_VECTORS, by default ../shared/vectors."""
    here = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
    others = os.getenv("MPEST_VECTORS") or here + "/../../../shared/vectors"
    for folder in (here + "/../vectors", others):
        try:
            with open(folder + "/" + path, "rb") as file:
                return file.read()
        except OSError as error:
            missing = error
    if os.getenv("CI") == "true":
        raise missing
    raise Skip("needs the vectors: " + path)


def wycheproof(name, note="", sample=1):
    """(group, test) of a Wycheproof file's tests, of `sample` one; then prints how many passed.

    note: what we refuse of the acceptable ones, and why.
    """
    # 32-bit MicroPython has 1 MB in all, and the file before may still fill half of it.
    gc.collect()
    file = json.loads(vector("wycheproof/%s_test.json" % name))
    at = passed = 0
    for group in file["testGroups"]:
        for test in group["tests"]:
            at += 1
            if at % sample == 0:
                yield group, test
                passed += 1
    if at != file["numberOfTests"] or not passed:
        raise AssertionError("%s: %d tests" % (name, at))
    print("wycheproof %s: %d of %d passed%s" % (name, passed, at, note and "; refused: " + note))


def numbers(seed):
    """Endless pseudorandom 32-bit numbers, the same everywhere (xorshift)."""
    while True:
        seed ^= seed << 13 & 0xFFFFFFFF
        seed ^= seed >> 17
        seed ^= seed << 5 & 0xFFFFFFFF
        yield seed


def truncated(parse, data):
    """`parse` refuses each prefix of `data` but the empty one with an EstError."""
    for size in range(1, len(data)):
        raises(EstError, parse, data[:size])


def mutated(parse, data, count=400, seed=1):
    """`parse` takes or refuses `data` with one or two changed bytes; only EstErrors come out."""
    random = numbers(seed)
    for _ in range(max(count // SAMPLE, 40)):
        changed = bytearray(data)
        for _ in range(1 + next(random) % 2):
            changed[next(random) % len(changed)] = next(random) >> 8 & 0xFF
        try:
            parse(bytes(changed))
        except EstError:
            pass


def steps(found=None):
    """Steps (est.run) that do nothing, and whose result is `found`."""
    return found
    yield


class Pause:
    """What a coroutine awaits to let others run once."""

    def __init__(self):
        self.over = False

    def __iter__(self):
        return self

    def __next__(self):
        if self.over:
            raise StopIteration
        self.over = True

    __await__ = __iter__

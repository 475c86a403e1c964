"""P-256 side by side with other libraries on each MicroPython, and its paths on emulated boards.

Milliseconds are medians; `cold` is from import to the first signature in a new process, and
`sign_checked` is a signature of est's keys, which is verified before it leaves. Libraries take
turns. All are .mpy files; peers.py says what the others are spared.
"""

import json
import mmap
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import c_reference
import peers
from report import EST, save, show
from rich.console import Console
from rich.progress import track

from mpest import boards, emulator, packages
from mpest.exits import CliError
from mpest.runtimes import RuntimeMissing, find
from mpest.toolchain import mpy, picow_like

# 32-bit, as boards are. Under qemu new code costs much the first time, so it is the second choice.
SMALL = "micropython-" + ("i386" if platform.machine() == "x86_64" else "armhf")
RUNTIMES = ("micropython", SMALL)
OPERATIONS = ("cold", "key_pair", "sign", "verify")
TURNS = 5
TIMES = 3  # in each turn
LEAST, MOST = 4, 512  # KiB of heap

TIMED = f"""
from time import ticks_diff, ticks_us
times = {{}}
def timed(name, operation, *arguments):
    start = ticks_us()
    result = operation(*arguments)
    times.setdefault(name, []).append(ticks_diff(ticks_us(), start))
    return result
D, E = 3**150, 5**100
def cold():
    import peer
    return peer.sign(peer.key(D), E)
timed("cold", cold)
import peer
def new_pair():
    private = peer.random()
    return private, peer.public(private)
for _ in range({TIMES + 1}):
    private, public = timed("key_pair", new_pair)
    signature = timed("sign", peer.sign, private, E)
    if not timed("verify", peer.verify, public, E, *signature):
        raise SystemExit("a good signature is refused")
    if peer.verify(public, E + 1, *signature):
        raise SystemExit("a bad signature is taken")
    if hasattr(peer, "sign_checked"):
        timed("sign_checked", peer.sign_checked, private, E, public)
import json
print(json.dumps(times))
"""
PASSES = """
import peer
private = peer.random()
public = peer.public(private)
if not peer.verify(public, 5**100, *peer.sign(private, 5**100)):
    raise SystemExit("a good signature is refused")
"""

# A ROMFS that lies in memory outside the heap, as a board's flash does, comes before PASSES.
MAPPED = """
import ffi, os, sys, uctypes, vfs
image = {image!r}
libc = ffi.open("libc.so.6")
descriptor = libc.func("i", "open", "si")(image, {read_only})
size = os.stat(image)[6]
address = libc.func("p", "mmap", "piiiii")(0, size, {read}, {private}, descriptor, 0)
vfs.mount(vfs.VfsRom(uctypes.bytearray_at(address, size)), "/rom")
sys.path[:] = ["/rom"]
del libc
"""

# As if it were frozen; otherwise the table is read from a file.
LOADED = """
from est import comb, p256_comb{0}x{1} as loaded
comb.find = lambda *_: ({0}, {1}, loaded.TABLE, 0)
P256._fast = comb.load(P256)
"""
# {path: (modules beside those of every path, what is done first)}; machine code has one for the
# board's processor too.
PATHS = {
    "no table": ((), ""),
    "2 KB table": (("comb", "p256_comb5x2", "wnaf"), ""),
    "8 KB table": (("comb", "p256_comb7x2", "wnaf"), ""),
    "8 KB table in memory": (("comb", "p256_comb7x2", "wnaf"), LOADED.format(7, 2)),
    "machine code, 2 KB table": (("comb", "p256_comb5x2", "wnaf"), ""),
    "machine code, 8 KB table": (("comb", "p256_comb7x2", "wnaf"), ""),
    "machine code, 2 KB table in memory": (("comb", "p256_comb5x2", "wnaf"), LOADED.format(5, 2)),
    "machine code, 8 KB table in memory": (("comb", "p256_comb7x2", "wnaf"), LOADED.format(7, 2)),
}
# Reading the random source is not counted, conditioning its bytes is.
BOARD = """
from est import entropy
from est.ec import P256
raw = bytes(range(128))
entropy.use(lambda count: raw)
private = bytes(31) + b"7"
digest = bytes(range(32))
public = P256.public(private)
signature = P256.sign(private, digest)
if not P256.verify(public, digest, signature):
    raise SystemExit("a good signature is refused")
"""
COUNTED = {
    "key_pair": "P256.public(P256.generate())",
    "sign": "P256.sign(private, digest)",
    "sign_checked": "P256.sign(private, digest, None, public)",  # as est.keys does
    "verify": "P256.verify(public, digest, signature)",
}


def run(program, folder, code, *options):
    return subprocess.run(
        [*program.argv, *options, "-c", code],
        env={**os.environ, **program.env, "MICROPYPATH": f"{folder}:.frozen"},
        capture_output=True,
        text=True,
    )


def timed(program, folder):
    done = run(program, folder, TIMED)
    if done.returncode:
        sys.exit(f"{folder} on {program.name}: {done.stdout}{done.stderr}")
    found = json.loads(done.stdout)
    # The first of each still imports and makes tables.
    return {name: times if name == "cold" else times[1:] for name, times in found.items()}


def in_ms(times):
    return round(statistics.median(times) / 1000, 2)


def smallest_heap(program, folder, first=""):
    """KiB in which `first` (code), a key pair, a signature and its verification fit, or None."""
    low, high = LEAST, MOST
    while low < high:
        middle = (low + high) // 2
        if run(program, folder, first + PASSES, "-X", f"heapsize={middle << 10}").returncode:
            low = middle + 1
        else:
            high = middle
    return low if low < MOST else None


def romfs_heap(program, folder):
    """The same with the modules in ROMFS."""
    image = folder.with_suffix(".romfs")
    packages.build_romfs(folder, image)
    first = MAPPED.format(
        image=str(image), read_only=os.O_RDONLY, read=mmap.PROT_READ, private=mmap.MAP_PRIVATE
    )
    return smallest_heap(program, folder.parent, first)


def frozen_heap(adapter, work):
    """The same with est frozen into the firmware, as every part of it then is, or None."""
    try:
        program = find("micropython-picow-like")
        built, frozen = str(picow_like.micropython()), str(picow_like.micropython(EST))
    except CliError as missing:
        print(f"Left out, the heap with est frozen: {missing.message}", file=sys.stderr)
        return None
    folder = work / "frozen"
    folder.mkdir()
    shutil.copy(adapter, folder)
    argv = tuple(frozen if part == built else part for part in program.argv)
    return smallest_heap(replace(program, argv=argv), folder)


def side_by_side(name, libraries):
    program = find(name)
    times = {library: {} for library in libraries}
    for _ in track(range(TURNS), name, console=Console(stderr=True)):
        for library, folder in libraries.items():
            for operation, found in timed(program, folder).items():
                times[library].setdefault(operation, []).extend(found)
    rows = []
    for library, folder in libraries.items():
        row = {"runtime": name, "library": library}
        for operation in OPERATIONS:
            row[operation] = in_ms(times[library][operation])
        checked = times[library].get("sign_checked")
        row["sign_checked"] = in_ms(checked) if checked else None
        row["heap_KiB"] = smallest_heap(program, folder) if name == SMALL else None
        row["romfs_KiB"] = romfs_heap(program, folder) if name == SMALL else None
        row["mpy"] = sum(path.stat().st_size for path in folder.rglob("*.mpy"))
        row["mpy"] -= (folder / "peer.mpy").stat().st_size
        rows.append(row)
    return rows


def ratios(rows):
    """How many times faster each of ours is than the best of the others, by operation."""
    others = rows[len(peers.OURS) :]
    return [
        {"runtime": own["runtime"], "library": own["library"]}
        | {
            operation: round(min(row[operation] for row in others) / own[operation], 2)
            for operation in OPERATIONS
        }
        for own in rows[: len(peers.OURS)]
    ]


def count(board, modules, first):
    """Instructions of each operation on an emulated board with .mpy modules."""
    with (
        tempfile.TemporaryDirectory() as folder,
        emulator.Machine(board, emulator.build(board), counting=True) as machine,
    ):
        package = Path(folder) / "est"
        package.mkdir()
        least = ("__init__", "clock", "ec", "entropy", "errors", "numbers", "windows")
        for module in (*least, *modules):
            compiled = mpy.compile_file(EST / f"{module}.py", board.arch)
            (package / f"{module}.mpy").write_bytes(compiled)
        bringup = Path(folder) / "bringup.mpy"
        bringup.write_bytes(mpy.compile_file(EST.parent / "bringup.py", board.arch))
        machine.mpremote("fs", "mkdir", "lib")
        machine.mpremote("resume", "fs", "cp", "-r", package, ":lib/")
        machine.mpremote("resume", "fs", "cp", bringup, ":lib/")
        return {
            name: round(
                max(emulator.instructions(machine, BOARD + first, statement, rounds=2)) / 1e6, 1
            )
            for name, statement in COUNTED.items()
        }


def on_boards():
    rows = []
    for name in boards.names():
        board = boards.load(name)
        if not board.emulator:
            continue
        for path, (modules, first) in PATHS.items():
            if path.startswith("machine code"):
                modules += tuple(f"p256{ending}" for ending in mpy.machine_code(board.arch))
            rows.append({"board": name, "path": path, **count(board, modules, first)})
        for library, counted in c_reference.count(board).items():
            millions = {operation: round(found / 1e6, 1) for operation, found in counted.items()}
            rows.append({"board": name, "path": library, **millions})
    return rows


def main():
    result = {"times": [], "faster_than_best_other": [], "instructions": []}
    with tempfile.TemporaryDirectory() as folder:
        libraries = peers.build(Path(folder))
        adapter = libraries["est"] / "peer.mpy"
        result["frozen_heap_KiB"] = frozen_heap(adapter, Path(folder))
        for name in RUNTIMES:
            try:
                rows = side_by_side(name, libraries)
            except RuntimeMissing as missing:
                print(f"Left out: {missing.message}", file=sys.stderr)
                continue
            result["times"] += rows
            result["faster_than_best_other"] += ratios(rows)
    try:
        result["instructions"] = on_boards()
    except CliError as error:
        print(f"Left out, instructions on emulated boards: {error.message}", file=sys.stderr)
    save("bench", result)
    if not result["times"]:
        sys.exit(2)
    show(result["times"], "Milliseconds")
    show(result["faster_than_best_other"], "Times faster than the best other")
    print(f"KiB of heap with est frozen into the firmware: {result['frozen_heap_KiB']}")
    if result["instructions"]:
        show(result["instructions"], "Millions of instructions")


main()

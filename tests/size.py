"""Bytes of each device module as .mpy, and what each install takes on a Pico W's littlefs."""

from littlefs import LittleFS
from report import EST, budgets, hold, over_budget, report

from mpest import boards, packages
from mpest.flash import application
from mpest.toolchain import mpy

BOARD = boards.load("RPI_PICO_W")

BLOCK = 4096
# As MicroPython's rp2 port mounts it.
PICO = {"block_size": BLOCK, "prog_size": 256, "read_size": 32, "cache_size": 1024}


def blocks(files):
    """Blocks that {path: octets} takes on a file system that was empty."""
    disk = LittleFS(**PICO, lookahead_size=32, block_count=BOARD.storage.size // BLOCK)
    empty = disk.used_block_count
    for path, data in files.items():
        if path.rpartition("/")[0]:
            disk.makedirs(path.rpartition("/")[0], exist_ok=True)
        with disk.open(path, "wb") as file:
            file.write(data)
    return disk.used_block_count - empty


compiled = {path.stem: mpy.compile_file(path, BOARD.arch) for path in sorted(EST.glob("*.py"))}
modules = {name: len(data) for name, data in compiled.items()}
least, whole = packages.parts("est-minimum"), packages.parts()


def as_installed(paths):
    found = [path.removesuffix(".py") for path in paths]
    return {f"lib/{path}.mpy": compiled[path.removeprefix("est/")] for path in found}


trees = {
    "minimum": as_installed(least),
    "minimum_packed": packages.packed(least, BOARD.arch),
    "full": as_installed(whole),
    "full_packed": packages.packed(whole, BOARD.arch),
    "flash": {file.path.strip("/"): file.data for file in application.files(BOARD)},
}
installs = {name: sum(map(len, tree.values())) for name, tree in trees.items()}
on_flash = {name: blocks(tree) for name, tree in trees.items()}
files = {name: len(tree) for name, tree in trees.items()}
rows = [
    {
        "what": name,
        "part": "minimum" if f"est/{name}.py" in least else "optional",
        "mpy": size,
        "files": None,
        "blocks of 4 KiB": None,
    }
    for name, size in modules.items()
]
rows += [
    {
        "what": name,
        "part": "install",
        "mpy": size,
        "files": files[name],
        "blocks of 4 KiB": on_flash[name],
    }
    for name, size in installs.items()
]
report("size", rows)
hold(
    [
        *over_budget(
            {"mpy": modules, "install": installs, "files": files, "blocks": on_flash}, budgets()
        )
    ]
)

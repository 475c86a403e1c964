"""What is installed on a board: the est package, bringup, the board's wiring, main.py."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from mpest import mpy, shipped
from mpest.boards import Board, Folder
from mpest.exits import CliError
from mpest.packages import installed

RECORDS = ("anchors", "identity", "order", "aside", "retry", "pending")
"""What est.agent keeps in its est.store.Store, in files NAME.0 to NAME.2; the last is of 0.1."""


@dataclass(frozen=True)
class File:
    """A file on the board."""

    path: str
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def files(board: Board, *, main: bool = True) -> list[File]:
    """All files of the application, main.py (if `main`) last: until then nothing starts.

    Modules are .mpy where the board's profile names an architecture, and lie in /lib, where `mip`
    puts them too; on a computer beside main.py. Raises CliError.
    """
    if not board.wiring.exists():
        raise CliError(f"{board.folder} has no {board.wiring.name}")
    firmware = shipped.folder("firmware")
    library = "" if isinstance(board.flash, Folder) else "/lib/"
    paths = installed(board.arch, board.storage.kind)
    modules = {library + path.removesuffix(".py"): firmware / path for path in paths}
    modules[f"{library}bringup"] = firmware / "bringup.py"
    modules[f"{library}wiring"] = board.wiring
    found = [_module(path, source, board.arch) for path, source in modules.items()]
    if main:
        path = "/main.py" if library else "main.py"
        found.append(File(path, (firmware / "main.py").read_bytes()))
    return found


def _module(path: str, source: Path, arch: str | None) -> File:
    if arch is None:
        return File(path + ".py", source.read_bytes())
    return File(path + ".mpy", mpy.compile_file(source, arch))


def folders(wanted: list[File]) -> list[str]:
    """Folders that must be there for `wanted`, outer ones first."""
    found = {str(parent) for file in wanted for parent in Path(file.path).parents}
    return sorted(found - {"/", "."})


def packages(board: Board) -> list[str]:
    """Folders in which MicroPython looks for the package est; what else lies there is stale."""
    return ["est"] if isinstance(board.flash, Folder) else ["/est", "/lib/est"]


def shadows(file: File) -> str | None:
    """Path of the same module in its other form: MicroPython takes .py before .mpy."""
    stem, dot, suffix = file.path.rpartition(".")
    other = {"py": "mpy", "mpy": "py"}[suffix]
    return None if stem.endswith("main") else stem + dot + other


def records(board: Board) -> list[str]:
    """Paths of the files that hold the board's identity and what it trusts."""
    base = "" if board.storage.path == "." else board.storage.path.rstrip("/") + "/"
    # On FAT the first form is that of est 0.1.
    forms = ["{}.{}", "{}.d{}/copy"] if board.storage.kind == "fat" else ["{}.{}"]
    return [
        base + form.format(name, slot) for form in forms for name in RECORDS for slot in (0, 1, 2)
    ]

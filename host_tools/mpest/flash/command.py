"""`mpest flash`: firmware and application onto a board."""

import fnmatch
import json
import shlex
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from mpest import boards
from mpest.boards import Board, Esptool, Folder, Uf2
from mpest.exits import CliError, Exit
from mpest.flash import application, esp, probe, uf2
from mpest.flash.application import File
from mpest.flash.install import check_board, install, would
from mpest.flash.target import Directory, Remote, Target
from mpest.flash.update import Event
from mpest.options import Completed

_DRIVE_SECONDS = 30
_QUIET_SECONDS = 1.0  # after the last line, before it is said what is waited for


@click.command()
@click.option(
    "--board",
    "name",
    required=True,
    type=Completed(boards.names),
    help="Such as RPI_PICO_W: a folder of boards/.",
)
@click.option(
    "--port",
    required=True,
    type=Completed(list, files=True),
    help="Serial port, as for mpremote; for the board UNIX the folder to install into.",
)
@click.option(
    "--firmware",
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
    help="MicroPython for this board (.bin or .uf2), installed first.",
)
@click.option(
    "--drive",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the drive of a Pico's boot loader is mounted; found by itself as a rule.",
)
@click.option(
    "--boards",
    "extra",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help=f"Folder of more boards; {boards.ENVIRONMENT} may name some too.",
)
@click.option(
    "--erase-identity",
    is_flag=True,
    help="Erase the board's key and certificates; with --firmware all of an ESP32's flash.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
    help="Settings, checked and installed as config.json, with the files beside it that it names.",
)
@click.option(
    "--app",
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
    help="Your program (.py or .mpy), installed as app.py for main.py to run.",
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    help="A package beyond est, such as est-cmc; can be given more than once.",
)
@click.option("--no-main", is_flag=True, help="Leave main.py to you: install modules only.")
@click.option("--dry-run", is_flag=True, help="Look at the board, and say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per event.")
def flash(
    name: str,
    port: str,
    firmware: Path | None,
    drive: Path | None,
    extra: Path | None,
    erase_identity: bool,
    config: Path | None,
    app: Path | None,
    parts: tuple[str, ...],
    no_main: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Install MicroPython (where --firmware is given) and the EST client on a board.

    It can be repeated at any time: what is on the board already is left as it is, and so is the
    board's identity.
    """
    report = _Report(as_json)
    wanted = _Wanted(not no_main, config, app, parts)
    options = _Options(port, firmware, drive, erase_identity, dry_run)
    try:
        with report.progress or nullcontext():
            _flash(boards.load(name, extra), options, wanted, report)
    except CliError as error:
        report.emit({"event": "error", "message": error.message, "code": error.exit_code})
        raise


@dataclass(frozen=True)
class _Options:
    port: str
    firmware: Path | None
    drive: Path | None
    erase: bool
    dry_run: bool


@dataclass(frozen=True)
class _Wanted:
    main: bool
    config: Path | None
    app: Path | None
    parts: tuple[str, ...]

    def files(self, board: Board, report: "_Report") -> list[File]:
        """What goes onto the board. Raises CliError where the user's files are wrong."""
        user_files: list[File] = []
        if self.config:
            user_files, missing = application.settings(board, self.config, self.parts)
            for name in missing:
                text = f"{self.config} names {name}, which the board must have: no file beside it"
                report.emit({"event": "note", "text": text})
        if self.app:
            user_files.append(application.app(board, self.app))
        with report.waiting("mpy-cross to compile the modules"):
            return application.files(board, main=self.main, parts=self.parts, own=user_files)


def _flash(board: Board, use: _Options, wanted: _Wanted, report: "_Report") -> None:
    port, firmware = use.port, use.firmware
    _check_use(board, port, firmware, use.drive)
    files = wanted.files(board, report)
    with report.waiting("esptool to check the firmware"):
        size = _check_firmware(board, firmware) if firmware else 0
    if firmware and board.firmware and not fnmatch.fnmatch(firmware.name, board.firmware):
        text = f"{firmware.name} is not named as {board.name}'s firmware is ({board.firmware})"
        report.emit({"event": "note", "text": text})
    remote = Remote(port, emulated=board.emulator is not None, waiting=report.waiting)
    target: Target = remote
    if isinstance(board.flash, Folder):
        target = Directory(Path(port))
    elif firmware and use.dry_run:
        _would_write_firmware(board, firmware, use, report)
        try:
            if probe.missing(port):
                raise probe.no_port(port)
            remote.answers()
        except CliError as error:
            report.emit({"event": "note", "text": f"{error.message}: a new board is assumed"})
            would(report.emit, files, [])
            return
    elif firmware:
        _write_firmware(board, firmware, size, use, remote, report)
        remote.wait()
    try:
        install(
            target,
            board,
            files,
            report.emit,
            erase_identity=use.erase,
            dry_run=use.dry_run,
            replaced=use.dry_run and bool(firmware),
        )
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
        raise CliError(f"cannot install into {reason}", Exit.STORAGE) from None
    if not use.dry_run:
        report.emit({"event": "done", "board": board.name, "port": port})


def _check_use(board: Board, port: str, firmware: Path | None, drive: Path | None) -> None:
    if firmware and not isinstance(board.flash, Esptool | Uf2):
        raise CliError(f"{board.name} brings its own MicroPython: leave out --firmware")
    if drive:
        if not isinstance(board.flash, Uf2) or not firmware:
            raise CliError("--drive goes with --firmware for a board that takes UF2 files")
        uf2.check_drive(drive, board.flash)
    if isinstance(board.flash, Folder):
        if Path(port).exists() and not Path(port).is_dir():
            raise CliError(f"--port {port} is no folder: {board.name} is installed into one")
        return
    probe.check_name(port)
    # A board that waits for UF2 firmware has no serial port yet.
    waits = firmware and isinstance(board.flash, Uf2)
    if probe.missing(port) and not waits:
        raise probe.no_port(port)


def _check_firmware(board: Board, firmware: Path) -> int:
    if isinstance(board.flash, Uf2):
        return uf2.check(firmware, board, board.flash)
    assert isinstance(board.flash, Esptool)
    return esp.check(firmware, board, board.flash)


def _would_write_firmware(board: Board, firmware: Path, use: _Options, report: "_Report") -> None:
    flash = board.flash
    if isinstance(flash, Esptool):
        _verify_chip(use.port, flash, report)
        line = shlex.join(esp.write_command(use.port, flash, firmware, erase=use.erase))
    else:
        assert isinstance(flash, Uf2)
        drive = use.drive or uf2.find_drive(flash) or f"the drive {flash.drive}"
        line = f"copy {firmware} to {drive}"
    report.emit({"event": "would", "text": line})


def _verify_chip(port: str, flash: Esptool, report: "_Report") -> None:
    with report.waiting(f"the boot loader of the {flash.chip} at {port}"):
        found = esp.verify_chip(port, flash)
    report.emit({"event": "chip", "chip": flash.chip, "flash": found.flash})


def _write_firmware(
    board: Board, firmware: Path, size: int, use: _Options, remote: Remote, report: "_Report"
) -> None:
    if isinstance(board.flash, Esptool):
        _verify_chip(use.port, board.flash, report)
        report.start(firmware.name, size)
        with report.waiting(f"esptool to write {size} bytes"):
            for fraction in esp.write(
                *(use.port, board.flash, firmware),
                erase=use.erase,
                note=lambda text: report.emit({"event": "note", "text": text}),
            ):
                report.advance_to(int(fraction * size))
    elif isinstance(board.flash, Uf2):
        drive = use.drive or _drive(board, board.flash, use.port, remote, report)
        report.emit({"event": "drive", "drive": str(drive)})
        report.start(firmware.name, size)
        with report.waiting(f"{drive} to take {size} bytes"):
            for written in uf2.copy(firmware, drive):
                report.advance_to(written)
    report.emit({"event": "firmware", "file": str(firmware), "bytes": size})


def _drive(board: Board, flash: Uf2, port: str, remote: Remote, report: "_Report") -> Path:
    drive = uf2.find_drive(flash)
    if not drive and not probe.missing(port):
        # Another board has nothing to do in its boot loader.
        runtime = remote.look([], []).runtime
        if runtime:
            check_board(runtime, board)
        remote.boot_loader()
        with report.waiting(f"the drive {flash.drive} to be mounted"):
            drive = uf2.wait_for_drive(flash, _DRIVE_SECONDS)
    if not drive:
        raise CliError(
            f"no drive {flash.drive} is mounted: hold BOOTSEL while you plug the board in, "
            "mount its drive if nothing else does, or name it with --drive",
            Exit.NETWORK,
        )
    return drive


class _Report:
    """Events for programs on standard output, or lines and a bar for people on standard error.

    What --dry-run finds is its result, and on standard output for people too.
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.progress: Progress | None = None
        if self._console.is_terminal and not as_json:
            columns = (TextColumn("{task.description}"), BarColumn(), "{task.percentage:>3.0f}%")
            self.progress = Progress(*columns, console=self._console, transient=True)
        self._task: TaskID | None = None
        self._written = 0
        self._said = time.monotonic()

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Say, if its block takes long, that it waits for what `text` names."""
        event = {"event": "wait", "text": text}
        quiet = time.monotonic() - self._said
        timer = threading.Timer(max(_QUIET_SECONDS - quiet, 0), self.emit, (event,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()  # what it began to say comes before what follows

    def start(self, what: str, size: int) -> None:
        """Begin a bar for `size` bytes."""
        if self.progress:
            if self._task is not None:
                self.progress.remove_task(self._task)
            self._task = self.progress.add_task(what, total=size)

    def advance_to(self, done: int) -> None:
        if self.progress and self._task is not None:
            self.progress.update(self._task, completed=done)

    def emit(self, event: Event) -> None:
        self._said = time.monotonic()
        if self._as_json:
            click.echo(json.dumps(event))
            return
        text = self._text(event)
        if text and event["event"] == "would":
            click.echo(text)
        elif text:
            self._console.print(text, markup=False)

    def _text(self, event: Event) -> str:
        kind = event["event"]
        if kind == "install":
            self.start("application", event["bytes"])
        elif kind == "write":
            self.advance_to(self._written)
            self._written += event["bytes"]
            if self.progress:
                return ""
        return {
            "note": "Note: {text}",
            "chip": "Chip: {chip}, {flash} of flash",
            "drive": "Drive: {drive}",
            "firmware": "Firmware: {file}, {bytes} bytes written",
            "wait": "Waiting for {text}",
            "board": "Board: MicroPython {version}, {machine}, {free} bytes free",
            "write": "  {path}  {bytes} bytes",
            "removed": "  {path}  removed",
            "renamed": "  {path}  kept as {to}",
            "verified": "Verified: {files} files, {bytes} bytes",
            "would": "{text}",
            "done": "{board} is ready.",
        }.get(kind, "").format(**event)

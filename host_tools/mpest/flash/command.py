"""`mpest flash`: firmware and application onto a board."""

import fnmatch
import json
import shlex
from contextlib import nullcontext
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from mpest import boards
from mpest.boards import Board, Esptool, Folder, Uf2
from mpest.exits import CliError, Exit
from mpest.flash import application, esp, uf2
from mpest.flash.application import File
from mpest.flash.install import Event, install
from mpest.flash.target import Directory, Remote, Target

_DRIVE_SECONDS = 30


@click.command()
@click.option("--board", "name", required=True, help="Such as RPI_PICO_W: a folder of boards/.")
@click.option(
    "--port",
    required=True,
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
@click.option("--no-main", is_flag=True, help="Leave main.py to you: install modules only.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and touch nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per event.")
def flash(
    name: str,
    port: str,
    firmware: Path | None,
    drive: Path | None,
    extra: Path | None,
    erase_identity: bool,
    no_main: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Install MicroPython (where --firmware is given) and the EST client on a board.

    It can be repeated at any time: what is on the board already is left as it is, and so is the
    board's identity.
    """
    board = boards.load(name, extra)
    _check_use(board, port, firmware, drive)
    size = _check_firmware(board, firmware) if firmware else 0
    files = application.files(board, main=not no_main)
    report = _Report(as_json)
    if firmware and board.firmware and not fnmatch.fnmatch(firmware.name, board.firmware):
        text = f"{firmware.name} is not named as {board.name}'s firmware is ({board.firmware})"
        report.emit({"event": "note", "text": text})
    if dry_run:
        for line in _plan(board, port, firmware, drive, erase_identity, files):
            report.emit({"event": "would", "text": line})
        return
    with report.progress or nullcontext():
        if firmware:
            _write_firmware(board, port, firmware, size, drive, erase_identity, report)
        target: Target = Remote(port, emulated=board.emulator is not None)
        if isinstance(board.flash, Folder):
            target = Directory(Path(port))
        elif firmware:
            _wait(Remote(port), report)
        try:
            install(target, board, files, report.emit, erase_identity=erase_identity)
        except OSError as error:
            reason = f"{error.filename}: {error.strerror}"
            raise CliError(f"cannot install into {reason}", Exit.STORAGE) from None
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
    # A board that waits for UF2 firmware has no serial port yet.
    waits = firmware and isinstance(board.flash, Uf2)
    if port.startswith("/") and not Path(port).exists() and not waits:
        raise CliError(f"no such port: {port} ({_ports()})")


def _ports() -> str:
    from serial.tools import list_ports  # type: ignore[import-untyped]

    found = sorted(port.device for port in list_ports.comports() if port.vid is not None)
    return f"there are: {', '.join(found)}" if found else "no board is plugged in"


def _check_firmware(board: Board, firmware: Path) -> int:
    if isinstance(board.flash, Uf2):
        return uf2.check(firmware, board, board.flash)
    assert isinstance(board.flash, Esptool)
    return esp.check(firmware, board, board.flash)


def _write_firmware(
    board: Board,
    port: str,
    firmware: Path,
    size: int,
    drive: Path | None,
    erase: bool,
    report: "_Report",
) -> None:
    if isinstance(board.flash, Esptool):
        found = esp.verify_chip(port, board.flash)
        report.emit({"event": "chip", "chip": board.flash.chip, "flash": found})
        report.start(firmware.name, size)
        for part in esp.write(port, board.flash, firmware, erase=erase):
            report.advance_to(int(part * size))
    elif isinstance(board.flash, Uf2):
        place = drive or _drive(board.flash, port)
        report.emit({"event": "drive", "drive": str(place)})
        report.start(firmware.name, size)
        for done in uf2.copy(firmware, place):
            report.advance_to(done)
    report.emit({"event": "firmware", "file": str(firmware), "bytes": size})


def _drive(flash: Uf2, port: str) -> Path:
    place = uf2.find_drive(flash)
    if not place and (not port.startswith("/") or Path(port).exists()):
        Remote(port).boot_loader()
        place = uf2.wait_for_drive(flash, _DRIVE_SECONDS)
    if not place:
        raise CliError(
            f"no drive {flash.drive} is mounted: hold BOOTSEL while you plug the board in, "
            "mount its drive if nothing else does, or name it with --drive",
            Exit.NETWORK,
        )
    return place


def _wait(remote: Remote, report: "_Report") -> None:
    report.emit({"event": "wait"})
    remote.wait()


class _Report:
    """Events for programs on standard output, or lines and a bar for people on standard error."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.progress: Progress | None = None
        if self._console.is_terminal and not as_json:
            columns = (TextColumn("{task.description}"), BarColumn(), "{task.percentage:>3.0f}%")
            self.progress = Progress(*columns, console=self._console, transient=True)
        self._task: TaskID | None = None
        self._written = 0

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
        if self._as_json:
            click.echo(json.dumps(event))
            return
        if text := self._text(event):
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
            "wait": "Waiting for the board to start",
            "board": "Board: MicroPython {version}, {machine}, {free} bytes free",
            "write": "  {path}  {bytes} bytes",
            "removed": "  {path}  removed",
            "renamed": "  {path}  kept as {to}",
            "verified": "Verified: {files} files, {bytes} bytes",
            "would": "{text}",
            "done": "{board} is ready.",
        }.get(kind, "").format(**event)


def _plan(
    board: Board,
    port: str,
    firmware: Path | None,
    drive: Path | None,
    erase: bool,
    files: list[File],
) -> list[str]:
    """What would be done, in lines."""
    flash = board.flash
    lines = []
    if firmware and isinstance(flash, Esptool):
        lines.append(shlex.join(esp.verify_chip_command(port, flash)))
        lines.append(shlex.join(esp.write_command(port, flash, firmware, erase=erase)))
    elif firmware and isinstance(flash, Uf2):
        place = drive or uf2.find_drive(flash) or f"the drive {flash.drive}"
        lines.append(f"copy {firmware} to {place}")
    for path in application.records(board) if erase else ():
        lines.append(f"erase {path} if it exists")
    return lines + [f"install {file.path} ({len(file.data)} bytes)" for file in files]

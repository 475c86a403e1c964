"""What a board holds before it makes its key: MicroPython, the program, and nothing else."""

from mpest.boards import Esptool
from mpest.flash.application import File
from mpest.station import firmware
from mpest.station.board_run import BoardRun
from mpest.station.errors import BoardError, NoMicroPython
from mpest.station.identity import Identity
from mpest.station.outcome import Waiting


def start_blank(run: BoardRun) -> bool:
    """Firmware for a board that waits for it, as a new one does, or one whose station was killed
    in that step: whether it was one. Only then can it say who it is. Raises CliError."""
    job, port = run.job, run.port
    if port.path() or not port.drive():
        return False
    if not job.firmware_sha256:
        raise Waiting("the board waits for firmware, and the job has none: take it out")
    run.run("firmware", lambda: firmware.write(job, port, run.link, "", run.emit, lambda _: None))
    return True


def identify(run: BoardRun) -> Identity:
    """Who the board is: an ESP32 without MicroPython says it by its boot loader, where the job has
    firmware for it. Raises CliError."""
    job, flash = run.job, run.job.profile.flash

    def ask() -> Identity:
        try:
            return run.board.identify()
        except NoMicroPython:
            if not (job.firmware_sha256 and isinstance(flash, Esptool)):
                raise
            run.link.close()
            return firmware.chip(run.port, flash, job.profile)

    run.board.identity = run.run("identify", ask)
    return run.board.identity


def write_firmware(run: BoardRun, identity: Identity, *, new: bool) -> Identity:
    """The job's, unless it is there; who the board is then. new: it was written just now.

    Raises CliError.
    """
    job = run.job
    pinned = (job.firmware_sha256 or "").lower()
    if not pinned:
        run.skip("firmware", "the job has none")
        return identity
    if new:
        run.record("firmware", "done", sha256=pinned)
        return identity
    written = [
        event.detail.get("sha256")
        for event in run.ledger.history(run.unit.serial)
        if (event.step, event.outcome) == ("firmware", "done")
    ]
    if written[-1:] == [pinned] and not identity.blank:
        run.skip("firmware", "it was done before")
        return identity

    def again(reason: str) -> None:
        run.emit("step", step="firmware", outcome="again", message=reason)
        run.record("firmware", "again", reason=reason)

    run.run(
        "firmware",
        lambda: firmware.write(job, run.port, run.link, identity.unique_id, run.emit, again),
        sha256=pinned,
    )
    return run.board.identify()


def erase(run: BoardRun, files: list[File]) -> None:
    """Have the board hold `files` and nothing else. Raises CliError."""
    run.board.wipe()
    run.board.identify()
    run.board.settings(files)


def install(run: BoardRun, identity: Identity, files: list[File]) -> None:
    """Have the board hold `files`, and nothing that the job does not know. Raises CliError."""
    board, unit = run.board, run.unit
    foreign = identity.provisioned and identity.key_hash != unit.key_hash
    unknown = board.unknown(files)
    if unknown and run.bench.wipe and unit.key_hash and not foreign:
        board.remove(unknown)  # a key that the ledger knows is not to be lost
        unknown = board.unknown(files)
    if (foreign or unknown) and run.bench.wipe and not unit.key_hash:
        erase(run, files)
        return
    if foreign:
        raise BoardError(
            "the board has a certificate that is not of this job: use a new board, or --wipe"
        )
    if unknown:
        raise BoardError(
            f"there are files on the board that the job does not know: {' '.join(unknown)}: "
            "use a new board, or --wipe"
        )
    board.settings(files)

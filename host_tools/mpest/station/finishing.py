"""What follows once a board has its certificate: its test, what cannot be undone, its label."""

from mpest.flash.application import File
from mpest.station import configuration, labelling
from mpest.station.board import ACCEPT_SECONDS
from mpest.station.board_run import BoardRun
from mpest.station.errors import BoardError, SecretLeft
from mpest.station.ledger.ledger import INTENT


def accept(run: BoardRun, files: list[File]) -> None:
    """The job's own test, after which the board holds `files` and nothing of the line; then what
    cannot be undone. Raises CliError."""
    job = run.job
    if job.acceptance is None:
        run.skip("accept", "the job has no acceptance script")
    else:
        script = job.acceptance.read_text(encoding="utf-8")

        def test() -> None:
            run.board.accept(script, run.seconds("accept", ACCEPT_SECONDS))
            _check_left(run, files)

        run.run("accept", test)
    for fuse in job.irreversible:
        if run.ledger.was_done(run.unit.serial, fuse.name):
            run.skip(fuse.name, "it was done before")
            continue
        run.step = fuse.name
        run.record(fuse.name, INTENT)
        run.hook(fuse.name, fuse.run)
        run.record(fuse.name, "done")


def _check_left(run: BoardRun, files: list[File]) -> None:
    """Raises BoardError where something is left that a test wrote, or that was lent."""
    board = run.board
    board.identify()
    if left := board.unknown(files):
        raise BoardError(f"the test has left files on the board: {' '.join(left)}: remove them")
    secrets = configuration.lent(run.job, run.unit)
    if secrets and (left := board.leftovers(secrets)):
        raise SecretLeft(f"what was lent to the board is in {' '.join(left)}", left)


def label(run: BoardRun) -> None:
    """Raises CliError."""
    if run.job.label is None:
        run.skip("label", "the job has no label")
        return
    run.run("label", lambda: labelling.make(run.job, run.unit, run.ledger, run.who))

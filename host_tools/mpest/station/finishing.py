"""What follows once a board has its certificate: its test, what cannot be undone, its label."""

from mpest.station import labelling
from mpest.station.board import ACCEPT_SECONDS
from mpest.station.board_run import BoardRun
from mpest.station.ledger.ledger import INTENT


def accept(run: BoardRun) -> None:
    """The job's own test, and after it what cannot be undone. Raises CliError."""
    job = run.job
    if job.acceptance is None:
        run.skip("accept", "the job has no acceptance script")
    else:
        script = job.acceptance.read_text(encoding="utf-8")
        limit = job.limits.get("accept")
        seconds = (limit and limit.seconds) or ACCEPT_SECONDS
        run.run("accept", lambda: run.board.accept(script, seconds))
    for fuse in job.irreversible:
        if run.ledger.was_done(run.unit.serial, fuse.name):
            run.skip(fuse.name, "it was done before")
            continue
        run.step = fuse.name
        run.record(fuse.name, INTENT)
        run.hook(fuse.name, fuse.run)
        run.record(fuse.name, "done")


def label(run: BoardRun) -> None:
    """Raises CliError."""
    if run.job.label is None:
        run.skip("label", "the job has no label")
        return
    run.run("label", lambda: labelling.make(run.job, run.unit, run.ledger, run.who))

"""A board's label: written beside the job, printed where it names a printer, and recorded."""

from pathlib import Path

from mpest.exits import CliError, Exit
from mpest.station import labels
from mpest.station.job import Job
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Unit, Who

FOLDER = "labels"
"""Beside the job file; in it a folder for each batch."""


def state(job: Job) -> str:
    """Of a label that was made, as the ledger has it."""
    return "waived" if job.label and not job.label.scan else "printed"


def make(job: Job, unit: Unit, ledger: Ledger, who: Who) -> Unit:
    """Raises CliError where it is not written or not printed."""
    assert job.label
    label = labels.make(job, unit)
    folder = job.source.parent / FOLDER / job.name
    for form, text in (("zpl", label.zpl), ("svg", label.svg)):
        if text is not None:
            _write(folder / f"{unit.serial}.{form}", text)
    if job.label.print:
        command = job.command_of(job.label.print, unit)
        labels.send(command, label, job.source.parent)
    return ledger.label(unit.serial, who, state(job), printed=job.label.print is not None)


def again(job: Job, unit: Unit, ledger: Ledger, who: Who) -> Unit:
    """The same label once more, which is to be scanned again. Raises CliError."""
    if job.label is None:
        raise CliError("the job has no label")
    if not unit.label or unit.state == "scrapped":
        raise CliError(f"{unit.serial} has no label that could be printed again")
    return make(job, unit, ledger, who)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror}", Exit.STORAGE) from None

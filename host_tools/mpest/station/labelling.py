"""A board's label: written beside the job, printed where it names a printer, and recorded."""

from pathlib import Path

from mpest.exits import CliError, Exit
from mpest.station import labels
from mpest.station.job import Job
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Unit, Who

FOLDER = "labels"
"""Beside the job file; in it a folder for each batch."""


def make(job: Job, unit: Unit, ledger: Ledger, who: Who) -> None:
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
    ledger.label(unit.serial, who, "printed")


def again(job: Job, unit: Unit, ledger: Ledger, who: Who) -> None:
    """The same label once more, which is to be scanned again. Raises CliError."""
    if job.label is None:
        raise CliError("the job has no label")
    if not unit.label or unit.state == "scrapped":
        raise CliError(f"{unit.serial} has no label that could be printed again")
    make(job, unit, ledger, who)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror}", Exit.STORAGE) from None

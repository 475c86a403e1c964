"""Where a job's ledger is."""

from pathlib import Path

from sqlalchemy import make_url

from mpest.station.job import Job


def path(job: Job) -> Path | None:
    """Its file, beside the job where its name says no more; None for PostgreSQL."""
    name = job.ledger.removeprefix("sqlite:///")
    return None if "://" in name else job.source.parent.absolute() / name


def url(job: Job) -> str:
    """As `Ledger` takes it, with the password. Raises CliError where that is not to be had."""
    if file := path(job):
        return str(file)
    if job.ledger_password is None:
        return job.ledger
    password = job.credentials.read("The ledger's password", job.ledger_password)
    return make_url(job.ledger).set(password=password).render_as_string(hide_password=False)

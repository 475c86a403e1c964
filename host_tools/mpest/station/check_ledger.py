"""Whether the ledger can be written."""

import os
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from mpest.station import ledger_place
from mpest.station.findings import Finding
from mpest.station.job import Job
from mpest.station.machine import Machine

_CONNECT_SECONDS = 10
_WHY = "no board starts that the ledger can't record"


def findings(job: Job, machine: Machine, ask: bool) -> Iterator[Finding]:
    """ask: for a password that is typed. Raises CliError where a secret is missing."""
    if file := ledger_place.path(job):
        yield from _of_file(file, machine)
    elif ask or not (job.ledger_password and job.ledger_password.prompt):
        yield from _of_postgresql(ledger_place.url(job))


def _of_file(file: Path, machine: Machine) -> Iterator[Finding]:
    written = file if file.exists() else file.parent
    if not file.parent.is_dir():
        do = f"mkdir -p {file.parent}"
        yield Finding("ledger", f"there is no folder {file.parent}", _WHY, do)
    elif not machine.may_use(written):
        do = f"sudo chown {os.getuid()} {written}"
        yield Finding("ledger", f"{written} may not be written", _WHY, do)


def _of_postgresql(address: str) -> Iterator[Finding]:
    try:
        url = make_url(address).set(drivername="postgresql+psycopg")
        engine = create_engine(url, connect_args={"connect_timeout": _CONNECT_SECONDS})
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except (ArgumentError, ValueError):
        do = "a ledger is a file, or postgresql://USER@HOST/NAME"
        yield Finding("ledger", "the ledger's URL can't be read", _WHY, do)
    except ImportError:
        yield Finding("ledger", "there is no psycopg", _WHY, "pip install 'mpest[factory]'")
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", error)).strip().splitlines() or ["nothing"]
        do = "see that it runs, and that ledger names it"
        yield Finding("ledger", f"PostgreSQL can't be used: {said[0]}", _WHY, do)

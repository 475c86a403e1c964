"""The running of the line."""

from dataclasses import dataclass

from mpest.exits import CliError
from mpest.station.job import Job


@dataclass(frozen=True)
class Options:
    """How `mpest provision` was called. limit: boards at most, this time."""

    limit: int | None = None
    as_json: bool = False


def run(job: Job, options: Options) -> None:
    """Make the boards of a job that is valid. Raises CliError."""
    raise CliError("the line itself isn't there yet: --dry-run and --check are")

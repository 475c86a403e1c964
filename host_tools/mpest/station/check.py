"""`mpest provision --check`: what will hinder this PC. It looks, and changes nothing."""

from collections.abc import Iterator

from mpest.exits import CliError
from mpest.station import check_ledger, check_pc, check_server
from mpest.station.findings import Finding
from mpest.station.job import Job
from mpest.station.machine import Machine
from mpest.station.problems import one_line

RULES_FILE = check_pc.RULES_FILE
rules = check_pc.rules


def findings(job: Job, machine: Machine, *, ask: bool = False) -> Iterator[Finding]:
    """All that hinders. ask: for secrets that are typed; else what needs one is left out."""
    yield from check_pc.findings(job, job.profile, machine)
    for look in (check_ledger.findings, check_server.findings):
        try:
            yield from look(job, machine, ask)
        except CliError as error:
            do = "see that it is where the job says"
            yield Finding("secret", error.message, "the station can't log in", do)


def text(found: Finding) -> str:
    """For people."""
    return "\n".join(map(one_line, (found.what, f"  Why: {found.why}", f"  Do:  {found.do}")))

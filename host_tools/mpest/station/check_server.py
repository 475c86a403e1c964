"""Whether the EST server answers the station, and their clocks agree."""

from collections.abc import Iterator
from datetime import timedelta

from mpest.exits import CliError, Exit
from mpest.station.findings import Finding
from mpest.station.job import Job
from mpest.station.machine import Machine
from mpest.station.starting import MAX_CLOCK
from mpest.station.worker import authority_of

_DO = {
    Exit.NOT_TRUSTED: "see that server.trust names the CA of this server",
    Exit.REFUSED: "see what the server lets this station do, and its log",
    Exit.LATER: "try again later",
    Exit.USAGE: "correct [server] in the job",
}


def findings(job: Job, machine: Machine, ask: bool) -> Iterator[Finding]:
    """ask: for secrets that are typed; without them the server is left out.

    Raises CliError where a secret is missing.
    """
    server = job.server
    if server.serve:  # it starts with the line
        return
    secrets = (server.key_password, server.password, server.token)
    if not ask and any(secret and secret.prompt for secret in secrets):
        return
    authority = authority_of(job)
    try:
        now = authority.now()
    except CliError as error:
        do = _DO.get(Exit(error.exit_code), "see that it runs, and that this PC has a network")
        yield Finding("server", error.message, "no board can get a certificate", do)
        return
    finally:
        authority.close()
    apart = machine.now() - now
    if abs(apart) > MAX_CLOCK:
        side = "ahead of" if apart > timedelta(0) else "behind"
        minutes = round(abs(apart).total_seconds() / 60)
        yield Finding(
            "clock",
            f"the clock of this PC is {minutes} minutes {side} the server's",
            "no board starts then: its history and its first certificate would have wrong times",
            "sudo timedatectl set-ntp true; timedatectl shows whether it is in step",
        )

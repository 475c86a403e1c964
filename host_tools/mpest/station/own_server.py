"""The CA of a line without a network: a `mpest serve` of the job's own, on this computer alone.

It starts with the line and ends with it. The same folder goes on with the same CA.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from mpest.exits import CliError
from mpest.server import ServerConfig, running_server
from mpest.station.entries import FINGERPRINT
from mpest.station.job import Job

_UNKNOWN = FINGERPRINT + "0" * 64  # of a CA that the first start makes


@dataclass(frozen=True)
class OwnServer:
    """Where it is, and what the station shows it: a password that nobody else ever sees."""

    url: str
    trust: str
    user: str
    password: str = field(repr=False)


def with_trust(job: Job, fingerprint: str | None = None) -> Job:
    """The job, whose boards trust its own CA unless it says otherwise. Raises CliError.

    fingerprint: in hex; without it that of the folder's CA, and zeros where there is none yet.
    """
    serve = job.server.serve
    if serve is None or job.server.trust not in ("", _UNKNOWN):
        return job
    trust = FINGERPRINT + fingerprint if fingerprint else _UNKNOWN
    root = serve.folder / "ca.pem"
    if fingerprint is None and root.exists():
        try:
            certificate = x509.load_pem_x509_certificate(root.read_bytes())
        except (OSError, ValueError) as error:
            raise CliError(f"{root} is no certificate: {error}") from None
        trust = FINGERPRINT + certificate.fingerprint(SHA256()).hex()
    server = job.server.model_copy(update={"trust": trust})
    return job.model_copy(update={"server": server})


@contextmanager
def running(job: Job) -> Iterator[tuple[Job, OwnServer | None]]:
    """The job with its CA, and the server while it runs; None for a job without one.

    Raises CliError where it cannot start.
    """
    serve = job.server.serve
    if serve is None:
        yield job, None
        return
    password = job.credentials.read("The password of the CA's keys", serve.password)
    shown = secrets.token_urlsafe(32)
    config = ServerConfig(
        directory=serve.folder,
        key_password=password,
        lifetime=serve.lifetime,
        auth="basic",
        users={job.station: shown},
        # Nobody else knows the password, and what a station may bring is in its ledger.
        open=True,
        chain_length=2,
    )
    with running_server(config) as server:
        known = with_trust(job, server.fingerprint)
        yield known, OwnServer(server.url, str(server.ca_pem), job.station, shown)

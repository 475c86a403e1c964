"""Revokes certificates of the ledger at the CA: the intent first, the result after.

Cut off between both, or where the CA refuses one, the same call again goes on with what is left.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography import x509

from mpest.exits import CliError
from mpest.server import desk
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Certificate, Who


def in_folder(directory: Path, certificate: Certificate) -> None:
    """Revoke one in the folder of a `mpest serve`. Raises CliError."""
    with desk.opened(directory) as database:
        try:
            database.revoke(int(certificate.number, 16))
        except KeyError:
            raise CliError(f"the server in {directory} did not issue it") from None


def at_server(
    ledger: Ledger,
    certificates: Sequence[Certificate],
    directory: Path,
    who: Who,
    reason: str,
    station: x509.Certificate | None = None,
) -> Iterator[tuple[Certificate, bool]]:
    """Each certificate, and whether it is revoked now in the folder of a `mpest serve`.

    Not so are those that another server issued.
    station: the station's own certificate, which goes first: it brings no more of them then.
    Raises CliError where that isn't this server's, or its database can't be used.
    """
    ledger.revoking([certificate.fingerprint for certificate in certificates], who, reason)
    with desk.opened(directory) as database:
        if station is not None:
            try:
                database.revoke(station.serial_number)
            except KeyError:
                raise CliError(
                    f"the server in {directory} did not issue the station's certificate"
                ) from None
        for certificate in certificates:
            try:
                database.revoke(int(certificate.number, 16))
            except KeyError:
                yield certificate, False
            else:
                ledger.revoked([certificate.fingerprint], who)
                yield certificate, True

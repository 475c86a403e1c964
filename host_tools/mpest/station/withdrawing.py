"""The old certificate of a board that was made again: revoked once the new one is proven."""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mpest.exits import CliError
from mpest.station.board_run import Bench
from mpest.station.events import Emit
from mpest.station.ledger import revoke
from mpest.station.ledger.units import Certificate

_REASON = "replaced by a rework"


def withdraw(bench: Bench, serial: str, emit: Emit) -> None:
    """Have the server revoke what a rework of this board replaced, and is not revoked yet.

    What it does not revoke is told, and listed by the ledger as to be revoked. Raises LedgerError.
    """
    ledger, who = bench.ledger, bench.who
    left = ledger.superseded(serial)
    new = [one.fingerprint for one in left if one.revoking is None]
    if new:
        ledger.revoking(new, who, _REASON)
    for certificate in left:
        told = {"serial": serial, "number": certificate.number}
        try:
            _revoke(bench, certificate)
        except CliError as error:
            emit("revoke", **told, outcome="left", message=error.message)
        else:
            ledger.revoked([certificate.fingerprint], who)
            emit("revoke", **told, outcome="done")


def _revoke(bench: Bench, certificate: Certificate) -> None:
    """Raises CliError."""
    if serve := bench.job.server.serve:
        revoke.in_folder(serve.folder, certificate)
        return
    [leaf, *_] = x509.load_pem_x509_certificates(certificate.pem.encode())
    bench.authority.revoke(leaf.public_bytes(Encoding.DER))

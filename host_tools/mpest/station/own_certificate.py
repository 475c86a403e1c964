"""The station's own certificate and key, with which it is a registration authority."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

from mpest.exits import CliError

_PEM = b"-----BEGIN"
_SOON = timedelta(days=14)  # a batch may take as long


def load(
    certificate: Path, key: Path, password: str | None
) -> tuple[list[x509.Certificate], PrivateKeyTypes]:
    """The chain, its own certificate first, and the key, of files in PEM or DER.

    Raises CliError, also where the key is another's.
    """
    chain = _chain(certificate)
    data = _read(key)
    read_key = load_pem_private_key if _PEM in data else load_der_private_key
    try:
        private = read_key(data, password.encode() if password is not None else None)
    except TypeError:
        wrong = "has a password" if password is None else "has no password, yet one is given"
        raise CliError(f"{key} {wrong}") from None
    except (ValueError, UnsupportedAlgorithm):
        other = "" if password is None else ", or none of this password"
        raise CliError(f"{key} holds no private key in PEM or DER{other}") from None
    if private.public_key() != chain[0].public_key():
        raise CliError(f"{key} is not the key of the certificate in {certificate}")
    return chain, private


def check_dates(certificate: Path, now: datetime | None = None) -> None:
    """Raise CliError where the certificate is of no use now."""
    own = _chain(certificate)[0]
    now = now or datetime.now(UTC)
    if own.not_valid_before_utc > now:
        begin = f"{own.not_valid_before_utc:%Y-%m-%d}"
        raise CliError(f"{certificate} is not valid before {begin}; is the clock right?")
    if own.not_valid_after_utc < now:
        raise CliError(f"{certificate} ended on {own.not_valid_after_utc:%Y-%m-%d}")


def ends_soon(certificate: Path) -> datetime | None:
    """When the certificate ends, if that is soon. Raises CliError."""
    end = _chain(certificate)[0].not_valid_after_utc
    return end if end < datetime.now(UTC) + _SOON else None


def _chain(file: Path) -> list[x509.Certificate]:
    data = _read(file)
    try:
        if _PEM in data:
            chain = x509.load_pem_x509_certificates(data)
        else:
            chain = [x509.load_der_x509_certificate(data)]
        chain[0].public_key()
    except (ValueError, x509.InvalidVersion):
        raise CliError(f"{file} holds no certificate in PEM or DER") from None
    except UnsupportedAlgorithm as error:
        raise CliError(f"the key of the certificate in {file}: {error}") from None
    return chain


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CliError(f"cannot read {file}: {error.strerror}") from None

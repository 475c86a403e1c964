"""The station's own certificate and key, with which it is a registration authority."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

_PEM = b"-----BEGIN"
_SOON = timedelta(days=14)  # a batch may take as long


def certificate_problem(certificate: Path, now: datetime | None = None) -> str | None:
    """Why the station's certificate is of no use now, None if it is."""
    now = now or datetime.now(UTC)
    try:
        read = _certificate(certificate)
    except OSError as error:
        return f"can't be read: {error.strerror}"
    except ValueError:
        return "holds no certificate in PEM or DER"
    if read.not_valid_before_utc > now:
        return f"is not valid before {read.not_valid_before_utc:%Y-%m-%d}; is the clock right?"
    if read.not_valid_after_utc < now:
        return f"ended on {read.not_valid_after_utc:%Y-%m-%d}"
    return None


def ends_soon(certificate: Path) -> datetime | None:
    """When the station's certificate ends, if that is soon."""
    end = _certificate(certificate).not_valid_after_utc
    return end if end < datetime.now(UTC) + _SOON else None


def key_problem(certificate: Path, key: Path, password: str | None) -> str | None:
    """Why `key` can't be used with a certificate that is well, None if it can."""
    try:
        public = _key(key, password).public_key()
    except OSError as error:
        return f"can't be read: {error.strerror}"
    except TypeError:
        if password:
            return "has no password: leave out key_password"
        return "has a password: let key_password say where it is"
    except (ValueError, UnsupportedAlgorithm):
        return "holds no private key in PEM or DER" + (
            ", or has another password" * bool(password)
        )
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if public.public_bytes(*form) != _certificate(certificate).public_key().public_bytes(*form):
        return f"is not the key of {certificate}"
    return None


def _certificate(file: Path) -> x509.Certificate:
    data = file.read_bytes()
    if _PEM in data:
        return x509.load_pem_x509_certificate(data)
    return x509.load_der_x509_certificate(data)


def _key(file: Path, password: str | None) -> PrivateKeyTypes:
    data = file.read_bytes()
    secret = password.encode() if password else None
    if _PEM in data:
        return load_pem_private_key(data, secret)
    return load_der_private_key(data, secret)

"""Files and times that `mpest ledger` is given, and files that it writes."""

import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import click
from cryptography import x509

from mpest.exits import CliError, Exit

# Certificates, keys, passwords; what is larger is another file.
_MAX_FILE = 1 << 20


def time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError):
        raise CliError(f"{text!r} is no time such as 2026-11-30T08:00") from None


def certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(read(path))
    except (ValueError, x509.InvalidVersion):
        raise CliError(f"{path} holds no certificate in PEM") from None


def read(path: Path, limit: int = _MAX_FILE) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise CliError(f"can't read {path}: {error.strerror}") from None


def write(out: Path | None, content: bytes) -> None:
    """To a file, or standard output without one. Raises CliError."""
    if out is None:
        click.echo(content, nl=False)
    else:
        write_files({out: content})


def write_files(contents: Mapping[Path, bytes]) -> None:
    """All of them are on the disk, or none is changed. Raises CliError."""
    parts = {path: path.with_name(f".{path.name}.part") for path in contents}
    try:
        for path, content in contents.items():
            with parts[path].open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, part in parts.items():
            part.replace(path)
    except OSError as error:
        for part in parts.values():
            with suppress(OSError):
                part.unlink(missing_ok=True)
        raise CliError(f"can't write {path}: {error.strerror}", Exit.STORAGE) from None
    click.echo(f"Wrote {' and '.join(map(str, contents))}.", err=True)

"""What a person does with the folder of a server, which may run: list, approve, deny, revoke.

It goes by the database. A running server asks that at each request, and publishes its CRL anew.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from sqlalchemy.exc import SQLAlchemyError

from mpest.exits import CliError, Exit
from mpest.server.authority import check_database
from mpest.server.database import Database
from mpest.text import printable, table


def show(directory: Path, *, as_json: bool) -> None:
    """Print the certificates, and the requests that wait for approval. Raises CliError."""
    with opened(directory) as database:
        certificates = [
            {
                "event": "certificate",
                "serial": issued.serial,
                "subject": issued.subject,
                "owner": issued.owner,
                "forwarded_by": issued.forwarded_by,
                "not_after": _date(issued.not_after),
                "revoked": _date(issued.revoked) if issued.revoked else None,
            }
            for issued in database.issued()
        ]
        waiting = [
            {
                "event": "waiting",
                "id": request.id,
                "owner": request.principal,
                "operation": request.operation,
                "subject": request.subject,
                "names": request.names,
                "since": _date(request.since),
                "denied": _date(request.denied) if request.denied else None,
            }
            for request in database.waiting.requests()
        ]
    if as_json:
        for entry in (*certificates, *waiting):
            click.echo(json.dumps(entry))
        return
    for what, entries in (("certificates", certificates), ("waiting requests", waiting)):
        click.echo(_table(entries) if entries else f"no {what}")


def approve(directory: Path, name: str) -> None:
    """Let a waiting request through: it is granted when it comes again. Raises CliError."""
    with opened(directory) as database:
        try:
            database.waiting.approve(name.lower())
        except KeyError:
            raise _not_waiting(name) from None
    click.echo(f"Approved: {name} has its certificate when it asks again.", err=True)


def deny(directory: Path, name: str) -> None:
    """Turn a waiting request away: it is refused for a day. Raises CliError."""
    with opened(directory) as database:
        try:
            database.waiting.deny(name.lower())
        except KeyError:
            raise _not_waiting(name) from None
    click.echo(f"Denied: {name} is refused when it asks again, for a day.", err=True)


def revoke(directory: Path, serial: str) -> None:
    """Have a certificate refused, and listed in the CRL. Raises CliError."""
    with opened(directory) as database:
        try:
            database.revoke(int(serial.replace(":", ""), 16))
        except ValueError:
            raise CliError(f"{serial!r} is no serial number in hexadecimal") from None
        except KeyError:
            raise CliError(
                f"no certificate {serial!r} was issued; --list shows which were"
            ) from None
    click.echo(f"Revoked: {serial} is refused, and listed by the server in its CRL.", err=True)


@contextmanager
def opened(directory: Path) -> Iterator[Database]:
    """The database of a server's folder. Raises CliError, also for what is done with it."""
    path = directory / "est.db"
    check_database(directory)
    if not path.exists():
        raise CliError(f"no server was ever started in {directory}", Exit.STORAGE)
    try:
        database = Database(path)
    except OSError as error:
        raise CliError(f"can't use {path}: {error.strerror}", Exit.STORAGE) from error
    try:
        yield database
    except SQLAlchemyError as error:
        reason = getattr(error, "orig", None) or type(error).__name__
        raise CliError(f"can't use {path}: {reason}; try again", Exit.STORAGE) from None
    finally:
        database.close()


def _not_waiting(name: str) -> CliError:
    return CliError(f"no request {name!r} waits; --list shows which do")


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _short(text: str) -> str:
    """Without the long number of a factory's CA."""
    return re.sub(r"^factory:[0-9a-f]{64}:", "factory:", text)


def _table(entries: list[dict[str, Any]]) -> str:
    names = [name for name in entries[0] if name != "event"]
    rows = [[printable(_short(str(entry[name] or "-"))) for name in names] for entry in entries]
    return table([[name.replace("_", " ") for name in names], *rows])

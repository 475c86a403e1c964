"""What options and files of `mpest serve` say, checked."""

import contextlib
import ipaddress
import json
import math
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import click
from pydantic import BaseModel

from mpest import settings
from mpest.exits import CliError
from mpest.server import faults
from mpest.server.ca import check_cas
from mpest.server.config import ServerConfig
from mpest.server.proxy import Network
from mpest.server.users import print_hashed, read_lines
from mpest.text import text_of

_Policy = TypeVar("_Policy", bound=BaseModel)

_LONGEST_WAIT = timedelta(days=36525)


def lifetime(_ctx: click.Context, _param: click.Parameter, value: str) -> timedelta:
    """`90d`, `12h`, `30m` or `45s`."""
    try:
        return settings.lifetime(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def key_password(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """The first line of a file, or what is typed for `-`. Raises CliError."""
    if value is None:
        return None
    if value == "-":
        return str(click.prompt("Password of the CA's keys", hide_input=True, err=True))
    try:
        lines = text_of(Path(value).read_bytes()).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise CliError(f"cannot read {value}: {reason}") from None
    if not lines or not lines[0]:
        raise CliError(f"{value} is empty")
    return lines[0]


def seconds(_ctx: click.Context, _param: click.Parameter, value: str) -> float:
    """Seconds, or infinity for `manual`."""
    if value == "manual":
        return math.inf
    with contextlib.suppress(ValueError):
        seconds = float(value)
        if 0 <= seconds <= _LONGEST_WAIT.total_seconds():
            return seconds
    raise click.BadParameter(f"{value!r} is neither a number of seconds nor manual")


def networks(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> list[Network]:
    """Addresses and networks."""
    networks = []
    for value in values:
        try:
            networks.append(ipaddress.ip_network(value, strict=False))
        except ValueError:
            raise click.BadParameter(
                f"{value!r} is no address as 10.0.0.7 or 10.0.0.0/24"
            ) from None
    return networks


def fault_names(ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> set[str]:
    """Names of faults; `help` lists them and ends."""
    if "help" in values:
        width = max(map(len, faults.DESCRIPTIONS))
        for name, description in sorted(faults.DESCRIPTIONS.items()):
            needed = f" (needs {faults.NEEDS[name]})" if name in faults.NEEDS else ""
            click.echo(f"{name:{width}}  {description}{needed}")
        ctx.exit()
    return set(values)


def hash_password(ctx: click.Context, _param: click.Parameter, auth: str | None) -> None:
    """Prints lines with hashes, if asked to, and ends."""
    if auth:
        print_hashed(auth, ServerConfig.model_fields["realm"].default)
        ctx.exit()


def in_the_clear(path: Path | None, auth: str) -> list[str]:
    """What to tell of a file that holds secrets as they are."""
    kind = "" if auth == "basic" else f" {auth}"
    return [
        f"{path} holds secrets in the clear; for a file with hashes:",
        f"  mpest serve --hash-password{kind} < {path}",
    ]


def read_cas(path: Path) -> str:
    """CA certificates in PEM. Raises CliError."""
    try:
        return check_cas("\n".join(read_lines(path)))
    except ValueError as error:
        raise CliError(f"{path} {error}") from error


def read_policy(source: str, kind: type[_Policy]) -> _Policy:
    """A TOML or JSON file as a `kind`; `default` is that of its defaults. Raises CliError."""
    if source == "default":
        return kind()
    text = "\n".join(read_lines(Path(source)))
    try:
        content = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except ValueError as error:
        raise CliError(f"{source} is neither TOML nor JSON: {error}") from None
    return settings.check(kind, content, source)

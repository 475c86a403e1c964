"""Files of users and of tokens, and the lines that `mpest serve --hash-password` makes of them."""

import sys
from pathlib import Path
from typing import NamedTuple

import click

from mpest.exits import CliError
from mpest.server.passwords import (
    check_kept,
    digest_entry,
    hashed,
    is_ha1,
    is_hash,
)
from mpest.server.spelling import canonical
from mpest.text import text_of

_ONCE = "once"
_STDIN = "standard input"


class Entry(NamedTuple):
    """A line of such a file."""

    name: str
    """The user's, or of a token, which may have none."""
    kept: str
    """The secret, or what `passwords` makes of it."""
    once: bool = False
    """It is for one certificate."""

    @property
    def in_the_clear(self) -> bool:
        return not is_ha1(self.kept) and not is_hash(self.kept)

    def __str__(self) -> str:
        return ":".join(filter(None, (self.name, self.kept, _ONCE if self.once else "")))


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank. Raises CliError."""
    try:
        return _lines(path.read_bytes(), path)
    except OSError as error:
        raise CliError(f"can't read {path}: {error.strerror}") from error


def read_users(path: Path, auth: str) -> list[Entry]:
    """Who may log in by `auth`, basic or digest. Raises CliError, which tells no secret."""
    users = _users(read_lines(path), path)
    if not users:
        raise CliError(f"{path} names no user: it takes lines of name:password")
    _check_scheme(users, auth, path)
    return users


def read_tokens(path: Path) -> list[Entry]:
    """Raises CliError, which tells no secret."""
    tokens = _tokens(read_lines(path), path)
    if not tokens:
        raise CliError(f"{path} holds no token: it takes one a line, or lines of name:token")
    return tokens


def print_hashed(auth: str, realm: str) -> None:
    """Copy a file of users, or with `auth` token of tokens, from standard input to standard
    output, hashes in place of what is in the clear; people are asked for a line. Raises CliError.
    """
    if sys.stdin.isatty():
        entries = [_asked_for(auth)]
    else:
        lines = _lines(sys.stdin.buffer.read(), _STDIN)
        entries = _tokens(lines, _STDIN) if auth == "token" else _users(lines, _STDIN)
        _check_scheme(entries, auth, _STDIN)
    salted = next((entry.kept for entry in entries if is_hash(entry.kept)), None)
    for entry in entries:
        kept = entry.kept
        if entry.in_the_clear and auth == "digest":
            kept = digest_entry(entry.name, kept, realm)
        elif entry.in_the_clear:
            kept = hashed(kept, salted if auth == "token" else None)
            salted = kept
        click.echo(entry._replace(kept=kept))


def _asked_for(auth: str) -> Entry:
    if auth == "token":
        return Entry("", click.prompt("Token", hide_input=True, err=True))
    name: str = click.prompt("User name", err=True)
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return Entry(name, password)


def _lines(content: bytes, source: object) -> list[str]:
    try:
        return [line for line in text_of(content).splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise CliError(f"can't read {source}: it is not text") from error


def _users(lines: list[str], source: object) -> list[Entry]:
    entries: dict[str, Entry] = {}
    for number, line in enumerate(lines, 1):
        name, _, rest = line.partition(":")
        kept, colon, last = rest.rpartition(":")
        once = bool(colon) and last == _ONCE
        entry = Entry(name, kept if once else rest, once)
        if not canonical(name) or not entry.kept:
            raise CliError(f"{source}: entry {number} is not name:password")
        if canonical(name) in entries:
            raise CliError(f"{source}: entry {number} names a user for the second time")
        entries[canonical(name)] = _checked(entry, number, source)
    return [*entries.values()]


def _tokens(lines: list[str], source: object) -> list[Entry]:
    entries = []
    spellings: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, colon, kept = line.rpartition(":")
        if not kept or (colon and not canonical(name)):
            raise CliError(f"{source}: entry {number} is not a token or name:token")
        if spellings.setdefault(canonical(name), name) != name:
            raise CliError(f"{source}: entry {number} spells a name that is there in another way")
        entries.append(_checked(Entry(name, kept), number, source))
    return entries


def _check_scheme(entries: list[Entry], auth: str, source: object) -> None:
    """Raises CliError for what is kept of a secret for another way to log in."""
    for number, entry in enumerate(entries, 1):
        if auth != "digest" and is_ha1(entry.kept):
            raise CliError(f"{source}: entry {number} is for --auth digest alone")
        if auth == "digest" and is_hash(entry.kept):
            raise CliError(
                f"{source}: entry {number} is for --auth basic: Digest can't be checked by a hash"
            )


def _checked(entry: Entry, number: int, source: object) -> Entry:
    try:
        check_kept(entry.kept)
    except ValueError as error:
        raise CliError(f"{source}: entry {number}: {error}") from None
    return entry

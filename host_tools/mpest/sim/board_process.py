"""Starts a simulated board and reads its events."""

import fcntl
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpest import runtimes
from mpest.exits import CliError, Exit
from mpest.process import Process
from mpest.sim import cpython

RUNTIMES = ("cpython", "micropython", "micropython-armhf", "micropython-picow-like")
_BOARD = Path(__file__).with_name("board.py")

_EXPORTED = ("key.pem", "cert.pem", "chain.pem")

# What an est error of the board means for the command's exit code.
_EXITS = {
    "UsageError": Exit.USAGE,
    "NotTrusted": Exit.NOT_TRUSTED,
    "Refused": Exit.REFUSED,
    "RetryLater": Exit.LATER,
    "StorageError": Exit.STORAGE,
}

Event = dict[str, Any]


def exit_code(event: Event) -> Exit:
    """Exit code for an `error` event; what has no type of its own is the peer's or network's."""
    return _EXITS.get(event["type"], Exit.NETWORK)


def run_board(
    config: Event, runtime: str, state: Path, library: Path | None = None
) -> Iterator[Event]:
    """Run `config` (see board.py) on `runtime`; yield the board's events as they come.

    `state` is made (mode 700) and left holding cert.pem, chain.pem and key.pem once there is an
    identity. `library`: folder in which MicroPython finds the est package, ours unless given.
    Raises CliError where the board cannot run or breaks down.
    """
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise CliError(f"cannot use the folder {state}: {reason}", Exit.STORAGE) from None
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another simulated board runs in {state}"
            raise CliError(message, Exit.STORAGE) from None
        failed = revoked = False
        for event in _events({**config, "state": str(state.resolve())}, runtime, library):
            failed = event["event"] == "error"
            revoked = revoked or event["event"] == "revoke"
            yield event
        try:
            if revoked:
                _withdraw(state)
            _export(state)
        except OSError as error:
            if not failed:  # what the board said comes first
                message = f"cannot write the identity into {state}: {error.strerror}"
                raise CliError(message, Exit.STORAGE) from None
    finally:
        os.close(folder)


def _events(config: Event, runtime: str, library: Path | None) -> Iterator[Event]:
    environment = dict(os.environ)
    if runtime == "cpython":
        command = [sys.executable, str(Path(cpython.__file__)), str(_BOARD)]
    else:
        program = runtimes.find(runtime)
        command = [*program.argv, str(_BOARD)]
        environment.update(program.env, MICROPYPATH=f"{library or cpython.firmware()}:.frozen")
    # Nobody else may read what the board stores; MicroPython has no way to say so itself.
    stdin = json.dumps(config, ensure_ascii=False) + "\n"
    with tempfile.TemporaryFile("w+") as errors:
        with Process(command, given=stdin, errors=errors, env=environment, umask=0o077) as board:
            for line in board:
                if line.startswith("{"):
                    yield json.loads(line)
        if board.code:
            errors.seek(0)
            last = errors.read().strip().splitlines()[-1:] or ["no message"]
            raise CliError(f"the simulated board broke down: {last[0]}", Exit.NETWORK)


def _withdraw(state: Path) -> None:
    """Remove what was exported of an identity that is no more."""
    for name in _EXPORTED:
        (state / name).unlink(missing_ok=True)


def stored_identity(state: Path) -> tuple[list[bytes], str]:
    """(chain of DER certificates, leaf first; the key in PEM, "" if it is in a secure element).

    The chain is empty where there is no identity that can be read.
    """
    cpython.install()
    from est import errors, identity, key_forms, keys, pem, store

    stored = identity.Identity(None)
    try:
        stored.take(store.unpack(store.Store(str(state)).load("identity")))
    except errors.StorageError:
        return [], ""  # the board says so where it needs it
    try:
        key = stored.key and pem.encode("PRIVATE KEY", key_forms.pkcs8(keys.load(stored.key)))
    except errors.UsageError:  # it is in a secure element
        key = ""
    return stored.chain, key or ""


def _export(state: Path) -> None:
    """Write the identity the board stored as PEM files that other programs read.

    There is no key.pem where the key is in a secure element.
    """
    identity, key = stored_identity(state)
    if not identity:
        return
    from est import pem

    chain = [pem.encode("CERTIFICATE", der) for der in identity]
    files = {"cert.pem": chain[0], "chain.pem": "".join(chain)}
    if key:
        files["key.pem"] = key
    else:
        (state / "key.pem").unlink(missing_ok=True)
    for name, text in files.items():
        path, partial = state / name, state / (name + ".part")
        if path.exists() and path.read_text() == text:
            continue
        partial.unlink(missing_ok=True)
        try:
            with os.fdopen(
                os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
            ) as file:
                file.write(text)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

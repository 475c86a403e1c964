"""`mpest simulate`: a board as a process, against any EST server."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from mpest.exits import CliError, Exit, missing_extra
from mpest.options import GroupedCommand, file_option, option
from mpest.sim import attributes, settings, words
from mpest.sim.board_process import RUNTIMES, Event, exit_code, run_board
from mpest.sim.settings import Settings
from mpest.text import printable

_KEY_TYPES = ("P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096")
_OPERATIONS = (
    "cacerts",
    "csrattrs",
    "enroll",
    "reenroll",
    "serverkeygen",
    "revoke",
    "show",
)

_BOARD = "Board and server"
_LOGIN = "To enrol: enroll, serverkeygen"
_REQUEST = "The request: enroll, reenroll"
_RENEW = "reenroll"
_SERVERKEYGEN = "serverkeygen"
_REVOKE = "revoke"


def _together(option_name: str, other_name: str) -> str:
    return f"{option_name} and {other_name} go together"


def _exclude(option_name: str, other_name: str) -> str:
    return f"{option_name} and {other_name} exclude each other"


def _check_user(use: Settings) -> str | None:
    if not use.password_file:
        return _together("--user", "--password-file")
    return _exclude("--user", "--token-file") if use.token_file else None


def _check_own_key(use: Settings) -> str | None:
    if use.secure_element:
        return _exclude("--own-key", "--secure-element")
    if use.same_key:
        return _exclude("--own-key", "--same-key")
    return _check_given_key(use, "--own-key")


def _check_given_key(use: Settings, name: str) -> str | None:
    if use.does("serverkeygen"):
        return f"serverkeygen has the server make the key: leave out {name}"
    return None


def _check_csr(use: Settings) -> str | None:
    options = {"--subject": use.subject, "--san": use.san, "--challenge-file": use.challenge_file}
    options["--key-type"] = use.key_type
    for name, value in options.items():
        if value:
            return f"the request in --csr is sent as it is: leave out {name}"
    if use.does("enroll", "reenroll") and not (use.own_key or use.secure_element):
        return "--csr goes with its key, which --own-key or --secure-element names"
    return None


def _check_key_type(use: Settings) -> str | None:
    if use.own_key or use.secure_element:
        return "--key-type is for keys that the board makes, not for one that is given"
    return None


@click.command(cls=GroupedCommand)
@option(
    "--url",
    group=_BOARD,
    help="https://HOST[:PORT][/.well-known/est[/LABEL]]; show does without.",
    check=settings.check_url,
)
@file_option(
    "--trust",
    group=_BOARD,
    multiple=True,
    metavar="FILE|sha256:HEX",
    help="CA certificates (PEM or DER), or the SHA-256 of the CA's; both if TLS has another CA.",
)
@option(
    "--state",
    group=_BOARD,
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder where the board lives.",
)
@option(
    "--runtime",
    group=_BOARD,
    type=click.Choice(RUNTIMES),
    default="micropython",
    show_default=True,
    help="What runs the board's code.",
)
@option(
    "--timeout",
    group=_BOARD,
    type=click.IntRange(1, 3600),
    default=30,
    show_default=True,
    help="Seconds to wait for the server.",
)
@option("--require-cmc-ra", group=_BOARD, is_flag=True, help="Refuse servers without id-kp-cmcRA.")
@option(
    "--single-certificate",
    group=_BOARD,
    is_flag=True,
    help="Show no chain in TLS, from the next on.",
)
@option("--json", "as_json", group=_BOARD, is_flag=True, help="One JSON object per event.")
@option(
    "--user",
    group=_LOGIN,
    help="User name for Basic or Digest.",
    check=_check_user,
)
@file_option(
    "--password-file",
    group=_LOGIN,
    help="File whose first line is the password.",
    check=lambda use: None if use.user else _together("--user", "--password-file"),
)
@file_option("--token-file", group=_LOGIN, help="File whose first line is a bearer token.")
@file_option(
    "--cert",
    group=_LOGIN,
    help="PEM or DER file: a certificate to enrol with, and its chain; for reenroll, another "
    "program's to renew.",
    check=lambda use: None if use.key else _together("--cert", "--key"),
)
@file_option(
    "--key",
    group=_LOGIN,
    help="PEM or DER file: its private key.",
    check=lambda use: None if use.cert else _together("--cert", "--key"),
)
@option(
    "--subject",
    group=_LOGIN,
    help='Such as "CN=device-1,O=Example".',
    check=lambda use: settings.check_printable(use.subject),
)
@option(
    "--san",
    group=_LOGIN,
    multiple=True,
    help="Such as DNS:a.example, IP:192.0.2.1; repeatable.",
    check=lambda use: settings.check_printable(*use.san),
)
@file_option(
    "--challenge-file",
    group=_LOGIN,
    help="File whose first line is the challengePassword to send.",
)
@option(
    "--key-type",
    group=_REQUEST,
    type=click.Choice(_KEY_TYPES),
    help="Else what the server asks for.",
    check=_check_key_type,
)
@file_option(
    "--own-key",
    group=_REQUEST,
    help="PEM or DER file: the key to enrol, instead of a new one.",
    check=_check_own_key,
)
@file_option(
    "--secure-element",
    group=_REQUEST,
    help="PEM or DER file: an EC key as in hardware, unseen.",
    check=lambda use: _check_given_key(use, "--secure-element"),
)
@file_option(
    "--csr",
    group=_REQUEST,
    help="PEM or DER file: a request to send as it is; needs its key.",
    check=_check_csr,
)
@option("--cmc", group=_REQUEST, is_flag=True, help="Enrol and renew by full CMC messages.")
@option(
    "--require-csrattrs",
    group=_REQUEST,
    is_flag=True,
    help="No request without the server's csrattrs.",
)
@option("--no-wrap", group=_REQUEST, is_flag=True, help="Send base64 on one line.")
@option("--same-key", group=_RENEW, is_flag=True, help="Keep the key instead of a new one.")
@file_option(
    "--decrypt-key",
    group=_SERVERKEYGEN,
    help="RSA or EC key (PEM or DER) to encrypt to.",
    check=lambda use: (
        _exclude("--decrypt-key", "--decrypt-secret-file") if use.decrypt_secret_file else None
    ),
)
@file_option(
    "--decrypt-secret-file",
    group=_SERVERKEYGEN,
    help="File with the shared AES key in hex.",
)
@option(
    "--decrypt-id",
    group=_SERVERKEYGEN,
    help="What the server knows key or secret by, in hex.",
    check=lambda use: (
        None
        if use.decrypt_key or use.decrypt_secret_file
        else "--decrypt-id goes with --decrypt-key or --decrypt-secret-file"
    ),
)
@file_option(
    "--decrypt-password-file",
    group=_SERVERKEYGEN,
    help="File with the key's password.",
)
@option(
    "--reason",
    group=_REVOKE,
    default="unspecified",
    help="Such as keyCompromise, superseded.",
)
@click.argument("operations", nargs=-1, required=True, type=click.Choice(_OPERATIONS))
@click.pass_context
def simulate(ctx: click.Context, /, **options: Any) -> None:
    """Run OPERATIONS on a simulated board, with the code a real board runs.

    The board lives in the folder --state and remembers what it trusts and who it is.
    """
    use = Settings(**options)
    assert isinstance(ctx.command, GroupedCommand)
    problem = ctx.command.check(ctx, use)
    if problem:
        raise CliError(problem)
    settings.check_operations(use)
    # MicroPython brings AES; CPython's stand-in for it is made of this.
    if use.decrypts and use.runtime == "cpython" and not find_spec("cryptography"):
        raise missing_extra("mpest simulate --runtime cpython --decrypt-...", "serve")
    if use.without_names():
        click.echo("Note: --subject and --san are for enroll and serverkeygen alone", err=True)
    sys.exit(_run(use))


def _run(use: Settings) -> Exit:
    failed: Event | None = None
    code = Exit.DONE
    noted: set[str] = set()
    for event in run_board(use.board(), use.runtime, use.state):
        kind = event["event"]
        if kind == "show":
            event = attributes.shown(event)
            if not event["certificate"]:
                code = Exit.USAGE
        if use.as_json:
            click.echo(json.dumps(event))
        elif kind == "note":
            # A board says each time what it meets in its storage.
            if event["text"] not in noted:
                _say(f"Note: {event['text']}", err=True)
            noted.add(event["text"])
        elif kind != "error":
            _say(words.summary(event))
        if kind == "error":
            failed = event
    if not failed:
        return code
    later = f" (try again in {failed['seconds']} s)" if failed["seconds"] else ""
    text = words.in_words(failed) + words.not_accepted(failed, use.state) + words.kept(failed)
    if not text.startswith(f"{failed['operation']}: "):
        text = f"{failed['operation']}: {text}"
    _say(f"Error: {text}{later}", err=True)
    return exit_code(failed)


def _say(text: str, err: bool = False) -> None:
    """Print what a server may have had a part in: it must not steer the terminal."""
    click.echo("\n".join(map(printable, text.split("\n"))), err=err)

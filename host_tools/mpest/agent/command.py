"""`mpest agent`: the options of firmware/estd, which takes this process's place."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from mpest import shipped
from mpest.options import GroupedCommand, option
from mpest.sim import cpython

_ACTIONS = ("run", "status", "renew", "revoke", "export", "reset")
_FILE = click.Path(dir_okay=False)

_RUN = "run, the action without a word"
_OTHERS = "Other actions"
_ALL = "All"


@click.command(cls=GroupedCommand)
@option("--config", group=_ALL, required=True, type=_FILE, help="The settings, JSON.")
@option("--json", group=_ALL, is_flag=True, help="One JSON object per event.")
@option("--once", group=_RUN, is_flag=True, help="Do what is due and end, for a timer.")
@option(
    "--dry-run",
    group=_RUN,
    is_flag=True,
    help="Prove server, trust, credentials and exports; change nothing.",
)
@option("--cert", group=_RUN, type=_FILE, help="PEM or DER: a certificate to begin with.")
@option("--key", group=_RUN, type=_FILE, help="PEM or DER: its key.")
@option("--now", group=_OTHERS, is_flag=True, help="renew: though it is not due.")
@option("--reason", group=_OTHERS, help="revoke: such as keyCompromise, superseded.")
@click.argument("action", default="run", type=click.Choice(_ACTIONS))
def agent(action: str, **options: Any) -> None:
    """Keep the certificate of a Linux board renewed, and hand it to other programs.

    docs/linux.md describes the settings and the actions.
    """
    arguments = [action]
    for name, value in options.items():
        word = "--" + name.replace("_", "-")
        if value is True:
            arguments.append(word)
        elif value:
            arguments += [word, str(value)]
    # In this process's place: what click and the other commands take of memory goes.
    program = shipped.folder("firmware") / "estd" / "__main__.py"
    command = [sys.executable, str(Path(cpython.__file__)), str(program), *arguments]
    os.execv(sys.executable, command)  # noqa: S606

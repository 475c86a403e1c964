"""`mpest agent`: the options of firmware/estd, which takes this process's place."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from mpest import shipped
from mpest.agent import install
from mpest.exits import CliError
from mpest.options import GroupedCommand, file_option, option
from mpest.sim import cpython

_ACTIONS = ("run", "status", "renew", "revoke", "export", "reset", "deploy", "install")

_RUN = "run, the action without a word"
_OTHERS = "Other actions"
_INSTALL = "install: systemd's units and the agent's user, where no package brought them"
_ALL = "All"


@click.command(cls=GroupedCommand)
@file_option("--config", group=_ALL, help="The settings, JSON.")
@option("--json", group=_ALL, is_flag=True, help="One JSON object per event.")
@option("--once", group=_RUN, is_flag=True, help="Do what is due and end, for a timer.")
@option(
    "--dry-run",
    group=_RUN,
    is_flag=True,
    help="Prove server, trust, credentials and exports; change nothing.",
)
@file_option("--cert", group=_RUN, help="PEM or DER: a certificate to begin with.")
@file_option("--key", group=_RUN, help="PEM or DER: its key.")
@option("--now", group=_OTHERS, is_flag=True, help="renew: though it is not due.")
@option("--reason", group=_OTHERS, help="revoke: such as keyCompromise, superseded.")
@option("--program", group=_INSTALL, help="Path of mpest in the units; this one unless given.")
@option(
    "--root",
    group=_INSTALL,
    type=click.Path(file_okay=False, path_type=Path),
    help="Write below this folder, such as that of an image, and start nothing.",
)
@option("--units", group=_INSTALL, help="Folder of the units, /etc/systemd/system unless given.")
@click.argument("action", default="run", type=click.Choice(_ACTIONS))
def agent(
    action: str, program: str | None, root: Path | None, units: str | None, **options: Any
) -> None:
    """Keep the certificate of a Linux board renewed, and hand it to other programs.

    docs/linux.md describes the settings and the actions.
    """
    if action == "install":
        if any(options.values()):
            raise CliError("install takes --program, --root and --units alone")
        install.install(root or Path("/"), units, program)
        return
    if program or root or units:
        raise CliError("--program, --root and --units are of install")
    if not options["config"]:
        raise CliError("--config FILE is missing")
    arguments = [action]
    for name, value in options.items():
        word = "--" + name.replace("_", "-")
        if value is True:
            arguments.append(word)
        elif value:
            arguments += [word, str(value)]
    # In this process's place: what click and the other commands take of memory goes.
    estd = shipped.folder("firmware") / "estd" / "__main__.py"
    command = [sys.executable, str(Path(cpython.__file__)), str(estd), *arguments]
    os.execv(sys.executable, command)  # noqa: S606

"""The `mpest` command. Each subcommand lives beside the code it starts and is loaded when used."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

import click

from mpest.exits import Exit, missing_extra


class _Command(NamedTuple):
    module: str
    extra: str  # what it needs beside the base
    help: str  # the first sentence of its own, which need not be loaded for it


_COMMANDS = {
    "agent": _Command(
        "mpest.agent.command",
        "serve",
        "Keep the certificate of a Linux board renewed, and hand it to other programs.",
    ),
    "demo": _Command(
        "mpest.demo", "serve", "Enrol a simulated board with a test server, step by step."
    ),
    "flash": _Command(
        "mpest.flash.command",
        "flash",
        "Install MicroPython (where --firmware is given) and the EST client on a board.",
    ),
    "ledger": _Command(
        "mpest.station.ledger.command",
        "factory",
        "Show what a line of stations made, and report, export, verify and revoke it.",
    ),
    "provision": _Command(
        "mpest.station.command",
        "factory",
        "Make the boards of a job: firmware, settings, key and certificate, each accounted for.",
    ),
    "serve": _Command(
        "mpest.server.command", "serve", "Run a test EST server with its own CA until interrupted."
    ),
    "simulate": _Command(
        "mpest.sim.command",
        "serve",
        "Run OPERATIONS on a simulated board, with the code a real board runs.",
    ),
}
_OURS = ("mpest", "est")


class _Stopped(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        entry = _COMMANDS[cmd_name]
        try:
            module = import_module(entry.module)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] in _OURS:
                raise
            return _missing(cmd_name, entry)
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name].help) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _sigterm_raises():
                return super().invoke(ctx)
        except _Stopped:
            click.echo("Stopped.", err=True)
            ctx.exit(Exit.TERMINATED)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(Exit.INTERRUPTED)


def _missing(name: str, entry: _Command) -> click.Command:
    """Stands for a command whose extra is not installed, whatever its arguments."""

    def tell(_arguments: tuple[str, ...]) -> None:
        raise missing_extra(f"mpest {name}", entry.extra)

    arguments = click.Argument(["_arguments"], nargs=-1, type=click.UNPROCESSED)
    return click.Command(
        name,
        callback=tell,
        params=[arguments],
        help=entry.help,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True},
    )


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        raise _Stopped

    usual_handler = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, usual_handler)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mpest", prog_name="mpest")
def main() -> None:
    """EST (RFC 7030) certificates for MicroPython boards."""

"""The `mpest` command. Each subcommand lives beside the code it starts and is loaded when used."""

from importlib import import_module

import click

from mpest.exits import Exit

_COMMANDS = {
    "demo": "mpest.demo",
    "flash": "mpest.flash.command",
    "serve": "mpest.server.command",
    "simulate": "mpest.sim.command",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(_COMMANDS[cmd_name]), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(Exit.INTERRUPTED)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mpest")
def main() -> None:
    """EST (RFC 7030) certificates for MicroPython boards."""

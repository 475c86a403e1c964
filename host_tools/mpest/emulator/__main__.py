"""`python -m mpest.emulator NAME`: switch a board on until Ctrl-C."""

import signal
from pathlib import Path

import click

from mpest import boards
from mpest.emulator.firmware import build
from mpest.emulator.machine import Machine
from mpest.emulator.profile import Profile


@click.command()
@click.argument("name")
@click.option(
    "--memory",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the board's memory, so that its storage outlives the power.",
)
def main(name: str, memory: Path | None) -> None:
    """Build the firmware of board NAME, run it and print the serial port for mpremote."""
    board = boards.load(name)
    if memory and not Profile.of(board).keeps_storage:
        raise click.UsageError(f"{name} cannot keep its storage in a file")
    with Machine(board, build(board), memory) as machine:
        click.echo(f"mpremote connect {machine.pty}")
        for end in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(end, signal.default_int_handler)
        try:
            machine.wait()
            click.echo("The board has switched itself off.", err=True)
        except KeyboardInterrupt:
            click.echo("Switched off.", err=True)


if __name__ == "__main__":
    main(prog_name="python -m mpest.emulator")

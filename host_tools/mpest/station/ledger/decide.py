"""What a person decides about a board, as commands of `mpest ledger`."""

import getpass
import socket
from collections.abc import Callable
from typing import Any, TypeVar

import click

from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.units import Who, checked

_Function = TypeVar("_Function", bound=Callable[..., Any])


def operator(command: _Function) -> _Function:
    text = "Who does it."
    option = click.option("--operator", metavar="NAME", default=getpass.getuser, help=text)
    return option(command)


def who(name: str) -> Who:
    """The operator at this computer. Raises CliError."""
    return Who(socket.gethostname(), "", checked(name, "operator"))


_reason = click.option("--reason", metavar="TEXT", required=True, help="Why; it is kept.")


@click.command()
@click.argument("serial")
@_reason
@operator
@click.pass_obj
def scrap(ledger: Ledger, serial: str, reason: str, operator: str) -> None:
    """Close a serial number for ever."""
    unit = ledger.scrap(serial, who(operator), reason)
    click.echo(f"{unit.serial} is scrapped, for ever.", err=True)
    left = ledger.superseded(unit.serial)
    if left:
        text = f"To be revoked: {', '.join(one.number for one in left)}"
        click.echo(f"{text}: mpest ledger revoke --serial {unit.serial}", err=True)


@click.command()
@click.argument("serial")
@click.argument("step")
@click.option("--done/--undone", required=True, help="Whether the board shows that it happened.")
@_reason
@operator
@click.pass_obj
def settle(ledger: Ledger, serial: str, step: str, done: bool, reason: str, operator: str) -> None:
    """Say what became of a step that cannot be undone, and was cut.

    What was not done is done when the board is put in again.
    """
    ledger.settle(serial, who(operator), step, done=done, reason=reason)
    found = "done" if done else "not done"
    click.echo(f"{serial}: {step} was {found}. Put the board in again.", err=True)

"""Exit codes of every command, and the error that carries one."""

from enum import IntEnum

import click


class Exit(IntEnum):
    """What the process's exit code means."""

    DONE = 0
    USAGE = 2
    NOT_TRUSTED = 3
    REFUSED = 4
    LATER = 5
    NETWORK = 6
    STORAGE = 7
    HOOK = 8
    INTERRUPTED = 130
    TERMINATED = 143


class CliError(click.ClickException):
    """One clear line for the user and the exit code that goes with it."""

    def __init__(self, message: str, code: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.exit_code = int(code)  # type: ignore[misc]


def missing_extra(what: str, extra: str) -> CliError:
    """The error where `what` needs an extra of mpest's that is not installed."""
    return CliError(f"{what} needs more: pip install 'mpest[{extra}]'")

"""Options of commands: those in groups of the help, and what a shell completes."""

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

_Function = TypeVar("_Function", bound=Callable[..., Any])

Check = Callable[[Any], str | None]
"""Is given the command's settings, and says what is wrong with an option, None for nothing."""


class GroupedOption(click.Option):
    """An option under a heading of the help. `check` is asked where the option is given."""

    def __init__(
        self, *names: Any, group: str = "Options", check: Check | None = None, **attributes: Any
    ) -> None:
        super().__init__(*names, **attributes)
        self.group = group
        self.check = check


def option(*names: str, **attributes: Any) -> Callable[[_Function], _Function]:
    """`click.option` of a GroupedOption."""
    return click.option(*names, cls=GroupedOption, **attributes)


def file_option(*names: str, **attributes: Any) -> Callable[[_Function], _Function]:
    """`option` whose value is the path of a file, which need not be there."""
    return option(*names, type=click.Path(dir_okay=False), **attributes)


class GroupedCommand(click.Command):
    """A command whose help has its options in groups, in the order of their first options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record:
                groups.setdefault(getattr(parameter, "group", "Options"), []).append(record)
        for name, records in groups.items():
            with formatter.section(name):
                formatter.write_dl(records)

    def check(self, ctx: click.Context, settings: Any) -> str | None:
        """What is wrong with the first option that was given and does not fit the others."""
        for parameter in self.get_params(ctx):
            check = getattr(parameter, "check", None)
            value = parameter.name and getattr(settings, parameter.name, None)
            problem = check(settings) if check and value else None
            if problem:
                return str(problem)
        return None


class Completed(click.ParamType):  # type: ignore[type-arg]
    """Text that a shell completes with what `found` gives, and with file names if `files`."""

    name = "text"

    def __init__(self, found: Callable[[], list[str]], *, files: bool = False) -> None:
        self._found = found
        self._files = files

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        items = [CompletionItem(word) for word in self._found() if word.startswith(incomplete)]
        return items or ([CompletionItem(incomplete, type="file")] if self._files else [])

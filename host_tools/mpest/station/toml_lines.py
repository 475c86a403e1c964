"""Which line of a TOML file a key stands in, which tomllib does not tell.

The file is cut into statements: the fewest lines that are TOML by themselves. tomllib reads each
one, so there is no second parser to disagree with it. What stands in a statement of several lines,
such as a long list, counts as in its first.
"""

import tomllib
from collections.abc import Iterator
from typing import Any

Keys = tuple[int | str, ...]


def lines_of(text: str) -> dict[Keys, int]:
    """{the keys that lead to an entry: its line, from 1}, of a text that tomllib can read."""
    lines: dict[Keys, int] = {}
    table: Keys = ()
    lengths: dict[Keys, int] = {}  # of arrays of tables, so far
    for number, content, is_header in _statements(text):
        if is_header:
            table = _table(content, lengths)
            for end in range(1, len(table) + 1):
                lines.setdefault(table[:end], number)
        else:
            for path in _paths(content):
                lines.setdefault(table + path, number)
    return lines


def _statements(text: str) -> Iterator[tuple[int, dict[str, Any], bool]]:
    """(line, content, whether it is a [table]'s header) of each statement."""
    start, statement = 1, ""
    for number, line in enumerate(text.split("\n"), 1):
        statement += line + "\n"
        try:
            content = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:  # it goes on in the next line
            continue
        if content:
            yield start, content, statement.lstrip().startswith("[")
        start, statement = number + 1, ""


def _table(content: Any, lengths: dict[Keys, int]) -> Keys:
    """The keys of a header, what tomllib makes of it being `content`."""
    table: Keys = ()
    while content and isinstance(content, dict):
        ((name, content),) = content.items()
        table += (name,)
        if isinstance(content, list):
            lengths[table] = lengths.get(table, 0) + 1
        if table in lengths:
            table += (lengths[table] - 1,)
    return table


def _paths(content: object, path: Keys = ()) -> Iterator[Keys]:
    entries: Any = ()
    if isinstance(content, dict):
        entries = content.items()
    elif isinstance(content, list):
        entries = enumerate(content)
    for key, value in entries:
        yield (*path, key)
        yield from _paths(value, (*path, key))

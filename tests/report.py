"""How measurements are reported: tables for people and build/NAME.json for programs."""

import json
import sys
import tomllib
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
EST = ROOT / "firmware/est"
_WIDE = 1000


def report(name, rows):
    """`rows` are dicts with the same keys, which head the columns."""
    save(name, rows)
    show(rows)


def save(name, data):
    path = ROOT / "build" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n")


def show(rows, title=None):
    table = Table(title=title, title_justify="left")
    for key, value in rows[0].items():
        table.add_column(key.replace("_", " "), justify="left" if type(value) is str else "right")
    for row in rows:
        table.add_row(*map(_text, row.values()))
    # In a file or a pipe a table is as wide as its text.
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)


def budgets():
    """The tables of tests/budgets.toml."""
    return tomllib.loads((ROOT / "tests/budgets.toml").read_text())


def over_budget(measured, budgets):
    """Lines on the values of the tables `measured` that are over, or have no budget."""
    for table, values in measured.items():
        for name, value in values.items():
            limit = budgets[table].get(name)
            if limit is None:
                yield f"{table}.{name}: {value:,}, and it has no budget"
            elif value > limit:
                yield f"{table}.{name}: {value:,}, the budget is {limit:,}"


def hold(lines):
    """Exit with 1, and these lines, if there are any."""
    for line in lines:
        print(f"Over budget: {line} (tests/budgets.toml)", file=sys.stderr)
    sys.exit(bool(lines))


def _text(value):
    if value is None:
        return "-"
    return f"{value:,}" if type(value) is int else str(value)

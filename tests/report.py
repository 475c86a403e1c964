"""How measurements are reported: tables for people and build/NAME.json for programs."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
EST = ROOT / "firmware/est"


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
    Console().print(table)


def _text(value):
    if value is None:
        return "-"
    return f"{value:,}" if type(value) is int else str(value)

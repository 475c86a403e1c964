"""Tables in a file or a pipe are as wide as their text."""

import subprocess
import sys
from pathlib import Path

from mpest.text import table

LONG = "x" * 300


def test_columns_are_as_wide_as_their_text() -> None:
    shown = table([("name", "version", ""), (LONG, "1", "a"), ("b", "", "c")])
    assert shown.splitlines() == [
        f"{'name':300}  version",
        f"{LONG}  1        a",
        f"{'b':300}           c",
    ]


def test_a_measured_table_is_not_folded() -> None:
    code = f"import report; report.show([{{'name': {LONG!r}, 'bytes': 5}}])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert LONG in done.stdout

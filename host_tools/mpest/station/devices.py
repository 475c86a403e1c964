"""Lists of devices: CSV files with a header, and ranges of serial numbers."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mpest.station.ledger.units import NewUnit
from mpest.station.templates import WORDS
from mpest.text import text_of

_MAX_UNITS = 100_000  # of a batch: to check the job for so many takes a minute or two
_MAX_BYTES = 256 << 20  # of a CSV file, whose units are all in memory
_MAX_COLUMNS = 200
_MAX_CELL = 4000  # characters; a quote that is never closed takes the whole file
_MAX_SERIAL = 64  # characters: ub-serial-number (RFC 5280 appendix A.1)
_MAX_TOLD = 20  # problems of one file; a wrong file has one in each line

_RANGE = re.compile(r"(.*?)([0-9]+)([^0-9]*)", re.DOTALL)
_ID = re.compile(r"(?:[0-9a-f]{2}){2,32}")  # machine.unique_id(); few have less than 6 bytes
_MAC = re.compile(r"[0-9a-f]{12}")

_OF_BOARDS = ("serial", "unique_id", "mac")

Told = tuple[int | None, str, str]
"""A problem: the line, if any, the column, and the words."""


@dataclass
class Rows:
    """What a CSV file holds. secrets: {serial: {column: secret}}, no part of the metadata."""

    units: list[NewUnit] = field(default_factory=list)
    columns: tuple[str, ...] = ()
    secrets: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)
    problems: list[Told] = field(default_factory=list)

    def tell(self, line: int | None, column: str, text: str) -> None:
        self.problems.append((line, column, text))


def serial_problem(serial: str) -> str | None:
    """Why it is no serial number: these name files, and stand on labels and in spreadsheets."""
    if not serial:
        return "a serial number is missing"
    if len(serial) > _MAX_SERIAL:
        return f"a serial number has {_MAX_SERIAL} characters at most, not {len(serial)}"
    if not serial.isprintable():
        return f"{serial!r} has a character that can't be printed"
    if not serial[0].isalnum() or serial != serial.strip() or set("/\\") & set(serial):
        return f"{serial!r} must begin with a letter or digit, and hold no / and no \\"
    return None


def unique_id(text: str) -> str:
    """A board's unique id as the ledger has it, in lower-case hex. Raises ValueError."""
    return _hex(text, _ID, "a unique id of 2 to 32 bytes in hexadecimal digits")


def mac(text: str) -> str:
    """A MAC address as the ledger has it, in twelve hex digits. Raises ValueError."""
    return _hex(text, _MAC, "a MAC address such as 28:cd:c1:00:00:01")


def _hex(text: str, pattern: re.Pattern[str], what: str) -> str:
    digits = re.sub(r"[:\-. ]", "", text).lower().removeprefix("0x")
    if not pattern.fullmatch(digits):
        raise ValueError(f"{text!r} is not {what}")
    if set(digits) in ({"0"}, {"f"}):
        raise ValueError(f"{text!r} is blank: a board or reader that was not set up says so")
    return digits


def in_range(first: str, last: str) -> tuple[str, range, int, str]:
    """(before, numbers, digits, after) of the serial numbers from `first` to `last`.

    Raises ValueError in plain words.
    """
    ends = _RANGE.fullmatch(first), _RANGE.fullmatch(last)
    for serial, found in zip((first, last), ends, strict=True):
        problem = serial_problem(serial)
        if problem:
            raise ValueError(problem)
        if not found:
            raise ValueError(f"{serial!r} holds no number to count by")
    before, number, after = ends[0].groups()  # type: ignore[union-attr]
    other_before, other_number, other_after = ends[1].groups()  # type: ignore[union-attr]
    if (before, after, len(number)) != (other_before, other_after, len(other_number)):
        raise ValueError(
            f"{first} and {last} must differ in their last number alone, in as many digits"
        )
    numbers = range(int(number), int(other_number) + 1)
    if not numbers:
        raise ValueError(f"{last} comes before {first}")
    if len(numbers) > _MAX_UNITS:
        raise ValueError(f"{len(numbers)} units are more than a batch takes ({_MAX_UNITS})")
    return before, numbers, len(number), after


def of_range(first: str, last: str) -> Iterator[NewUnit]:
    """Its units, in order. Raises ValueError as `in_range`."""
    before, numbers, digits, after = in_range(first, last)
    for number in numbers:
        yield NewUnit(f"{before}{number:0{digits}}{after}", {})


def read(
    file: Path, delimiter: str, names: Mapping[str, str], secret_columns: Sequence[str]
) -> Rows:
    """The units of a CSV file (RFC 4180). names: of the columns serial, unique_id and mac.

    What is wrong stands in `problems`, each with its line.
    """
    rows = Rows()
    try:
        if file.stat().st_size > _MAX_BYTES:
            rows.tell(None, "", f"more than {_MAX_BYTES >> 20} MiB is no list of devices")
            return rows
        text = text_of(file.read_bytes())
    except OSError as error:
        rows.tell(None, "", f"can't be read: {error.strerror}")
        return rows
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        rows.tell(line, "", 'is not UTF-8: save it as "CSV UTF-8"')
        return rows
    _read(text, delimiter, names, secret_columns, rows)
    if len(rows.problems) > _MAX_TOLD:
        more = len(rows.problems) - _MAX_TOLD
        rows.problems = [*rows.problems[:_MAX_TOLD], (None, "", f"{more} more problems")]
    return rows


def _read(
    text: str,
    delimiter: str,
    names: Mapping[str, str],
    secret_columns: Sequence[str],
    rows: Rows,
) -> None:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    line = 1
    seen: dict[tuple[str, str], int] = {}
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if any(cells):
                if not header:
                    header = cells
                    wrong = _header_problems(header, delimiter, names, secret_columns)
                    if wrong:
                        rows.problems += [(line, *told) for told in wrong]
                        return
                    taken = {names.get(name, name) for name in _OF_BOARDS}
                    rows.columns = tuple(
                        name for name in header if name not in taken | {*secret_columns}
                    )
                elif len(cells) != len(header):
                    rows.tell(
                        line, "", f"has {len(cells)} cells where the header has {len(header)}"
                    )
                else:
                    row = dict(zip(header, cells, strict=True))
                    _add(row, line, names, secret_columns, rows, seen)
                if len(rows.units) > _MAX_UNITS:
                    rows.tell(line, "", f"a batch takes {_MAX_UNITS} units at most")
                    return
            line = reader.line_num + 1
    except csv.Error as error:
        rows.tell(line, "", f"is no CSV: {error}")
        return
    if not header:
        rows.tell(None, "", "is empty: its first line names the columns, such as serial")
    elif not rows.units and not rows.problems:
        rows.tell(None, "", "names no device below its header")


def _header_problems(
    header: Sequence[str],
    delimiter: str,
    names: Mapping[str, str],
    secret_columns: Sequence[str],
) -> list[tuple[str, str]]:
    wrong = []
    if len(header) > _MAX_COLUMNS:
        return [("", f"has {len(header)} columns, {_MAX_COLUMNS} are the most")]
    for number, name in enumerate(header, 1):
        if not name:
            wrong.append(("", f"column {number} has no name in the header"))
        elif not name.isprintable() or set("{}") & set(name):
            wrong.append(("", f"column {number} is named {name!r}: braces and control characters"))
        elif name in header[: number - 1]:
            wrong.append((name, "the header names this column twice"))
        elif name in WORDS and names.get(name, name) != name:
            wrong.append((name, f"{names[name]} is the column for it: two can't be"))
        elif name == "batch":
            wrong.append((name, "is the job's name in templates: name the column otherwise"))
    for name in ("serial", *(word for word in names if word != "serial")):
        column = names.get(name, name)
        if column not in header:
            wrong.append((column, f"the header names no such column{_hint(name, column, header)}"))
    for column in secret_columns:
        if column not in header:
            wrong.append((column, "the header names no such column, which holds secrets"))
        elif column in {names.get(name, name) for name in _OF_BOARDS}:
            wrong.append((column, "is no secret: labels and certificates show it"))
    return wrong


def _hint(name: str, column: str, header: Sequence[str]) -> str:
    """What the user may have meant."""
    if len(header) == 1:
        others = [sign for sign in ",;\t" if sign in header[0]]
        if others:
            return f"; is the delimiter {others[0]!r}?"
    alike = [cell for cell in header if cell.casefold() == column.casefold()]
    return f'; with columns = {{{name} = "{alike[0]}"}} it is {alike[0]}' if alike else ""


def _add(
    row: dict[str, str],
    line: int,
    names: Mapping[str, str],
    secret_columns: Sequence[str],
    rows: Rows,
    seen: dict[tuple[str, str], int],
) -> None:
    """Take a row as a unit, or tell what is wrong with it."""
    columns = {name: names.get(name, name) for name in _OF_BOARDS}
    found = {name: row.get(column, "") for name, column in columns.items()}
    for column, cell in row.items():
        if len(cell) > _MAX_CELL:
            rows.tell(line, column, f"more than {_MAX_CELL} characters: is a quote not closed?")
            return
        if not cell.isprintable():
            shown = "the cell" if column in secret_columns else repr(cell[:60])
            rows.tell(line, column, f"{shown} has a character that can't be printed")
            return
    problem = serial_problem(found["serial"])
    if problem:
        rows.tell(line, columns["serial"], problem)
        return
    for name, form in (("unique_id", unique_id), ("mac", mac)):
        if found[name]:
            try:
                found[name] = form(found[name])
            except ValueError as error:
                rows.tell(line, columns[name], str(error))
                return
    for name, value in found.items():
        key = name, value.casefold()
        if value and key in seen:
            rows.tell(line, columns[name], f"{value} stands in line {seen[key]} too")
            return
        seen[key] = line
    rows.secrets[found["serial"]] = {column: row[column] for column in secret_columns}
    metadata = {column: row[column] for column in rows.columns}
    rows.units.append(NewUnit(metadata=metadata, **found))

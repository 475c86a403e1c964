"""Lists of devices: CSV files as programs write them, ranges, and what is wrong with either."""

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpest.station import devices
from mpest.station.devices import Rows


def read(folder: Path, data: bytes | str, delimiter: str = ",", **names: str) -> Rows:
    path = folder / "boards.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    secrets = [names.pop("secret")] if "secret" in names else []
    return devices.read(path, delimiter, names, secrets)


def told(rows: Rows) -> list[str]:
    return [f"{line or '-'} {column or '-'} {text}" for line, column, text in rows.problems]


@pytest.mark.parametrize(
    "data",
    [
        "serial,customer\nA1,Müller\nA2,\n",
        "\ufeffserial,customer\r\nA1,Müller\r\nA2,\r\n",
        '"serial" , "customer"\n\n A1 ,Müller \n,\nA2,'.replace(' , "', ',"'),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_forms(tmp_path: Path, data: str, encoding: str) -> None:
    """With and without a byte order mark, in UTF-8 and UTF-16, lines of both kinds, blank ones."""
    text = data.removeprefix("\ufeff") if encoding == "utf-16" else data
    rows = read(tmp_path, text.encode(encoding))
    assert told(rows) == []
    assert [(unit.serial, unit.metadata) for unit in rows.units] == [
        ("A1", {"customer": "Müller"}),
        ("A2", {"customer": ""}),
    ]


def test_names_of_columns(tmp_path: Path) -> None:
    text = "SN;UID;MAC;x;otp\nA1;E6:61;28-CD-C1-00-00-01;1;hunter2\nA2;;;2;hunter3\n"
    names = {"serial": "SN", "unique_id": "UID", "mac": "MAC"}
    rows = read(tmp_path, text, ";", **names, secret="otp")
    assert told(rows) == []
    first, second = rows.units
    assert (first.serial, first.unique_id, first.mac) == ("A1", "e661", "28cdc1000001")
    assert (second.unique_id, second.mac, second.metadata) == ("", "", {"x": "2"})
    assert rows.columns == ("x",)
    assert rows.secrets == {"A1": {"otp": "hunter2"}, "A2": {"otp": "hunter3"}}
    assert "hunter" not in repr(rows)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "- - is empty: its first line names the columns"),
        ("\n,,\n", "- - is empty"),
        ("serial\n", "- - names no device below its header"),
        ("a,b\n1,2\n", "1 serial the header names no such column"),
        ("serial;x\nA1;2\n", "1 serial the header names no such column; is the delimiter ';'?"),
        ("Serial,x\nA1,2\n", "1 serial the header names no such column; with columns = {serial ="),
        ("serial,x,x\nA1,2,3\n", "1 x the header names this column twice"),
        ("serial,\nA1,2\n", "1 - column 2 has no name"),
        ("serial,batch\nA1,2\n", "1 batch is the job's name in templates"),
        ("serial,a{b\nA1,2\n", "1 - column 2 is named 'a{b'"),
        ("serial,x\nA1\n", "2 - has 1 cells where the header has 2"),
        ("serial\nA1,\n", "2 - has 2 cells where the header has 1"),
        ("serial,x\n,2\n", "2 serial a serial number is missing"),
        ("serial\n\nA1\nA1\n", "4 serial A1 stands in line 3 too"),
        ("serial\nA1\na1\n", "3 serial a1 stands in line 2 too"),
        ("serial\n=cmd()\n", "2 serial '=cmd()' must begin with a letter or digit"),
        ("serial\n../../etc\n", "2 serial '../../etc' must begin"),
        ("serial\nA/1\n", "2 serial 'A/1' must begin with a letter or digit, and hold no /"),
        ("serial\n" + "A" * 65, "2 serial a serial number has 64 characters at most, not 65"),
        ('serial,x\n"A\n1",\nA2,\n', "2 serial the cell"),
        ("serial,x\nA1,a\tb\n", "2 x 'a\\tb' has a character that can't be printed"),
        ('serial,x\nA1,"a\n', "2 - is no CSV: unexpected end of data"),
        ('serial,x\nA1,"a"b\n', "2 - is no CSV: "),
        (f"serial,x\nA1,{'a' * 5000}\n", "2 x more than 4000 characters: is a quote not closed?"),
        (f'serial,x\nA1,"{"a" * 200000}"\n', "2 - is no CSV: field larger than"),
        ("serial,mac\nA1,no\n", "2 mac 'no' is not a MAC address"),
        ("serial,mac\nA1,00:00:00:00:00:00\n", "2 mac '00:00:00:00:00:00' is blank: a board or"),
        ("serial,unique_id\nA1,FFFFFFFFFFFFFFFF\n", "2 unique_id 'FFFFFFFFFFFFFFFF' is blank"),
        ("serial,unique_id\nA1,e661\nA2,E6:61\n", "3 unique_id e661 stands in line 2 too"),
        ("serial,x\nA1,M\xfc\n".encode("latin-1"), '2 - is not UTF-8: save it as "CSV UTF-8"'),
        ("serial\nA\0\n", "2 "),
        (b"\xff\xfes", "is not UTF-8"),
        ("serial," + ",".join(map(str, range(300))), "1 - has 301 columns, 200 are the most"),
    ],
)
def test_wrong(tmp_path: Path, data: bytes | str, words: str) -> None:
    rows = read(tmp_path, data)
    lines = told(rows)
    if "the cell" in words:
        words = "2 serial 'A\\n1' has a character that can't be printed"
    assert any(words in line for line in lines), lines


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    rows = read(tmp_path, "serial,otp\nA1,hunter\t2\n", secret="otp")
    assert told(rows) == ["2 otp the cell has a character that can't be printed"]
    rows = read(tmp_path, "serial\nA1\n", secret="otp")
    assert told(rows) == ["1 otp the header names no such column, which holds secrets"]
    rows = read(tmp_path, "serial\nA1\n", secret="serial")
    assert told(rows) == ["1 serial is no secret: labels and certificates show it"]


def test_a_file_that_is_wrong_in_each_line(tmp_path: Path) -> None:
    lines = told(read(tmp_path, "serial\n" + "=\n" * 500))
    assert len(lines) == 21
    assert lines[-1] == "- - 480 more problems"
    assert told(devices.read(tmp_path, ",", {}, [])) == ["- - can't be read: Is a directory"]


CELL = st.text(max_size=12)


@given(st.lists(st.lists(CELL, min_size=3, max_size=3), max_size=6), st.sampled_from(",;\t"))
def test_what_csv_writes(tmp_path_factory, cells: list[list[str]], delimiter: str) -> None:
    """Each row is a unit with its cells, or is told with its line."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerows([["serial", "x", "mac"], *cells])
    data = out.getvalue().encode("utf-8", "surrogatepass")
    rows = read(tmp_path_factory.getbasetemp(), data, delimiter)
    assert all(line is None or line > 0 for line, _, _ in rows.problems)
    if not rows.problems:
        filled = [[cell.strip() for cell in row] for row in cells if any(map(str.strip, row))]
        made = [(unit.serial, unit.metadata["x"]) for unit in rows.units]
        assert made == [(row[0], row[1]) for row in filled]
        assert all(row[2] == "" or len(row[2]) >= 12 for row in filled)


@given(st.binary(max_size=300))
def test_any_file(tmp_path_factory, data: bytes) -> None:
    rows = read(tmp_path_factory.getbasetemp(), b"serial,x\n" + data)
    assert rows.units or rows.problems


def serials(first: str, last: str) -> list[str]:
    return [unit.serial for unit in devices.of_range(first, last)]


def test_ranges() -> None:
    assert serials("A0001", "A0999")[::499] == ["A0001", "A0500", "A0999"]
    assert serials("9", "9") == ["9"]
    assert serials("X1-08-a", "X1-11-a") == ["X1-08-a", "X1-09-a", "X1-10-a", "X1-11-a"]


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        ("A1", "A10", "must differ in their last number alone, in as many digits"),
        ("A1", "B2", "must differ in their last number alone"),
        ("A1-a", "A2-b", "must differ in their last number alone"),
        ("A2", "A1", "A1 comes before A2"),
        ("A", "B", "'A' holds no number to count by"),
        ("A0000000", "A9999999", "10000000 units are more than a batch takes (100000)"),
        ("/1", "/2", "must begin with a letter or digit"),
        ("", "", "a serial number is missing"),
        ("A" * 64 + "1", "A" * 64 + "2", "64 characters at most"),
    ],
)
def test_wrong_ranges(first: str, last: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        serials(first, last)


@given(st.text(max_size=9), st.text(max_size=9))
def test_any_range(first: str, last: str) -> None:
    try:
        _, numbers, _, _ = devices.in_range(first, last)
    except ValueError as error:
        assert str(error).isprintable()
    else:
        assert 0 < len(numbers) <= 100_000

"""Whatever is handed to a ledger: it is taken, or refused in one line."""

import json
import resource
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mpest.exits import CliError, Exit
from mpest.station.ledger import inputs, ledger, verify
from mpest.station.ledger.database import address
from mpest.station.ledger.units import NewUnit, identifier, mac_address

# Surrogates too: what a file system or a terminal hands on may hold some.
TEXT = st.text(st.characters(), max_size=80)
HEX = st.text("0123456789abcdefABCDEF:-. ", max_size=80)


def refused(error: CliError) -> None:
    assert error.message.isprintable(), error.message
    assert len(error.message) < 600


@given(TEXT | HEX)
def test_identifiers(text: str) -> None:
    for read in (identifier, mac_address):
        try:
            digits = read(text)
        except CliError as error:
            refused(error)
        else:
            assert int(digits, 16) and set(digits) != {"f"}
            assert read(digits) == digits


@given(TEXT)
@example("postgresql://a:b@[")
@example("sqlite:///\0")
@example("postgresql://h:99999999999/x")
def test_addresses(text: str) -> None:
    for start in ("", "postgresql://", "sqlite:///", "postgresql://ann:pass word@"):
        try:
            url = address(start + text)
        except CliError as error:
            refused(error)
            assert "pass word" not in error.message
        else:
            assert url.drivername in ("sqlite", "postgresql+psycopg")


@given(st.lists(st.builds(NewUnit, TEXT, st.dictionaries(TEXT, TEXT, max_size=2), TEXT | HEX)))
def test_units(units: list[NewUnit]) -> None:
    try:
        entries = ledger._entries(units)
    except CliError as error:
        refused(error)
    else:
        assert [entry["serial"] for entry in entries] == [unit.serial for unit in units]
        assert all(entry["serial"] for entry in entries)


def lists() -> st.SearchStrategy[str]:
    """Lines of the server's list, and such that nearly are."""
    number = st.from_regex("[0-9a-fA-F]{1,8}", fullmatch=True) | TEXT | st.integers()
    entry = st.fixed_dictionaries(
        {"event": st.just("certificate"), "serial": number},
        optional={"subject": TEXT, "revoked": TEXT | st.none()},
    )
    values: st.SearchStrategy[Any] = (
        entry | st.none() | st.lists(entry) | st.dictionaries(TEXT, TEXT)
    )
    return st.lists(values.map(json.dumps) | TEXT, max_size=4).map("\n".join)


@given(lists())
def test_lists_of_a_server(text: str) -> None:
    try:
        entries = verify.read_list(text, "list")
    except CliError as error:
        refused(error)
    else:
        assert all(int(entry["serial"], 16) >= 0 for entry in entries)


@given(TEXT | st.datetimes().map(str) | st.from_regex("[0-9T:+-]{0,30}", fullmatch=True))
def test_times(text: str) -> None:
    try:
        assert isinstance(inputs.time(text), datetime)
    except CliError as error:
        refused(error)


@pytest.mark.parametrize("quantity", [0, -1, 10**8])
def test_quantities(tmp_path: Path, quantity: int) -> None:
    with ledger.Ledger(str(tmp_path / "ledger")) as one, pytest.raises(CliError) as caught:
        one.open_batch("one", "d", quantity, [], {})
    refused(caught.value)


def test_files_on_a_disk_that_is_full(tmp_path: Path) -> None:
    """A manifest and its signature stay as they were, both of them."""
    pair = {tmp_path / "one.json.p7s": b"old", tmp_path / "one.json": b"old"}
    inputs.write_files(pair)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(CliError, match=r"can't write .*one\.json: File too large") as caught:
            inputs.write_files(dict(zip(pair, (b"new", b"x" * 2000), strict=True)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.exit_code == Exit.STORAGE
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

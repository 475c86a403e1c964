"""Board profiles: those that are there, those that are wrong, and those of other folders."""

import importlib.util
import os
import re
import tomllib
from pathlib import Path

import pytest

from mpest import boards
from mpest.boards import Board, Esptool, Uf2
from mpest.exits import CliError
from mpest.sim import cpython

PROFILE = """
port = "unix"
minimum_firmware = "1.23"

[storage]
kind = "host"
path = "."

[flash]
tool = "folder"
"""


def make(place: Path, name: str, profile: str = PROFILE) -> Path:
    folder = place / name
    folder.mkdir(parents=True)
    (folder / boards.PROFILE).write_text(profile)
    return folder


# Where the ROM of a chip looks for its boot loader: Espressif's documents, and esptool's targets.
BOOT_LOADERS = {"esp32": 0x1000, "esp32s2": 0x1000, "esp32s3": 0, "esp32c3": 0, "esp32c6": 0}
HARDWARE = [name for name in boards.names() if boards.load(name).flash]


@pytest.mark.parametrize("name", boards.names())
def test_ours(name: str) -> None:
    board = boards.load(name)
    assert board.wiring.is_file()
    readme = (board.folder / "README.md").read_text()
    assert readme.startswith(f"# {name}")
    assert len(re.findall("^Tested on: ", readme, re.MULTILINE)) == 1
    storage = board.storage
    if isinstance(board.flash, Esptool | Uf2):
        assert storage.offset and storage.size
        assert storage.offset + storage.size == board.flash.size
        assert board.firmware and board.arch and board.mcu
        assert f"--board {name}" in readme
        assert board.firmware.startswith(f"{name}-")
    if isinstance(board.flash, Esptool):
        assert board.mcu == board.flash.chip.upper()
        assert board.flash.offset == BOOT_LOADERS[board.flash.chip]


def test_no_firmware_is_for_two_boards() -> None:
    """`mpest flash` tells boards apart by what MicroPython says it was built for."""
    told = [(board.port, board.machine, board.mcu) for board in map(boards.load, HARDWARE)]
    assert len(set(told)) == len(told)


@pytest.mark.parametrize("name", HARDWARE)
def test_wiring_and_profile_agree(name: str) -> None:
    cpython.install()
    board = boards.load(name)
    spec = importlib.util.spec_from_file_location("wiring", board.wiring)
    assert spec and spec.loader
    wiring = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(wiring)
    assert wiring.Board.storage == board.storage.path


def with_key(table: str, line: str) -> str:
    """PROFILE with `line` in [table], in place of what the key was before."""
    key = line.partition(" = ")[0]
    text = re.sub(rf"^{key} = .*\n", "", PROFILE, flags=re.MULTILINE)
    return text.replace(f"[{table}]\n", f"[{table}]\n{line}\n") if table else f"{line}\n{text}"


UF2 = 'tool = "uf2"\nfamily = 1\ndrive = "D"\nbase = 0\nsize = 1000'


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        (with_key("", "speed = 3"), "speed: no such entry, known are arch, emulator, firmware, "),
        (with_key("storage", "speed = 3"), "storage.speed: no such entry, known are kind, "),
        (with_key("flash", "speed = 3"), "flash.speed: no such entry, known are tool"),
        (with_key("", 'port = "avr"'), "port: found \"avr\", allowed is 'rp2', 'esp32', "),
        (with_key("", 'arch = "avr"'), 'arch: found "avr", one of x86, '),
        (with_key("", 'minimum_firmware = "new"'), 'firmware: found "new", a version such as'),
        (with_key("", "minimum_firmware = 1.23"), "found 1.23, allowed is text in quotes"),
        (with_key("storage", 'offset = "much"'), 'found "much", allowed is a whole number'),
        (with_key("storage", "offset = -1"), "storage.offset: found -1, allowed is 0 or more"),
        (with_key("storage", "offset = true"), "found true, allowed is a whole number"),
        (with_key("storage", 'path = "somewhere"'), 'storage.path: found "somewhere", "." or '),
        (with_key("flash", 'tool = "hammer"'), "tool: found \"hammer\", allowed is 'esptool', "),
        (with_key("flash", UF2).replace("family = 1\n", ""), "flash.family: is missing"),
        (with_key("", 'name = "A"'), "name: "),
        (PROFILE.replace('port = "unix"\n', ""), "port: is missing"),
        (PROFILE.replace('[flash]\ntool = "folder"', "[flash]"), "flash.tool: is missing"),
        (with_key("flash", UF2.replace("1000", "0")), "size: found 0, allowed is more than 0"),
        ("flash = 3\n" + PROFILE.replace('[flash]\ntool = "folder"', ""), "flash: found 3, "),
        ("port =", "Invalid value"),
        ("a = 1\na = 2", "overwrite"),
        ("", "is missing (and "),
    ],
)  # fmt: skip
def test_wrong_profile(tmp_path: Path, profile: str, words: str) -> None:
    folder = make(tmp_path, "BOARD", profile)
    with pytest.raises(CliError) as caught:
        boards.load("BOARD", tmp_path)
    assert words in caught.value.message
    assert caught.value.message.startswith(str(folder / "board.toml"))
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 2
    assert not re.search("should|a valid |Field|input|type=|folder, ", caught.value.message)


def test_profile_that_is_no_text(tmp_path: Path) -> None:
    (make(tmp_path, "BOARD") / "board.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(CliError, match=r"board\.toml"):
        boards.load("BOARD", tmp_path)


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "NOT_A_BOARD").mkdir()
    ours = boards.names()
    with pytest.raises(CliError, match=r"no board 'MADE_UP'; there are: .*RPI_PICO_W"):
        boards.load("MADE_UP")
    for wrong in ("../boards/UNIX", ".", "", "unix"):
        with pytest.raises(CliError, match="no board"):
            boards.load(wrong)
    first = make(tmp_path / "a", "MADE_UP")
    second = make(tmp_path / "b", "MADE_UP")
    make(tmp_path / "b", "UNIX", with_key("", 'minimum_firmware = "1.99"'))
    monkeypatch.setenv(boards.ENVIRONMENT, os.pathsep.join(map(str, [second.parent, "", "/nil"])))
    assert boards.names() == sorted([*ours, "MADE_UP"])
    assert boards.load("MADE_UP").folder == second
    assert boards.load("MADE_UP", first.parent).folder == first
    assert boards.load("UNIX").minimum_firmware == "1.99"


def test_emulator_table_is_left_to_the_emulator() -> None:
    content = tomllib.loads(PROFILE.replace('[flash]\ntool = "folder"', "[emulator]\nx = 1"))
    board = Board(name="A", folder=Path("/a"), **content)
    assert board.emulator == {"x": 1}
    assert board.flash is None

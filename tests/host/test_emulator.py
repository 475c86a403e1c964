"""What the emulator says where something is missing or wrong."""

import shutil
from pathlib import Path

import pytest

from mpest import boards, emulator
from mpest.exits import CliError, Exit

EMULATED = [name for name in boards.names() if boards.load(name).emulator]


@pytest.mark.parametrize("name", EMULATED)
def test_missing_program_names_its_package(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    board = boards.load(name)
    which = shutil.which
    lacking = ("arm-none-eabi-gcc", "riscv64-unknown-elf-gcc", "qemu-system")
    monkeypatch.setattr(
        shutil, "which", lambda name: None if name.startswith(lacking) else which(name)
    )
    with pytest.raises(CliError, match=r"-gcc is missing .*apt install gcc-") as error:
        emulator.build(board)
    assert error.value.exit_code == Exit.USAGE
    machine = emulator.Machine(board, tmp_path / "firmware.elf")
    with pytest.raises(CliError, match=r"^qemu-system-.* is missing .*apt install qemu-system-"):
        machine.__enter__()


def test_profile(tmp_path: Path) -> None:
    board = boards.load(EMULATED[0])
    for table in (None, {}, {"cpu": "z80", "machine": []}, {"cpu": "arm", "machine": [], "x": 1}):
        with pytest.raises(CliError, match="describes no emulated board") as error:
            emulator.Profile.of(board.model_copy(update={"emulator": table}))
        assert "\n" not in error.value.message


@pytest.mark.parametrize("name", EMULATED)
def test_readme(name: str) -> None:
    readme = (boards.load(name).folder / "README.md").read_text()
    assert readme.startswith(f"# {name}: ")
    assert readme.count("\nTested on: ") == 1
    assert "unfit for production" in readme

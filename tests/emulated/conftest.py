"""Emulated boards with the device code installed."""

import functools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from mpest import boards, emulator, packages, shipped
from mpest.exits import CliError
from mpest.toolchain import mpy

BOARDS = [name for name in boards.names() if boards.load(name).emulator]
FIRMWARE = shipped.folder("firmware")


def load(name: str) -> boards.Board:
    """A board whose firmware is built; elsewhere than in CI the test is skipped without one."""
    board = boards.load(name)
    try:
        emulator.build(board)
    except CliError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(error.message)
    return board


@pytest.fixture(params=BOARDS)
def board(request: pytest.FixtureRequest) -> boards.Board:
    return load(request.param)


@pytest.fixture
def mps2() -> boards.Board:
    return load("QEMU_MPS2_AN385")


@pytest.fixture
def rv32() -> boards.Board:
    return load("QEMU_VIRT_RV32")


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of the device code as .mpy for an architecture."""

    @functools.cache
    def compiled(arch: str) -> Path:
        folder = tmp_path_factory.mktemp(arch)
        (folder / "est").mkdir()
        parts = [FIRMWARE / path for path in packages.installed(arch)]
        for source in (FIRMWARE / "bringup.py", *parts):
            out = (folder / source.relative_to(FIRMWARE)).with_suffix(".mpy")
            out.write_bytes(mpy.compile_file(source, arch))
        return folder

    return compiled


@pytest.fixture(scope="session")
def installed(
    compiled: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[boards.Board], Path]:
    """File of the memory of a board that keeps its storage, with device code and wiring on it."""

    @functools.cache
    def installed(name: str) -> Path:
        board = boards.load(name)
        memory = tmp_path_factory.mktemp(name) / "memory"
        with emulator.Machine(board, emulator.build(board), memory) as machine:
            install(machine, board, compiled(board.arch))
        return memory

    return lambda board: installed(board.name)


def install(machine: emulator.Machine, board: boards.Board, code: Path) -> None:
    machine.mpremote("fs", "mkdir", "lib")
    machine.mpremote("resume", "fs", "cp", "-r", code / "est", ":lib/")
    machine.mpremote("resume", "fs", "cp", code / "bringup.mpy", ":lib/")
    machine.mpremote("resume", "fs", "cp", board.wiring, ":")


@pytest.fixture
def power_on(
    compiled: Callable[[str], Path], installed: Callable[[boards.Board], Path], tmp_path: Path
) -> Callable[..., AbstractContextManager[emulator.Machine]]:
    """Switches on a board on which mpremote has installed device code and wiring."""

    @contextmanager
    def power_on(board: boards.Board, *, counting: bool = False) -> Iterator[emulator.Machine]:
        keeps = emulator.Profile.of(board).keeps_storage
        memory = Path(shutil.copy(installed(board), tmp_path)) if keeps else None
        firmware = emulator.build(board)
        with emulator.Machine(board, firmware, memory, counting=counting) as machine:
            if not keeps:
                install(machine, board, compiled(board.arch))
                machine.soft_reset()
            yield machine

    return power_on

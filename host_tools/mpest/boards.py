"""Board profiles: what `board.toml` in a board's folder says, and where such folders are found.

A board is a folder named as MicroPython names the board. It holds `board.toml`, `wiring.py` (what
the application imports to bring up this hardware) and `README.md`.
"""

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from mpest import settings, shipped
from mpest.exits import CliError
from mpest.toolchain import mpy

PROFILE = "board.toml"
ENVIRONMENT = "MPEST_BOARDS"
"""Names a folder of more boards; several are separated as in PATH."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Bytes = Annotated[int, Field(gt=0, lt=1 << 32)]
Offset = Annotated[int, Field(ge=0, lt=1 << 32)]


SURE_BAUD = 115_200
"""What any converter, cable and chip can do: where a faster rate fails."""


def _arch(text: str) -> str:
    if text not in mpy.ARCHES[1:]:
        raise ValueError(f"one of {', '.join(mpy.ARCHES[1:])} is expected")
    return text


_Version = Annotated[str, settings.matching(r"\d+\.\d+(\.\d+)?", 'a version such as "1.23"')]
_Path = Annotated[str, settings.matching("/.*|[.]", '"." or a path from the root')]


class Esptool(_Strict):
    """Firmware is written over the serial port by esptool."""

    tool: Literal["esptool"]
    chip: str  # as esptool names it
    offset: Offset  # where the firmware file begins in flash
    size: Bytes  # of the flash chip, at least
    baud: Annotated[int, Field(ge=SURE_BAUD, le=4_000_000)] = SURE_BAUD


class Uf2(_Strict):
    """Firmware is copied to the drive that the board's boot loader shows."""

    tool: Literal["uf2"]
    family: Offset  # family ID of the file's blocks
    drive: str  # Board-ID in the drive's INFO_UF2.TXT
    base: Offset  # address at which flash appears
    size: Bytes  # of the flash chip


class Folder(_Strict):
    """The board is a computer: the application goes into a folder, MicroPython is its own."""

    tool: Literal["folder"]


class Storage(_Strict):
    """The file system that holds application and identity."""

    kind: Literal["littlefs2", "fat", "host"]
    path: _Path  # folder given to est.store.Store
    # In flash; the firmware must not reach into it.
    offset: Offset | None = None
    size: Bytes | None = None


class Board(_Strict):
    """What the tools need to know of one board, from its board.toml. Sizes are in bytes."""

    name: str  # of its folder
    folder: Path
    port: Literal["rp2", "esp32", "unix", "qemu"]
    # How sys.implementation._machine begins, where another board with this mcu will not do.
    machine: str | None = None
    mcu: str | None = None  # as sys.implementation._machine ends: "... with MCU"
    # -march of mpy-cross; without one the application is installed as source.
    arch: Annotated[str, AfterValidator(_arch)] | None = None
    firmware: str | None = None  # pattern of its firmware's file names, as fnmatch takes it
    minimum_firmware: _Version  # MicroPython's version
    storage: Storage
    flash: Annotated[Esptool | Uf2 | Folder, Field(discriminator="tool")] | None = None
    emulator: dict[str, Any] | None = None  # read by mpest.emulator

    @property
    def wiring(self) -> Path:
        """The board's wiring.py."""
        return self.folder / "wiring.py"


def _places(extra: Path | None) -> Iterator[Path]:
    if extra:
        yield extra
    for entry in os.environ.get(ENVIRONMENT, "").split(os.pathsep):
        if entry:
            yield Path(entry)
    yield shipped.folder("boards")


def names(extra: Path | None = None) -> list[str]:
    """All boards there are: in the folder `extra`, those of MPEST_BOARDS, and ours."""
    boards = {
        file.parent.name for folder in _places(extra) for file in folder.glob(f"*/{PROFILE}")
    }
    return sorted(boards)


def load(name: str, extra: Path | None = None) -> Board:
    """The board called `name`; the folder `extra` comes before MPEST_BOARDS and ours.

    Raises CliError where there is no such board or its profile is wrong.
    """
    for folder in _places(extra):
        if name in {file.parent.name for file in folder.glob(f"*/{PROFILE}")}:
            return read(folder / name)
    raise CliError(f"no board {name!r}; there are: {', '.join(names(extra)) or 'none'}")


def read(folder: Path) -> Board:
    """The board in `folder`. Raises CliError that names file and key."""
    file = folder / PROFILE
    try:
        with file.open("rb") as stream:
            content = tomllib.load(stream)
    except OSError as error:
        raise CliError(f"cannot read {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CliError(f"{file}: {error}") from None
    for name in ("name", "folder"):
        if name in content:
            raise CliError(f"{file}: {name}: comes from the folder's name, not from this file")
    return settings.check(Board, content, file, name=folder.name, folder=folder.resolve())

"""What the emulator must know of a board: the table `emulator` of its board.toml."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mpest import settings
from mpest.boards import PROFILE, Board
from mpest.exits import CliError


class Profile(BaseModel):
    """One emulated board."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    cpu: Literal["arm", "riscv32"]
    """What follows `qemu-system-`; it chooses the compiler too."""

    heap: Annotated[int, Field(gt=0)]
    """Bytes of MicroPython's heap."""

    machine: list[str]
    """QEMU's arguments. `{memory}` stands for the file that holds the board's memory."""

    @property
    def keeps_storage(self) -> bool:
        """Whether storage outlives the power."""
        return any("{memory}" in argument for argument in self.machine)

    @classmethod
    def of(cls, board: Board) -> "Profile":
        """The profile of `board`. Raises CliError."""
        source = f"{board.folder / PROFILE} describes no emulated board"
        if not board.emulator:
            raise CliError(source)
        return settings.check(cls, board.emulator, f"{source}: in the table emulator")

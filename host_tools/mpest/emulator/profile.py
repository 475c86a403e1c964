"""What the emulator must know of a board: the table `emulator` of its board.toml."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mpest.boards import PROFILE, Board
from mpest.exits import CliError


class Profile(BaseModel):
    """One emulated board."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    cpu: Literal["arm", "riscv32"]
    """What follows `qemu-system-`; it chooses the compiler too."""

    machine: list[str]
    """QEMU's arguments. `{memory}` stands for the file that holds the board's memory."""

    @property
    def keeps_storage(self) -> bool:
        """Whether storage outlives the power."""
        return any("{memory}" in argument for argument in self.machine)

    @classmethod
    def of(cls, board: Board) -> "Profile":
        """The profile of `board`. Raises CliError."""
        if not board.emulator:
            raise CliError(f"{board.folder / PROFILE} describes no emulated board")
        try:
            return cls.model_validate(board.emulator)
        except ValidationError as error:
            reason = " ".join(str(error).split())
            file = board.folder / PROFILE
            raise CliError(f"{file} describes no emulated board: {reason}") from error

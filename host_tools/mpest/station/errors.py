"""What can go wrong with the board on a port: the type says what the line does about it."""

from mpest.exits import CliError, Exit


class BoardError(CliError):
    """A board, or the way to it, failed in one step. What was stored there is still stored."""

    def __init__(self, message: str, code: Exit = Exit.NETWORK) -> None:
        super().__init__(message, code)


class Failed(BoardError):
    """What ran on the board raised; `kind` is the name of the error, such as "NotTrusted".

    output: what was printed before.
    """

    def __init__(
        self, message: str, kind: str, code: Exit = Exit.NETWORK, *, output: str = ""
    ) -> None:
        super().__init__(message, code)
        self.kind = kind
        self.output = output


class Gone(BoardError):
    """The port vanished: unplugged, out of power, or starting over by USB."""


class Silent(BoardError):
    """No answer within the time that the call was given."""


class NoMicroPython(Silent):
    """No MicroPython answers: another program, or nothing, is on what is plugged in."""


class Garbled(BoardError):
    """An answer that makes no sense, or one without end."""


class StartedOver(BoardError):
    """The board was reset in the middle of a call."""


class OtherBoard(BoardError):
    """Another board answers on the port than the one that was identified there."""


class WrongBoard(BoardError):
    """The board is none of the job's profile."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.USAGE)


class StorageFull(BoardError):
    """The board's file system has no room."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.STORAGE)


class Provisioned(BoardError):
    """The board has a certificate already."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.USAGE)


class RequestDiffers(BoardError):
    """The request that the board holds is not what the job asks for."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.USAGE)


class NotEnrolled(BoardError):
    """The board did not get its certificate over its own network in time."""


class SecretLeft(BoardError):
    """What was to be withdrawn is still on the board: `paths` are the files that hold it."""

    def __init__(self, message: str, paths: list[str]) -> None:
        super().__init__(message, Exit.STORAGE)
        self.paths = paths


class NotProven(BoardError):
    """The board does not hold the chain, or not the key of it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.NOT_TRUSTED)


class AcceptanceFailed(BoardError):
    """The acceptance script raised; `output` is what it printed."""

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message, Exit.USAGE)
        self.output = output

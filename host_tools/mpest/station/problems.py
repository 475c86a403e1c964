"""What is wrong with a job: each problem one line that names file, line and key."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mpest.exits import CliError


@dataclass(frozen=True)
class Problem:
    """line: in the file, from 1; None for what stands in no line, such as a missing key."""

    file: Path
    line: int | None
    key: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        return one_line(": ".join(filter(None, (place, self.key, self.text))))


class JobError(CliError):
    """The job cannot run. `problems` has all that is wrong, the message a line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def one_line(text: str) -> str:
    """`text` with a question mark for each character that cannot be printed."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)

"""The PC of a station: where its system files are and what its user may do."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mpest.station import usb

_MAX_TEXT = 1 << 20  # of a system file; those that are read here have a few lines


@dataclass(frozen=True)
class Machine:
    """Everything that is asked of the PC. Tests have other ones.

    root: where /sys, /proc, /etc and so on lie. may_use: whether a file may be read and written.
    """

    root: Path = usb.ROOT
    uid: int = os.getuid()
    groups: frozenset[int] = frozenset({os.getgid(), *os.getgroups()})
    may_use: Callable[[Path], bool] = lambda path: os.access(path, os.R_OK | os.W_OK)
    free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    program: Callable[[str], str | None] = shutil.which

    def text(self, name: str) -> str:
        """What a system file holds, nothing where it can't be read."""
        try:
            with (self.root / name).open("rb") as file:
                return file.read(_MAX_TEXT).decode(errors="replace")
        except OSError:
            return ""

    def running(self) -> set[str]:
        """Names of the programs that run, of 15 characters at most, as Linux keeps them."""
        return {
            self.text(f"proc/{folder.name}/comm").strip()
            for folder in self._entries("proc")
            if folder.name.isdigit()
        }

    def rules(self) -> Iterator[Path]:
        """The files with udev's rules that are in force: of one name the first counts."""
        seen: set[str] = set()
        for folder in ("etc/udev", "run/udev", "usr/lib/udev", "lib/udev"):
            for file in self._entries(f"{folder}/rules.d"):
                if file.suffix == ".rules" and file.name not in seen:
                    seen.add(file.name)
                    yield file

    def rule_for(self, vendor: str, words: str) -> bool:
        """Whether a rule of udev gives devices of this vendor what `words` match."""
        for file in self.rules():
            lines = self.text(str(file.relative_to(self.root))).replace("\\\n", "").splitlines()
            if any(vendor in line and words in line for line in lines if line[:1] != "#"):
                return True
        return False

    def group(self, *names: str) -> tuple[str, int, list[str]] | None:
        """(name, number, members) of the first of these groups that there is."""
        groups = [line.split(":") for line in self.text("etc/group").splitlines()]
        found = {entry[0]: entry for entry in groups if len(entry) == 4 and entry[2].isdigit()}
        for name in names:
            if name in found:
                _, _, number, members = found[name]
                return name, int(number), list(filter(None, members.split(",")))
        return None

    def _entries(self, folder: str) -> list[Path]:
        try:
            return sorted((self.root / folder).iterdir())
        except OSError:
            return []

"""What a disk would hold if the power were cut, computed from what a program did to its files.

`strace` records the program. The model is a journalling file system at its laziest, as ext4 is
with delayed allocation: names, and that a file was emptied, reach the disk with the next fsync of
whatever file or folder; what was written into a file reaches it with that file's own fsync alone.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_TRACED = (
    "open,openat,creat,close,read,pread64,write,pwrite64,writev,pwritev,lseek,ftruncate,truncate,"
    "fsync,fdatasync,sync,syncfs,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,rmdir,"
    "link,linkat,symlink,symlinkat,dup,dup2,dup3"
)
# How another thread's call shows amid one.
_UNFINISHED = re.compile(r"^(\d+) +(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")
# Longer than any record.
_MOST = 70000
_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\)\s+= (-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_FILE = re.compile(r"^(\d+)<((?:\\x[0-9a-f]{2})*)>")


def prefix(log: Path, *, threads: bool = False) -> list[str]:
    """The words before a command that have it recorded in `log`.

    With all its threads, it may not write where it has read in a file: what it loads is left out.
    """
    traced = _TRACED.replace("read,pread64,", "") if threads else _TRACED
    options = ["-qq", "-y", "-xx", "-s", str(_MOST), "-e", f"trace={traced}"]
    return ["strace", *options, *(["-f"] if threads else []), "-o", str(log)]


def calls(text: str) -> Iterator[str]:
    """The lines of a recording, each a whole call."""
    begun: dict[str, str] = {}
    for line in text.splitlines():
        if match := _UNFINISHED.match(line):
            begun[match[1]] = match[2]
        elif match := _RESUMED.match(line):
            yield begun.pop(match[1]) + match[2]
        else:
            yield line


def missing() -> str | None:
    """Why nothing can be recorded here, or None."""
    if not shutil.which("strace"):
        return "there is no strace"
    done = subprocess.run(["strace", "true"], capture_output=True, text=True)
    return done.stderr.strip().splitlines()[-1] if done.returncode else None


Contents = dict[str, bytes | str | None]
"""What is at each path: the octets of a file, where a link leads to, None for a folder."""


def write(folder: Path, contents: Contents) -> None:
    """Make `folder`, with what `Disk.holds` returned."""
    folder.mkdir(mode=0o700)
    for name, data in contents.items():
        path = folder / name
        if data is None:
            path.mkdir(exist_ok=True)
        elif not path.parent.exists():
            continue
        elif isinstance(data, str):
            path.symlink_to(data)
        else:
            path.write_bytes(data)


@dataclass
class _File:
    data: bytearray
    disk: bytes = b""
    """What the disk holds of it."""
    emptied: bool = False
    """And the disk does not know."""

    def at(self, when: str) -> bytes:
        if when == "kill":
            return bytes(self.data)
        return b"" if when == "journal" and self.emptied else self.disk


@dataclass
class Disk:
    """Files, folders and links below `root`, by their paths, as a program sees them and as they
    are. A program may read through a link, not write."""

    root: Path
    _names: dict[str, _File | str | None] = field(default_factory=dict)
    _stored: dict[str, _File | str | None] = field(default_factory=dict)
    _open: dict[int, tuple[str, _File | None, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in sorted(self.root.rglob("*")):
            if path.is_symlink():
                self._names[str(path)] = str(path.readlink())
            elif path.is_dir():
                self._names[str(path)] = None
            else:
                data = path.read_bytes()
                self._names[str(path)] = _File(bytearray(data), data)
        self._stored = dict(self._names)

    def holds(self, when: str = "fsync") -> Contents:
        """What there is by its path below `root`, if it ends now.

        "fsync": the power goes, and names are those of the last fsync; "journal": it goes once all
        names have reached the disk; "kill": the process ends, and nothing else.
        """
        names = self._stored if when == "fsync" else self._names
        return {
            str(Path(name).relative_to(self.root)): file.at(when)
            if isinstance(file, _File)
            else file
            for name, file in sorted(names.items())
        }

    def write_to(self, folder: Path) -> None:
        """Make `folder`, with what the disk holds."""
        write(folder, self.holds())

    def replay(self, text: str) -> Iterator[None]:
        """Do what strace recorded; pause after each time that something reached the disk."""
        for call in calls(text):
            if self.do(call):
                yield

    def do(self, call: str) -> bool:
        """Do one call; returns whether something reached the disk."""
        match = _CALL.match(call)
        if not match or int(match[3]) < 0:
            return False
        return self._call(match[1], match[2], int(match[3]))

    def _call(self, name: str, arguments: str, result: int) -> bool:
        paths = [self._path(text) for text, _ in _TEXT.findall(arguments)]
        file = _FILE.match(arguments)
        # Another process has other files by these numbers.
        number = int(file[1]) if file and self._inside(self._path(file[2])) else -1
        if name in ("open", "openat", "creat"):
            self._opened(paths[-1], arguments, result)
        elif name == "close":
            self._open.pop(number, None)
        elif name in ("unlink", "unlinkat", "rmdir"):
            self._names.pop(paths[-1], None)
        elif name in ("mkdir", "mkdirat"):
            if self._inside(paths[-1]):
                self._names[paths[-1]] = None
        elif name in ("symlink", "symlinkat"):
            if self._inside(paths[-1]):
                self._names[paths[-1]] = paths[0]
        elif name in ("rename", "renameat", "renameat2"):
            for path in [path for path in self._names if Path(path).is_relative_to(paths[0])]:
                self._names[paths[1] + path.removeprefix(paths[0])] = self._names.pop(path)
        elif name in ("sync", "syncfs"):
            for known in self._names.values():
                if isinstance(known, _File):
                    known.disk = bytes(known.data)
                    known.emptied = False
            self._commit()
            return True
        elif number in self._open:
            return self._on_file(name, number, arguments, result)
        return False

    def _on_file(self, name: str, number: int, arguments: str, result: int) -> bool:
        path, file, place = self._open[number]
        if name in ("fsync", "fdatasync"):
            if file:
                file.disk = bytes(file.data)
                file.emptied = False
            self._commit()
            return True
        if file is None:
            return False
        if name in ("write", "pwrite64"):
            # strace escapes the paths, so that this is what is written.
            match = _TEXT.search(arguments)
            assert match, arguments
            assert not match[2], "a write is longer than what is recorded"
            data = self._bytes(match[1])[:result]
            if name == "write":
                self._open[number] = path, file, place + len(data)
            else:
                place = int(arguments.rpartition(" ")[2])
            file.data += bytes(max(0, place - len(file.data)))
            file.data[place : place + len(data)] = data
        elif name == "read":
            self._open[number] = path, file, place + result
        elif name == "lseek":
            self._open[number] = path, file, result
        elif name == "ftruncate":
            length = int(arguments.rpartition(" ")[2])
            file.emptied = file.emptied or length < len(file.data)
            file.data[:] = file.data[:length].ljust(length, b"\0")
        else:
            raise AssertionError(f"not understood: {name} on {path}")
        return False

    def _opened(self, path: str, arguments: str, number: int) -> None:
        if not self._inside(path):
            self._open.pop(number, None)
            return
        file = self._names.get(path)
        if isinstance(file, str):
            file = None
        if "O_CREAT" in arguments and path not in self._names:
            file = self._names[path] = _File(bytearray())
        elif "O_TRUNC" in arguments and file:
            file.data.clear()
            file.emptied = True
        self._open[number] = path, file, 0

    def _commit(self) -> None:
        self._stored = dict(self._names)
        for file in self._names.values():
            if isinstance(file, _File) and file.emptied:
                file.disk = b""
                file.emptied = False

    def _inside(self, path: str) -> bool:
        return Path(path).is_relative_to(self.root)

    @staticmethod
    def _bytes(text: str) -> bytes:
        return bytes.fromhex(text.replace("\\x", ""))

    def _path(self, text: str) -> str:
        return self._bytes(text).decode(errors="replace").rstrip("/")

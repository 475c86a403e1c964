"""The two ways in which a new application takes the place of what is installed.

Beside it, as a rule: all is staged and read back first, then `switch` carries out a plan. At each
moment what was there before or what is new runs. While files are staged a guard stands in
main.py's place. It waits for this command, for a watchdog that the application starts would reset
the board amid the writing, and runs the application if nobody comes.

In place, where the storage has no room for both or renames in more than one write.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from mpest.boards import Board
from mpest.exits import CliError, Exit
from mpest.flash import application
from mpest.flash.application import File, within
from mpest.flash.switch import KEPT, PLAN, STAGE
from mpest.flash.target import SWITCH, Found, Runtime, Target

OLD = ".old"

Event = dict[str, Any]
Emit = Callable[[Event], None]

_GUARD = """
import time

time.sleep(10)
if committed({root!r}):
    finish({root!r})
    execfile({root!r} + "main.py")
elif exists({root!r} + KEPT):
    execfile({root!r} + KEPT)
"""
_FOLDER_BLOCKS = 2  # of littlefs


@dataclass(frozen=True)
class Update:
    """What changes. new: of `files`, those that differ from what is there; empty: folders.

    found: as it was before any guard. guarded: whether one stands in main.py's place already.
    """

    target: Target
    board: Board
    files: list[File]
    new: list[File]
    remove: list[str]
    empty: list[str]
    found: Found
    guarded: bool

    @cached_property
    def root(self) -> str:
        return application.root(self.board)

    @cached_property
    def main(self) -> File | None:
        return next((file for file in self.files if file.path == self.root + "main.py"), None)

    @property
    def old_name(self) -> str | None:
        """What another main.py than the new one is kept as."""
        before = self._before
        if self.main is None or before is None or self.main not in self.new:
            return None
        # Named by its content, so that none is lost to the next.
        return f"{self.main.path}.{before[1][:8]}{OLD}"

    @property
    def _before(self) -> tuple[int, str] | None:
        return self.found.files.get(self.root + "main.py")

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.new or self.remove or self.empty or self.guarded)

    def check_room(self) -> None:
        """Raise CliError unless there is room for what is new, in place of the old."""
        runtime = self.found.runtime
        if runtime is None:
            return
        needed = sum(_whole(len(file.data), runtime) for file in self.new)
        paths = {file.path for file in self.new} | set(self.remove)
        old_files = [self.found.files[path] for path in paths if path in self.found.files]
        freed = sum(_whole(size, runtime) for size, _ in old_files)
        if needed > runtime.free + freed:
            raise CliError(
                f"the board's storage is too small: {needed} bytes are needed, "
                f"{runtime.free + freed} are free",
                Exit.STORAGE,
            )

    def why_in_place(self) -> str | None:
        """Why the new application cannot be staged beside the old one, or None."""
        runtime = self.found.runtime
        if runtime is None:
            return None
        if self.board.storage.kind == "fat":
            return "FAT renames in more than one write"
        before = self._before or (0, "")
        sizes = [len(file.data) for file in (*self._staged, self._plan)]
        sizes += [before[0], len(guard(self.root))] if self.main else []
        needed = sum(_whole(size, runtime) for size in sizes)
        needed += _FOLDER_BLOCKS * runtime.block * len(self._folders)
        if needed <= runtime.free:
            return None
        return f"the storage has no room for both: {needed} bytes are needed, {runtime.free} free"

    # Beside.

    def beside(self, emit: Emit) -> None:
        """Stage, read back, switch."""
        target = self.target
        if self.main:
            target.do("guard", guard(self.root))
            if self._before:
                target.restart()
        copied = [file for file in self._staged if file not in self.new]
        target.do(
            "prepare",
            self._folders,
            [
                (self.root + KEPT if file is self.main else file.path, self._beside(file.path))
                for file in copied
            ],
        )
        staged = {self._beside(file.path): file for file in (*self._staged, self._plan)}
        sent = [file for file in self._staged if file in self.new]
        emit({"event": "install", "files": len(sent), "bytes": total(sent)})
        sent.append(self._plan)
        for file in target.write([replace(file, path=self._beside(file.path)) for file in sent]):
            original = staged[file.path]
            if original in self.new:
                emit({"event": "write", "path": original.path, "bytes": len(file.data)})
        check(target.look(list(staged), []), staged)
        target.do("commit")
        self._tell_removed(emit)
        if self.main and self.old_name:
            emit({"event": "renamed", "path": self.main.path, "to": self.old_name})

    def _beside(self, path: str) -> str:
        return f"{self.root}{STAGE}/{path.removeprefix('/')}"

    @cached_property
    def _staged(self) -> list[File]:
        # The package goes as a whole: a folder is renamed at once.
        package = application.package_folders(self.board)[0]
        changed = [*(file.path for file in self.new), *self.remove]
        renamed = any(within(path, package) for path in changed)
        return [
            file
            for file in self.files
            if file in self.new or file is self.main or (renamed and within(file.path, package))
        ]

    @property
    def _folders(self) -> list[str]:
        package = application.package_folders(self.board)[0]
        outside = [file for file in self.files if not within(file.path, package)]
        staged = [
            replace(file, path=self._beside(file.path)) for file in (*self._staged, self._plan)
        ]
        return application.folders([*outside, *staged, File(package, b"")])

    @property
    def _plan(self) -> File:
        package, first_taken = application.package_folders(self.board)
        steps: list[tuple[str, str | None]] = [
            (self._beside(file.path), file.path)
            for file in self._staged
            if file is not self.main and not within(file.path, package)
        ]
        # After what they hide is there.
        steps += [
            (path, None)
            for path in self.remove
            if not within(path, package) and not within(path, first_taken)
        ]
        if self.main:
            steps += [
                (self.root + KEPT, self.old_name),
                (self._beside(self.main.path), self.main.path),
            ]
        elif self.guarded:
            steps += self._put_back
        plan = {"package": [self._beside(package), package, first_taken], "steps": steps}
        return File(self.root + PLAN, json.dumps(plan).encode())

    @property
    def _put_back(self) -> list[tuple[str, str | None]]:
        main = self.root + "main.py"
        if self._before:
            return [(self.root + KEPT, main)]
        return [(main, None), (self.root + KEPT, None)]

    # In place.

    def in_place(self, emit: Emit) -> None:
        """Write over what is there, main.py last: until then nothing starts."""
        target, main, new = self.target, self.main, list(self.new)
        if self.guarded:
            target.do("move", self._put_back)
        if main and self._before:
            target.do("move", [(main.path, self.old_name)])
            if self.old_name:
                emit({"event": "renamed", "path": main.path, "to": self.old_name})
            else:
                new.append(main)
            target.restart()
        if self.remove or self.empty:
            target.do("move", [(path, None) for path in self.remove + self.empty])
            self._tell_removed(emit)
        if new:
            emit({"event": "install", "files": len(new), "bytes": total(new)})
            target.do("prepare", application.folders(self.files), [])
            for file in target.write(new):
                emit({"event": "write", "path": file.path, "bytes": len(file.data)})

    def _tell_removed(self, emit: Emit) -> None:
        records = application.records(self.board)
        for path in self.remove + self.empty:
            emit({"event": "removed", "path": path, "identity": path in records})


def leftovers(board: Board) -> Callable[[str], bool]:
    """Whether a path is of what updates leave: while they are not finished, or of another main.py
    than the new one."""
    root = application.root(board)
    _, first_taken = application.package_folders(board)
    folders = tuple(f"{path}/" for path in (root + STAGE, first_taken, first_taken + OLD))
    own = re.compile(re.escape(root) + rf"({re.escape(PLAN)}|main\.py\.[0-9a-f]{{8}}{OLD})")
    return lambda path: path.startswith(folders) or bool(own.fullmatch(path))


def guard(root: str) -> str:
    """Program that stands in main.py's place while files are staged."""
    return SWITCH + _GUARD.format(root=root)


def total(files: list[File]) -> int:
    return sum(len(file.data) for file in files)


def check(found: Found, wanted: dict[str, File]) -> None:
    """Raise CliError unless the files read back as `wanted` by their paths."""
    for path, file in wanted.items():
        if found.files.get(path, (0, ""))[1] != file.sha256:
            raise CliError(
                f"{path} reads back wrong: run the command again; if it stays, the board's "
                "storage is failing",
                Exit.STORAGE,
            )


def _whole(size: int, runtime: Runtime) -> int:
    return -(-size // runtime.block) * runtime.block

"""The CA's files, written so that a kill or a power cut leaves either the old ones or the new.

Files that belong together are written into the folder `.new`, which is renamed to `.ready` once
all of it is on the disk: that is the moment. Then each is moved to its place. What a cut left
undone of that, `finish` does at the next start.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

_NEW, _READY = ".new", ".ready"
_GONE = ".gone"  # after the name of one to remove


def replace(directory: Path, contents: Mapping[str, bytes | None]) -> None:
    """Write files of these names, or remove them where it says None: all or none of it.

    A .key is for its owner alone. Raises OSError.
    """
    finish(directory)
    new = directory / _NEW
    new.mkdir(mode=0o700)
    for name, data in contents.items():
        if data is None:
            _write(new / f"{name}{_GONE}", b"")
        else:
            _write(new / name, data)
    _sync(new)
    new.rename(directory / _READY)
    _sync(directory)
    finish(directory)


def finish(directory: Path) -> None:
    """End or undo a replacement that was cut off. Raises OSError."""
    if (directory / _NEW).exists():
        shutil.rmtree(directory / _NEW)
    ready = directory / _READY
    if not ready.exists():
        return
    for path in list(ready.iterdir()):
        if path.suffix == _GONE:
            (directory / path.stem).unlink(missing_ok=True)
            path.unlink()
        else:
            path.replace(directory / path.name)
    _sync(directory)
    ready.rmdir()


def replace_one(path: Path, data: bytes) -> None:
    """Write one file, one caller at a time. Raises OSError."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    _write(part, data)
    part.replace(path)
    _sync(path.parent)


def _write(path: Path, data: bytes) -> None:
    mode = 0o600 if path.suffix == ".key" else 0o644
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _sync(directory: Path) -> None:
    """Have the names in it on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

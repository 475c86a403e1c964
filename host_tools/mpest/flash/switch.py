"""Switches from what is installed to what is staged beside it, at any cut of the power.

It runs on boards, to which its text is sent, and here for a folder of this computer. In each
function `root` is where main.py lies: "/", or "" for the current folder.

MicroPython takes /est before /lib/est. So the old package goes there first, the new one takes its
place unseen, and one rename makes it the one that is taken. littlefs and POSIX rename at once.
"""

import json
import os

STAGE = "mpest.new"  # folder of the new files; with a dot it is no package
PLAN = "mpest.plan"  # there while main.py's guard is to `finish`
KEPT = "mpest.main"  # main.py as it was, while the guard is in its place; empty if there was none


def exists(path: str) -> bool:
    try:
        os.stat(path)
        return True
    except OSError:
        return False


def remove(path: str) -> None:
    """Remove a file, or a folder with all that is in it, if it is there."""
    try:
        os.remove(path)  # first, or what a link leads to would be emptied
        return
    except OSError:
        if not exists(path):
            return
    for name in os.listdir(path):
        remove(path + "/" + name)
    os.rmdir(path)


def copy(path: str, to: str) -> None:
    with open(path, "rb") as old, open(to, "wb") as new:
        while True:
            chunk = old.read(512)
            if not chunk:
                break
            new.write(chunk)


def guard(root: str, program: str) -> None:
    """Have `program` take main.py's place, which is kept."""
    os.mkdir(root + STAGE)
    main = root + "main.py"
    if not exists(root + KEPT):
        partial = root + STAGE + "/" + KEPT
        if exists(main):
            copy(main, partial)
        else:
            open(partial, "w").close()
        os.rename(partial, root + KEPT)
    partial = root + STAGE + "/guard"
    with open(partial, "w") as file:
        file.write(program)
    os.rename(partial, main)


def prepare(root: str, folders: list[str], copies: list[tuple[str, str]]) -> None:
    """Make `folders` that are missing, and copy each first file to the second path."""
    for folder in folders:
        if not exists(folder):
            os.mkdir(folder)
    for path, to in copies:
        copy(path, to)


def move(root: str, steps: list[tuple[str, str | None]]) -> None:
    """Rename what is there yet, or remove it where the second path is None."""
    for path, to in steps:
        if to is None:
            remove(path)
        elif exists(path):
            os.rename(path, to)


def committed(root: str) -> bool:
    """Whether the new main.py is to take its place, in the last step of the plan."""
    return exists(root + PLAN) and exists(root + STAGE + "/main.py")


def commit(root: str) -> None:
    """From here on what is staged is to be switched to."""
    os.rename(root + STAGE + "/" + PLAN, root + PLAN)
    finish(root)


def finish(root: str) -> None:
    """Carry out the plan, or the rest of it after a cut."""
    with open(root + PLAN) as file:
        plan = json.load(file)
    staged, package, first_taken = plan["package"]
    if exists(staged):
        if exists(first_taken):
            remove(package)
        elif exists(package):
            os.rename(package, first_taken)
        os.rename(staged, package)
    old = first_taken + ".old"
    if exists(first_taken):
        remove(old)
        os.rename(first_taken, old)
    remove(old)
    move(root, plan["steps"])
    remove(root + STAGE)
    remove(root + PLAN)

"""`mpest agent install`: systemd's units and the agent's user, where no package brought them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click

from mpest.agent import units
from mpest.exits import CliError, Exit

_UNITS = "etc/systemd/system"
_SYSUSERS = "etc/sysusers.d/mpest.conf"
_SETTINGS = "etc/mpest"
# What the agent's service cannot see: ProtectHome.
_HIDDEN = ("/home", "/root", "/run/user")


def install(root: Path, folder: str | None, program: str | None) -> None:
    """Write the units and make the agent's user mpest; again after an upgrade, it replaces them.

    root: below it everything is written; only at / is anything made or started. folder: of the
    units, as seen from there. program: path of mpest in them. Raises CliError.
    """
    folder = (folder or _UNITS).strip("/")
    program = program or _this_program()
    check_program(program)
    files = {f"{folder}/{name}": units.unit(name, program) for name in units.UNITS}
    files[_SYSUSERS] = units.sysusers()
    here = root.resolve() == Path("/")
    if here and not Path("/run/systemd/system").is_dir():
        raise CliError("this system does not run systemd; docs/linux.md says what else starts it")
    try:
        for name, text in files.items():
            _write(root / name, text)
            click.echo(f"written: /{name}", err=True)
        (root / _SETTINGS).mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        advice = "; run it as root" if isinstance(error, PermissionError) else ""
        raise CliError(
            f"cannot write {error.filename}: {error.strerror}{advice}", Exit.STORAGE
        ) from None
    if here:
        _run("systemd-sysusers", f"/{_SYSUSERS}")
        shutil.chown(f"/{_SETTINGS}", group="mpest")
        _run("systemctl", "daemon-reload")
    click.echo(
        "next: write /etc/mpest/NAME.json, then systemctl enable --now mpest-agent@NAME", err=True
    )


def _this_program() -> str:
    found = shutil.which(sys.argv[0]) or str(Path(sys.executable).with_name("mpest"))
    # A venv's Python is a link, perhaps to one that a user installed.
    check_program(os.path.realpath(sys.executable))
    return os.path.abspath(found)


def check_program(path: str) -> None:
    """Raises CliError where a unit cannot start the program at `path`."""
    if not path.startswith("/"):
        raise CliError(f"{path}: a unit needs the whole path, from / on")
    if path.startswith(tuple(f"{folder}/" for folder in _HIDDEN)):
        raise CliError(
            f"{path} is in a home folder, which the agent's service cannot see: install mpest"
            " elsewhere, such as by /usr/bin/python3 -m venv /opt/mpest"
        )
    if any(character in path for character in " \t\"'\\$"):
        raise CliError(f"systemd would not take {path} as it is: install mpest elsewhere")


def _write(path: Path, text: str) -> None:
    """Put a whole file in the place of the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_text(text)
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except FileNotFoundError:
        raise CliError(f"{command[0]} is missing", Exit.STORAGE) from None
    if done.returncode:
        raise CliError(f"{command[0]} failed: {done.stderr.strip()[-200:]}", Exit.STORAGE)

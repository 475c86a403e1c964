"""Builds a port of MicroPython from Debian 13's source package, once for each set of inputs."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from mpest.exits import CliError, missing_extra
from mpest.toolchain import debian

_LAST_LINES = 3  # of a failed build, to show


def need(programs: Mapping[str, str]) -> None:
    """Raise CliError unless all `programs` are on PATH. Values are Debian's packages of them."""
    for program, packages in programs.items():
        if not shutil.which(program):
            raise CliError(f"{program} is missing (on Debian: apt install {packages})")


def build(
    port: str,
    product: str,
    *,
    compiler: str,
    settings: Mapping[str, object],
    manifest: str,
    inputs: Iterable[Path],
    what: str,
) -> Path:
    """The file that `make` leaves as BUILD/`product`; the cache is asked first.

    port: folder under MicroPython's `ports`. compiler: its version is part of the cache's key.
    settings: make variables; the text of the manifest of frozen modules, BUILD, the compiler of
    .mpy files and Python are added to them. inputs: own files that go into it, frozen ones
    included. what: its name for people. Raises CliError.
    """
    try:
        from mpest.toolchain import mpy
    except ModuleNotFoundError:
        raise missing_extra(f"building MicroPython for {what}", "flash") from None
    source = debian.fetch_source("micropython")
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True)
    digest = hashlib.sha256(version.stdout)
    digest.update(repr((debian.versions(source), sorted(settings.items()), manifest)).encode())
    for path in sorted(inputs):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    folder = debian.cache() / "ports"
    name = f"{port}-{digest.hexdigest()[:16]}{Path(product).suffix}"
    final = folder / name
    if final.exists():
        return final
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder, prefix="partial-") as work:
        frozen = Path(work) / "manifest.py"
        frozen.write_text(manifest)
        variables = {
            **settings,
            "BUILD": work,
            "FROZEN_MANIFEST": frozen,
            "MICROPY_MPYCROSS": mpy.PROGRAM,
            "MICROPY_MPYCROSS_DEPENDENCY": "",
            "PYTHON": sys.executable,
        }
        click.secho(f"Building MicroPython for {what}, once, about a minute", dim=True, err=True)
        done = subprocess.run(
            ["make", "-j2", "-C", str(source / "ports" / port)]
            + [f"{name}={value}" for name, value in variables.items()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # The source is shared: nothing may be written beside it.
            env={**os.environ, "LC_ALL": "C", "MAKEFLAGS": "", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        if done.returncode:
            last = " | ".join(done.stdout.strip().splitlines()[-_LAST_LINES:])
            raise CliError(f"MicroPython for {what} doesn't build: {last}")
        (Path(work) / product).replace(final)  # whole or not at all, whoever else builds the same
    return final

"""Finds the programs that the simulator and the tests run, or fetches them; never needs root.

The program on PATH is taken if it will do, else Debian 13's, from a cache that apt fills.
`python -m mpest.runtimes [NAME...]` makes sure of those named and prints their versions;
`--run NAME ARG...` runs one.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import click

from mpest.exits import CliError, Exit
from mpest.text import table
from mpest.toolchain import debian, picow_like

_PROBE_SECONDS = 30
_VERSION = "import sys, tls; print(sys.implementation.name, *sys.implementation.version[:3])"


@dataclass(frozen=True)
class Program:
    """A program that runs here: `argv` goes before its arguments, `env` into its environment."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    version: str
    origin: str  # "PATH" or "cache"


class RuntimeMissing(CliError):
    """The program is neither here nor to be had; the message says how to install it."""


@dataclass(frozen=True)
class _Kind:
    what: str  # for people, with what is required of it
    package: str  # Debian's
    probe: tuple[str, ...]  # arguments that make it show what it is
    shows: str  # a pattern for that; its group is the version
    oldest: tuple[int, ...] = ()
    arch: str = ""  # this machine's if empty
    brew: str = ""  # Homebrew's name for it


_MICROPYTHON = _Kind(
    what="MicroPython 1.23 or later with a tls module",
    package="micropython",
    probe=("-c", _VERSION),
    shows=r"^micropython (\d+ \d+ \d+)$",
    oldest=(1, 23),
)
_KINDS = {
    "micropython": replace(_MICROPYTHON, brew="micropython"),
    "micropython-armhf": replace(
        _MICROPYTHON, what="Debian 13's MicroPython for armhf", arch="armhf"
    ),
    "micropython-i386": replace(
        _MICROPYTHON, what="Debian 13's MicroPython for i386, which runs on amd64", arch="i386"
    ),
    "micropython-picow-like": replace(
        _MICROPYTHON, what="MicroPython built with the memory of a Pico W", arch="armhf"
    ),
    "estserver": _Kind(
        what="libest's estserver",
        package="libest-utils",
        probe=("-h",),
        shows="Available EST server options()",
    ),
    "estclient": _Kind(
        what="libest's estclient",
        package="libest-utils",
        probe=("-h",),
        shows="Available EST client options()",
    ),
    "pki": _Kind(
        what="strongSwan's pki with --est",
        package="strongswan-pki",
        probe=("--help",),
        shows=r"strongSwan (\S+) PKI tool(?=[\s\S]* --est )",
        brew="strongswan",
    ),
    "nginx": _Kind(
        what="nginx",
        package="libnginx-mod-stream",
        probe=("-v",),
        shows=r"^nginx version: nginx/([\d.]+)",
        brew="nginx",
    ),
    "haproxy": _Kind(
        what="HAProxy",
        package="haproxy",
        probe=("-v",),
        shows=r"^HAProxy version ([\d.]+)",
        brew="haproxy",
    ),
    "wpa_supplicant": _Kind(
        what="wpa_supplicant",
        package="wpasupplicant",
        probe=("-v",),
        shows=r"^wpa_supplicant v([\d.]+)",
    ),
    "hostapd": _Kind(
        what="hostapd",
        package="hostapd",
        probe=("-v",),
        shows=r"^hostapd v([\d.]+)",
    ),
    "qemu-arm": _Kind(
        what="QEMU's user emulation of ARM, 6.0 or later",
        package="qemu-user",
        probe=("--version",),
        shows=r"^qemu-arm version ([\d.]+)",
        oldest=(6, 0),
    ),
}

# Those that Debian installs beside it. Its own list names twenty more, and it complains of each.
_PKI_PLUGINS = "random drbg x509 constraints revocation pubkey pkcs1 pkcs7 pkcs8 pem openssl"


def names() -> tuple[str, ...]:
    """All that `find` knows."""
    return tuple(_KINDS)


def find(name: str, *, fetch: bool = True) -> Program:
    """The program called `name`, one of `names()`.

    Without `fetch` nothing is downloaded. Raises RuntimeMissing.
    """
    kind = _KINDS[name]
    here = shutil.which(name)
    if here:
        here = os.path.abspath(here)
        version = _probe(kind, (here,), {})
        if version is not None:
            return Program(name, (here,), {}, version, "PATH")
    try:
        return _from_cache(name, kind, fetch)
    except CliError as error:
        lack = f"{here} isn't" if here else "PATH has no"
        raise RuntimeMissing(
            f"{lack} {kind.what}: {error.message}. {_advice(kind)}", Exit(error.exit_code)
        ) from error


def _from_cache(name: str, kind: _Kind, fetch: bool) -> Program:
    if name == "micropython-picow-like":
        return _built(name, kind, fetch)
    native = debian.architecture()
    arch = kind.arch or native
    root = _root(kind.package, arch, fetch)
    env = {}
    program = str(root / "usr/bin" / name.removesuffix(f"-{kind.arch}"))
    if not os.path.exists(program):
        program = str(root / "usr/sbin" / name)
    argv: tuple[str, ...]
    if name == "qemu-arm":
        argv = (program,)  # linked statically
    elif kind.arch == "armhf":
        argv = (*find("qemu-arm", fetch=fetch).argv, "-L", str(root), program)
    elif name == "pki":
        # It looks for its plugins in /usr/lib/ipsec; under the emulator that is inside the root.
        emulator = str(_root("qemu-user", native, fetch) / f"usr/bin/qemu-{native}")
        argv = (emulator, "-L", str(root), "-E", "LD_LIBRARY_PATH=/usr/lib/ipsec", program)
        env = {"PKI_PLUGINS": _PKI_PLUGINS}
    else:
        loader = next(root.glob("usr/lib/*/ld*.so.[0-9]"))
        argv = (str(loader), "--library-path", str(loader.parent), program)
    version = _probe(kind, argv, env)
    if version is None:
        raise CliError(f"the copy in {root} doesn't run (remove that folder to fetch it again)")
    return Program(name, argv, env, version or debian.versions(root)[kind.package], "cache")


def _built(name: str, kind: _Kind, fetch: bool) -> Program:
    built = picow_like.micropython(fetch=fetch)
    heap = f"heapsize={picow_like.HEAP}"
    argv = (*find("qemu-arm", fetch=fetch).argv, str(built), "-X", heap)
    version = _probe(kind, argv, {})
    if version is None:
        raise CliError(f"the one in {built.parent} doesn't run (remove it to build it again)")
    return Program(name, argv, {}, version, "cache")


def _root(package: str, arch: str, fetch: bool) -> Path:
    root = debian.fetch(package, arch) if fetch else debian.cached(package, arch)
    if not root:
        raise CliError(f"it isn't in {debian.cache()}")
    return root


def _probe(kind: _Kind, argv: tuple[str, ...], env: dict[str, str]) -> str | None:
    """The version of a program that will do ("" if it doesn't tell), or None."""
    try:
        done = subprocess.run(
            [*argv, *kind.probe],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PROBE_SECONDS,
            env={**os.environ, **env},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(kind.shows, done.stdout.decode(errors="replace"), re.MULTILINE)
    if not match:
        return None
    numbers = tuple(int(number) for number in re.findall(r"\d+", match[1]))
    return match[1].replace(" ", ".") if numbers >= kind.oldest else None


def _advice(kind: _Kind) -> str:
    if sys.platform == "darwin" and kind.brew:
        return f"`brew install {kind.brew}` installs it."
    if sys.platform != "linux" or kind.arch:
        return "It can be had on Linux where apt has a Debian mirror."
    return f"On Debian 13 `apt install {kind.package}` installs it; elsewhere put it on PATH."


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--run", type=click.Choice(names()), help="Run this program with ARGs.")
@click.argument("wanted", metavar="[NAME|ARG]...", nargs=-1, type=click.UNPROCESSED)
def main(run: str | None, wanted: tuple[str, ...]) -> None:
    """Find or fetch the programs NAMEd (micropython if none is) and print their versions."""
    if run:
        program = find(run)
        argv = [*program.argv, *wanted]
        os.execvpe(argv[0], argv, {**os.environ, **program.env})  # noqa: S606
    if unknown := sorted(set(wanted) - set(names())):
        raise CliError(f"no program is named {unknown[0]}, only {', '.join(names())}", Exit.USAGE)
    rows = [("name", "version", "origin")]
    code = Exit.DONE
    for name in wanted or ("micropython",):
        try:
            program = find(name)
        except RuntimeMissing as error:
            error.show()
            code = Exit(error.exit_code)
            rows.append((name, "-", "missing"))
        else:
            rows.append((name, program.version or "?", program.origin))
    click.echo(table(rows))
    sys.exit(code)


if __name__ == "__main__":
    main()

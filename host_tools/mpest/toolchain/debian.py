"""Debian 13 packages without root: downloaded and verified by apt, unpacked in a cache.

apt runs on a state of its own and touches nothing of the system's; of the machine's configuration
it keeps the mirror and the proxy.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click

from mpest.exits import CliError, Exit
from mpest.process import Process

_SUITE = "trixie"
# While a mirror takes in a point release, one name may already have a new index for old packages,
# which apt refuses, and the other still be whole.
_OTHER_SUITE = "stable"
_RECORD = "packages.json"
_SOURCE = "source"  # where binary packages have an architecture
_KEYRINGS = tuple(
    Path(f"/usr/share/keyrings/debian-archive-keyring.{suffix}") for suffix in ("gpg", "pgp")
)

# What `apt-get update --print-uris` says of a Debian archive. A suite called "stable" alone says
# little: many vendors have one.
_INDEX = re.compile(
    r"^'(?!cdrom:)([^']+?)/dists/"
    r"(?:bullseye|bookworm|trixie|forky|duke|sid"
    r"|(?<=debian/dists/)(?:oldstable|stable|testing|unstable))/main/binary-",
    re.MULTILINE,
)

# The hooks and pins of the system are for its own state. With no package taken for essential,
# an empty status yields a package's whole closure and nothing else.
_APT_CONF = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
#clear APT::Architectures;
#clear APT::Default-Release;
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Sandbox::User "";
APT::Install-Recommends "false";
APT::Update::Error-Mode "any";
APT::Status-Fd "1";
pkgCacheGen::Essential "none";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
"""


class NoDebian(CliError):
    """This machine can't have Debian's packages; the message says why."""


def cache() -> Path:
    """The folder for what was fetched: `$MPEST_CACHE`, else `mpest` in the user's cache."""
    chosen = os.environ.get("MPEST_CACHE")
    if chosen:
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mpest"


def architecture() -> str:
    """Debian's name of this machine's architecture, such as `amd64`."""
    for tool in ("apt-get", "dpkg", "dpkg-deb"):
        if not shutil.which(tool):
            raise NoDebian(f"this system has no {tool}")
    return _output("dpkg", "--print-architecture").strip()


def mirrors() -> list[str]:
    """The Debian archives in the machine's apt configuration, the main one first."""
    uris = dict.fromkeys(_INDEX.findall(_output("apt-get", "update", "--print-uris")))
    if not uris:
        raise NoDebian("its apt is configured for no Debian mirror")
    return sorted(uris, key=lambda uri: not uri.endswith("/debian"))


def versions(root: Path) -> dict[str, str]:
    """The packages in a folder that `fetch` or `fetch_source` made, with their versions."""
    packages: dict[str, str] = json.loads((root / _RECORD).read_text())["packages"]
    return packages


def cached(package: str, arch: str) -> Path | None:
    """The folder in the cache with `package` and all that it needs, if it was fetched."""
    root = cache() / _SUITE / arch / package
    return root if (root / _RECORD).exists() else None


def fetch(package: str, arch: str) -> Path:
    """The same folder, fetched first unless it is there. Two processes may ask at once."""
    try:
        with _lock():
            return cached(package, arch) or _fetch(package, arch)
    except OSError as error:
        raise CliError(f"The cache {cache()} can't be written: {error}", Exit.STORAGE) from error


def fetch_source(package: str) -> Path:
    """The tree of a source package, with Debian's patches, fetched first unless it is there.

    It is shared: copy it, or build outside it.
    """
    if not shutil.which("dpkg-source"):
        raise NoDebian("this system has no dpkg-source (`apt install dpkg-dev`)")
    return fetch(package, _SOURCE)


def _fetch(package: str, arch: str) -> Path:
    keyring = next((path for path in _KEYRINGS if path.exists()), None)
    if not keyring:
        raise NoDebian("Debian's keys are missing (`apt install debian-archive-keyring`)")
    candidates = mirrors()
    work = cache() / "partial"
    shutil.rmtree(work, ignore_errors=True)
    try:
        if arch == _SOURCE:
            needs, unpacker, suffix = "", "dpkg-source", "dsc"
        else:
            needs, unpacker, suffix = " and what it needs", "dpkg-deb", "deb"
        click.secho(f"Fetching {package} ({arch}){needs} from Debian 13", dim=True, err=True)
        root = work / "root"
        archive = _download(package, arch, candidates, keyring, work)
        packages = sorted((work / "archives").glob(f"*.{suffix}"))
        with _bar("Unpacking", len(packages)) as bar:
            for file in packages:
                _output(unpacker, "-x", str(file), str(root))
                bar.update(1)
        if arch != _SOURCE:
            _finish_root(root, package)
        record = {"archive": _without_password(archive), "packages": _names(packages)}
        (root / _RECORD).write_text(json.dumps(record, indent=2) + "\n")
        final = cache() / _SUITE / arch / package
        shutil.rmtree(final, ignore_errors=True)
        final.parent.mkdir(parents=True, exist_ok=True)
        return root.rename(final)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _bar(label: str, length: int) -> AbstractContextManager[Any]:
    """A progress bar on standard error, for people alone."""
    shown = sys.stderr if sys.stderr.isatty() else io.StringIO()
    return click.progressbar(length=length, label=label, file=shown)


def _download(package: str, arch: str, candidates: list[str], keyring: Path, work: Path) -> str:
    """Fill `work/archives` from the first archive that has the package; return its name."""
    lists = cache() / "lists" / arch
    archives = work / "archives"
    for folder in (lists / "partial", archives / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    (work / "status").touch()
    (work / "apt.conf").write_text(_APT_CONF)
    sources = work / "debian.sources"
    settings: dict[str, Path | str] = {
        "Dir::State": work,
        "Dir::State::lists": lists,
        "Dir::State::status": work / "status",
        "Dir::Cache": work,
        "Dir::Cache::archives": archives,
        "Dir::Etc::sourcelist": sources,
    }
    if arch == _SOURCE:
        kind = "deb-src"
        command = ["source", "--download-only", package]  # into the working directory
    else:
        kind = "deb"
        command = ["install", "--download-only", package]
        settings |= {"APT::Architecture": arch, "APT::Architectures": arch}
    apt = ["apt-get", "-qq", "-y", "-c", str(work / "apt.conf")]
    for name, value in settings.items():
        apt += ["-o", f"{name}={value}"]
    problems = []
    for mirror, suite in product(candidates, (_SUITE, _OTHER_SUITE)):
        sources.write_text(
            f"Types: {kind}\nURIs: {mirror}\nSuites: {suite}\n"
            f"Components: main\nSigned-By: {keyring}\n"
        )
        problem = _apt("Package lists", [*apt, "update"], archives) or _apt(
            "Packages", [*apt, *command], archives
        )
        if not problem:
            return f"{mirror} {suite}"
        problems.append(problem)
    raise CliError(f"{package} can't be fetched: {problems[0]}", Exit.NETWORK)


def _apt(label: str, command: list[str], folder: Path) -> str:
    """Run apt in `folder` with a progress bar and return its first error, or nothing."""
    with tempfile.TemporaryFile("w+") as errors, _bar(label, 100) as bar:
        with Process(command, errors=errors, cwd=folder, env=_environment()) as apt:
            for line in apt:
                if line.startswith("dlstatus:"):
                    bar.update(int(float(line.split(":")[2])) - bar.pos)
        errors.seek(0)
        return _first_error(errors.read()) if apt.code else ""


def _first_error(text: str) -> str:
    lines = [" ".join(line[2:].split()) for line in text.splitlines() if line[:2] in ("E:", "W:")]
    return _without_password(lines[0] if lines else text.strip() or "apt failed without a word")


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)


def _names(packages: list[Path]) -> dict[str, str]:
    """Name and version from file names, NAME_VERSION_ARCH.deb or NAME_VERSION.dsc."""
    parts = [package.stem.split("_") for package in packages]
    return {name: unquote(version) for name, version, *_ in parts}


def _finish_root(root: Path, package: str) -> None:
    """What a root needs that no package brings."""
    for name in ("lib", "lib64"):
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    if package == "qemu-user":
        _keep_emulators(root / "usr/bin")


def _keep_emulators(folder: Path) -> None:
    """Of forty emulators (450 MB) leave those of armhf and of this machine."""
    kept = {(folder / f"qemu-{arch}").resolve() for arch in ("arm", architecture())}
    for path in folder.iterdir():
        if path.resolve() not in kept:
            path.unlink()


def _output(*command: str) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=_environment()
    )
    if done.returncode:
        raise CliError(f"{command[0]} failed: {_first_error(done.stderr)}")
    return done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}


@contextmanager
def _lock() -> Iterator[None]:
    """One fetch at a time in this cache."""
    import fcntl  # absent on Windows, where nothing comes this far

    cache().mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(cache() / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            click.echo("Waiting for another process to finish its fetch.", err=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield

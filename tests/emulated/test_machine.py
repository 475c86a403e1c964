"""The emulator itself: counting instructions, and a QEMU that fails."""

from collections.abc import Callable
from typing import Any

import pytest

from mpest.boards import Board
from mpest.emulator import Machine, build, instructions
from mpest.exits import CliError


@pytest.mark.timeout(300)
def test_instructions(board: Board, power_on: Callable[..., Any]) -> None:
    with power_on(board, counting=True) as machine:
        loop = instructions(machine, "", "for _ in range(1000): pass", rounds=3)
        twice = instructions(machine, "", "for _ in range(2000): pass", rounds=1)
        assert max(loop) - min(loop) < 100
        assert twice[0] == pytest.approx(2 * loop[0], rel=0.05)
        assert instructions(machine, "", "pass") == pytest.approx([0], abs=128)
        machine.inject_entropy()
        load = "from est.ec import P256"
        sign = instructions(machine, load, "P256.sign(bytes(31) + b'7', bytes(32))", rounds=3)
        print(board.name, "P-256 sign:", *sign, "instructions")
        assert max(sign[1:]) < 1.2 * min(sign[1:])


_WITHOUT_HEAP = """
import micropython
from ramdisk import RamDisk
disk = RamDisk(int(%r), 1 << 20)
block, part, some = bytearray(64), memoryview(bytearray(64)), b"a" * 64
disk.readblocks(255, block, 1024)
micropython.heap_lock()
try:
    disk.writeblocks(255, some, 1024)
    disk.readblocks(255, part, 1024)
    disk.ioctl(4, 0)
finally:
    micropython.heap_unlock()
disk.writeblocks(255, block, 1024)
print(bytes(part), disk.ioctl(4, 0))
"""
# Of the storage that _boot.py mounts.
_ADDRESSES = {"QEMU_MPS2_AN385": 0x21000000, "QEMU_VIRT_RV32": 0x81000000}


@pytest.mark.parametrize("name", ["mps2", "rv32"])
def test_storage_takes_no_heap(name: str, request: pytest.FixtureRequest) -> None:
    """As a real board's: no collection begins, and no memory fails, in the midst of littlefs."""
    board = request.getfixturevalue(name)
    with Machine(board, build(board)) as machine:
        said = machine.run(_WITHOUT_HEAP % str(_ADDRESSES[board.name]))
        assert said.strip() == f"{b'a' * 64} 256"


def test_qemu_that_does_not_start(mps2: Board) -> None:
    assert mps2.emulator
    wrong = {**mps2.emulator, "machine": ["-no-such-option"]}
    broken = mps2.model_copy(update={"emulator": wrong})
    with pytest.raises(CliError, match=r"^qemu-system-arm doesn't start: .*-no-such-option"):
        Machine(broken, build(mps2)).__enter__()

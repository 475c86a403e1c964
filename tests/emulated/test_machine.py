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


def test_qemu_that_does_not_start(mps2: Board) -> None:
    assert mps2.emulator
    wrong = {**mps2.emulator, "machine": ["-no-such-option"]}
    broken = mps2.model_copy(update={"emulator": wrong})
    with pytest.raises(CliError, match=r"^qemu-system-arm doesn't start: .*-no-such-option"):
        Machine(broken, build(mps2)).__enter__()

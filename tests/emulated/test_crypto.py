"""What cryptography costs on the emulated boards, in instructions, with all modules as .mpy."""

from collections.abc import Callable
from typing import Any

import pytest

from mpest.boards import Board
from mpest.emulator import instructions


@pytest.mark.timeout(300)
def test_sha512(board: Board, power_on: Callable[..., Any]) -> None:
    with power_on(board, counting=True) as machine:
        load = "from est.sha512 import sha512\nstate = sha512()\nblock = bytes(128)"
        block = instructions(machine, load, "state.update(block)", rounds=3)
        print(board.name, "SHA-512 block:", *block, "instructions")
        assert max(block[1:]) < 100_000

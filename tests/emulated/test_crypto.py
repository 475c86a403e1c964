"""What cryptography costs on the emulated boards, in instructions, with all modules as .mpy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mpest import mpy, shipped
from mpest.boards import Board
from mpest.emulator import instructions


@pytest.mark.timeout(300)
def test_sha512(board: Board, power_on: Callable[..., Any]) -> None:
    with power_on(board, counting=True) as machine:
        load = "from est.sha512 import sha512\nstate = sha512()\nblock = bytes(128)"
        block = instructions(machine, load, "state.update(block)", rounds=3)
        print(board.name, "SHA-512 block:", *block, "instructions")
        assert max(block[1:]) < 100_000


@pytest.mark.timeout(300)
def test_rsa(board: Board, power_on: Callable[..., Any], tmp_path: Path) -> None:
    module = tmp_path / "rsa_private.mpy"
    source = shipped.folder("firmware") / "est" / "rsa_private.py"
    module.write_bytes(mpy.compile_file(source, board.arch or ""))
    der = rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )
    load = f"from est import rsa_private\nkey = rsa_private.load(bytes.fromhex('{der.hex()}'))\n"
    with power_on(board, counting=True) as machine:
        machine.mpremote("resume", "fs", "cp", module, ":lib/est/")
        machine.inject_entropy()
        sign = instructions(machine, load, "key.sign(b'message')", rounds=2)
        load += "from est import hashes\nsignature = key.sign(b'message')[1]\n"
        load += "digest = hashes.new(32, b'message').digest()\n"
        verify = instructions(
            machine, load, "if not key.verify(digest, signature): raise ValueError", rounds=2
        )
        print(board.name, "RSA 2048 sign:", *sign, "verify:", *verify, "instructions")
        assert max(sign) < 800_000_000
        assert max(verify) < 20_000_000

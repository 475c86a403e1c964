"""What cryptography costs on the emulated boards, in instructions, with all modules as .mpy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mpest import emulator, shipped
from mpest.boards import Board
from mpest.emulator import instructions
from mpest.toolchain import mpy

# Less than half a second on an RP2040 even if each took two cycles; its watchdog waits 8.
LONGEST_STEP = 25_000_000
STEPS = """
import time
from est import steps
longest = whole = 0
before = time.ticks_us()
def between():
    global longest, whole, before
    now = time.ticks_us()
    longest = max(longest, time.ticks_diff(now, before))
    whole += time.ticks_diff(now, before)
    before = now
steps.run({generator}, between)
between()
print(longest, whole)
"""


def add(machine: emulator.Machine, board: Board, name: str, folder: Path) -> None:
    """Install a module that only some need."""
    module = folder / f"{name}.mpy"
    source = shipped.folder("firmware") / "est" / f"{name}.py"
    module.write_bytes(mpy.compile_file(source, board.arch or ""))
    machine.mpremote("resume", "fs", "cp", module, ":lib/est/")


def stepped(machine: emulator.Machine, setup: str, generator: str) -> tuple[int, int]:
    """Instructions of the longest step, and of all."""
    said = machine.run(setup + STEPS.format(generator=generator), 300).split()
    longest, whole = map(emulator.in_microseconds, map(int, said))
    print(generator, whole, "instructions, longest step:", longest)
    assert longest < LONGEST_STEP
    return longest, whole


@pytest.mark.timeout(300)
def test_sha512(board: Board, power_on: Callable[..., Any]) -> None:
    with power_on(board, counting=True) as machine:
        load = "from est.sha512 import sha512\nstate = sha512()\nblock = bytes(128)"
        block = instructions(machine, load, "state.update(block)", rounds=3)
        print(board.name, "SHA-512 block:", *block, "instructions")
        assert max(block[1:]) < 100_000


@pytest.mark.timeout(300)
def test_rsa(board: Board, power_on: Callable[..., Any], tmp_path: Path) -> None:
    der = rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )
    load = f"from est import rsa_key\nkey = rsa_key.load(bytes.fromhex('{der.hex()}'))\n"
    with power_on(board, counting=True) as machine:
        add(machine, board, "rsa_key", tmp_path)
        machine.inject_entropy()
        _, sign = stepped(machine, load, "key.signature(bytes(32))")
        load += "from est import hashes\nsignature = key.sign(b'message')[1]\n"
        load += "digest = hashes.new(32, b'message').digest()\n"
        verify = instructions(
            machine, load, "if not key.verify(digest, signature): raise ValueError", rounds=2
        )
        print(board.name, "RSA 2048 sign:", sign, "verify:", *verify, "instructions")
        assert sign < 800_000_000
        assert max(verify) < 20_000_000


@pytest.mark.timeout(300)
def test_p384(board: Board, power_on: Callable[..., Any], tmp_path: Path) -> None:
    load = (
        "from est.curves import P384\nfrom est import ec_steps\n"
        "private = bytes(40) + bytes(range(8))\ndigest = bytes(range(48))\n"
    )
    with power_on(board, counting=True) as machine:
        add(machine, board, "ec_steps", tmp_path)
        machine.inject_entropy()
        stepped(machine, load, "ec_steps.sign(P384, private, digest)")
        load += "public = P384.public(private)\nsignature = P384.sign(private, digest)\n"
        longest, whole = stepped(machine, load, "ec_steps.verify(P384, public, digest, signature)")
        assert 20 * longest < whole

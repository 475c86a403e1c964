"""Instructions of P-256 in C on the emulated boards: mbedTLS, and p256-m that comes with it.

Both from Debian's source package, built -O2 for the board's core, run without a system under the
same QEMU with the same timer as MicroPython there. Random bytes are fixed, results are checked.
"""

import subprocess
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from mpest import emulator
from mpest.boards import Board
from mpest.exits import CliError
from mpest.toolchain import debian

HERE = Path(__file__).parent
# By architecture: the compiler's options, addresses of code, data and the end of the stack.
CORES = {
    "armv6m": (
        ["-mthumb", "-mcpu=cortex-m0", "-DQEMU_SOC_NRF51"],
        (0x0, 0x20000000, 0x20040000),
    ),
    "armv7m": (
        ["-mthumb", "-mcpu=cortex-m3", "-DQEMU_SOC_MPS2"],
        (0x0, 0x20000000, 0x20040000),
    ),
    # Atomic instructions, which nothing here uses, are in the name of Debian's C library.
    "rv32imc": (
        ["-march=rv32imac", "-mabi=ilp32", "-DQEMU_SOC_VIRT"],
        (0x80000000, 0x80100000, 0x80140000),
    ),
}
LIBRARY = (
    *("asn1parse", "asn1write", "bignum", "bignum_core", "constant_time", "ecdsa", "ecp"),
    *("ecp_curves", "memory_buffer_alloc", "platform", "platform_util"),
)
DIGEST = bytes(range(32))  # as in main.c


def count(board: Board) -> dict[str, dict[str, int]]:
    """Instructions of each operation by library. Raises CliError where something is missing."""
    source = debian.fetch_source("mbedtls")
    version = debian.versions(source)["mbedtls"].split("-")[0]
    p256_m = source / "3rdparty/p256-m/p256-m"
    common = [
        *("-DMBEDTLS_CONFIG_FILE=<mbedtls_config.h>", f"-I{source / 'include'}", f"-I{p256_m}"),
        *(source / "library" / f"{name}.c" for name in LIBRARY),
    ]
    return {
        f"C, mbedTLS {version}": _count(board, [*common, HERE / "mbedtls.c"]),
        "C, p256-m": _count(board, [*common, p256_m / "p256-m.c"]),
    }


def _count(board: Board, library: list[str | Path]) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "program.elf"
        _build(board, library, program)
        with emulator.Machine(board, program, counting=True) as machine:
            said = dict(line.split() for line in machine.wait().splitlines() if line)
    if not said:
        raise CliError(f"P-256 in C for {board.name} fails")
    check(bytes.fromhex(said.pop("public")), bytes.fromhex(said.pop("signature")))
    return {name: emulator.in_microseconds(int(time, 16)) for name, time in said.items()}


def _build(board: Board, library: list[str | Path], program: Path) -> None:
    options, addresses = CORES[board.arch]
    command = [
        *(*emulator.compiler(board), *options, "-O2", "-ffunction-sections"),
        *(f"-I{HERE}", f"-I{Path(emulator.__file__).parent / 'port'}"),
        *(*library, HERE / "main.c", "-nostartfiles", "-Wl,--gc-sections"),
        *(
            f"-Wl,--defsym={name}={address}"
            for name, address in zip(("CODE", "DATA", "STACK"), addresses, strict=True)
        ),
        *("-T", HERE / "link.ld", "-o", program),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CliError(f"P-256 in C for {board.name} doesn't build: {done.stderr[-300:]}")


def check(public: bytes, signature: bytes) -> None:
    """Raise InvalidSignature unless another library finds the same."""
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\4" + public)
    r, s = (int.from_bytes(part, "big") for part in (signature[:32], signature[32:]))
    algorithm = ec.ECDSA(utils.Prehashed(hashes.SHA256()))
    key.verify(utils.encode_dss_signature(r, s), DIGEST, algorithm)

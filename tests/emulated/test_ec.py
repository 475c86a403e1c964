"""P-256 on the emulated boards: every way of multiplying that est.comb may choose."""

import ast
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mpest import emulator, shipped
from mpest.boards import Board
from mpest.toolchain import mpy

PowerOn = Callable[..., AbstractContextManager[emulator.Machine]]

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
VECTORS = Path(os.environ.get("MPEST_VECTORS") or Path(__file__).parents[3] / "shared/vectors")
EVERY = 6  # of Wycheproof's vectors is tested, for the emulated boards are slow
SCALARS = [1, 2, 3, 15, 16, 17, N - 1, N - 2, N - 16, N >> 1, 1 << 255, int("C9AFA9D8" * 8, 16)]
# For these a comb of 5x2, and one of 7x2, adds a point to itself.
SCALARS += [
    0x80000000000008000000000000800000000000080000000000008000000,
    0x3FFFFFFFFE0000000010000000007FFFFFFFFC000000001FFFFFFFFF00000,
]

# For each path: choose it, then put it back. A device without entropy: the tests bring their own.
PATHS = {
    "installed": "",
    "small table": "from est import comb\nP256._fast = comb.Comb(P256, comb.find(P256, 5, 2))\n",
    "no table": "from est.windows import Windows\nP256._fast = Windows(P256)\n",
}
SETUP = """
from est import asn1, entropy
from est.ec import P256
raw = bytes(range(256)) * 2
entropy.use(lambda count: raw)
"""
KNOWN = """
digest = bytes.fromhex({digest!r})
peer = bytes.fromhex({peer!r})
found = []
for scalar in {scalars!r}:
    private = scalar.to_bytes(32, "big")
    signature = P256.sign(private, digest, lambda count: b"")
    public = P256.public(private)
    if not P256.verify(public, digest, signature) or P256.verify(public, digest[:-1], signature):
        raise ValueError(scalar)
    found.append((public.hex(), signature.hex(), P256.ecdh(private, peer).hex()))
print(found)
"""
# u1 * G and u2 * Q meet (a doubling) or cancel (infinity), with s = r: u2 = 1 and u1 = d or -d.
MEET = """
from est import der
n = P256.n
for d in (1, n - 1, 2, 5, n - 5):
    public = P256.public(d.to_bytes(32, "big"))
    r = int.from_bytes(P256.public((2 * d % n).to_bytes(32, "big"))[1:33], "big") % n
    signature = der.sequence(asn1.integer(r), asn1.integer(r))
    print(P256.verify(public, (d * r % n).to_bytes(32, "big"), signature),
          P256.verify(public, ((n - d) * r % n).to_bytes(32, "big"), signature))
"""
VERIFY = """
for public, digest, signature in {cases!r}:
    unhex = bytes.fromhex
    print(P256.verify(unhex(public), unhex(digest), unhex(signature)))
"""
AGREE = """
from est.errors import PeerError
for private, public in {cases!r}:
    try:
        print(P256.ecdh(bytes.fromhex(private), bytes.fromhex(public)).hex())
    except PeerError:
        print("refused")
"""
# Of each program what is done and where the result goes, hashed: a list of all would not fit.
SEQUENCES = """
import hashlib
multiplier = P256.multiplier()
run = multiplier._run
def logged(memory, program):
    global count
    log.update(bytes([program[at] for at in range(len(program)) if at % 6 in (0, 3)]) + b"\\n")
    count += 1
    run(memory, program)
peer = P256.public(bytes(31) + b"5")
multiplier._run = logged
def sequence(operation, *arguments):
    global log, count
    log = hashlib.sha256()
    count = 0
    operation(*arguments)
    return log.digest()[:8], count
for scalar in {scalars!r}:
    private = scalar.to_bytes(32, "big")
    digest = bytes([scalar >> 100 & 255]) * 32
    print(sequence(P256.public, private), sequence(P256.sign, private, digest),
          sequence(P256.ecdh, private, peer))
"""
# Places of 32 bytes have letters. Both factors are overwritten, too.
FIELD = """
run = P256.multiplier()._run
p = P256.p
memory = bytearray(27 * 32)
def value(letter):
    at = (ord(letter) & 31) * 32
    return int.from_bytes(memory[at : at + 32], "little")
values = {values!r}
for x in values:
    for y in values:
        memory[24 * 32 : 26 * 32] = x.to_bytes(32, "little") + y.to_bytes(32, "little")
        run(memory, b"d=x*y b=x+y c=x-y y=x*y x=x*x .")
        product = x * y * {inverse} % p
        found = [value(letter) for letter in "dbcyx"]
        if found != [product, (x + y) % p, (x - y) % p, product, x * x * {inverse} % p]:
            print(x, y)
print("done")
"""


@pytest.fixture(scope="module")
def wycheproof() -> Callable[[str], list[dict]]:
    def groups(name: str) -> list[dict]:
        file = VECTORS / "wycheproof" / name
        if not file.exists() and os.environ.get("CI") != "true":
            pytest.skip(f"needs the vectors: {file}")
        return json.loads(file.read_text())["testGroups"]

    return groups


def point(spki: bytes) -> str | None:
    """Hex of the uncompressed point of a SubjectPublicKeyInfo; None where it has another form."""
    return spki[len(SPKI) :].hex() if spki.startswith(SPKI) and len(spki) == 91 else None


def private_key(scalar: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(scalar, ec.SECP256R1())


def public_hex(key: ec.EllipticCurvePrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        .hex()
    )


@pytest.mark.timeout(600)
def test_known_answers(board: Board, power_on: PowerOn) -> None:
    """Keys, deterministic signatures and shared secrets are those of the cryptography package."""
    peer = private_key(7**90 % N)
    digest = hashlib.sha256(b"sample").digest()
    algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    expected = []
    for key in map(private_key, SCALARS):
        shared = key.exchange(ec.ECDH(), peer.public_key())
        signature = key.sign(b"sample", algorithm)
        expected.append((public_hex(key), signature.hex(), shared.hex()))
    known = KNOWN.format(digest=digest.hex(), peer=public_hex(peer), scalars=SCALARS)
    with power_on(board) as machine:
        for choose in PATHS.values():
            assert ast.literal_eval(machine.run(SETUP + choose + known, 300)) == expected
            assert machine.run(SETUP + choose + MEET, 300).split() == ["True", "False"] * 5
        machine.soft_reset()
        chosen = machine.run(SETUP + "P256.generate()\nP256.multiplier()\nprint(P256._fast)")
        assert "Machine" in chosen


@pytest.mark.timeout(600)
def test_wycheproof(board: Board, power_on: PowerOn, wycheproof: Callable) -> None:
    signatures = []
    for group in wycheproof("ecdsa_secp256r1_sha256_test.json"):
        public = point(bytes.fromhex(group["publicKeyDer"]))
        for test in group["tests"]:
            digest = hashlib.sha256(bytes.fromhex(test["msg"])).hexdigest()
            expected = str(test["result"] == "valid")
            signatures.append(((public, digest, test["sig"]), expected))
    agreements = []
    for test in wycheproof("ecdh_secp256r1_test.json")[0]["tests"]:
        public = point(bytes.fromhex(test["public"]))
        if public and test["result"] != "acceptable":
            private = int(test["private"], 16).to_bytes(32, "big").hex()
            expected = "refused" if test["result"] == "invalid" else test["shared"]
            agreements.append(((private, public), expected))
    with power_on(board) as machine:
        for program, tests in ((VERIFY, signatures[::EVERY]), (AGREE, agreements[::EVERY])):
            for at in range(0, len(tests), 20):
                cases, expected = zip(*tests[at : at + 20], strict=True)
                said = machine.run(SETUP + program.format(cases=cases), 300).split()
                assert said == list(expected)
    print(
        board.name, len(signatures[::EVERY]), "signatures,", len(agreements[::EVERY]), "agreements"
    )


@pytest.mark.timeout(300)
def test_field_operations(board: Board, power_on: PowerOn) -> None:
    """The machine code computes what integers do, where carries run far and elsewhere."""
    values = [0, 1, P - 1, P - 2, P >> 1, 1 << 255, 1 << 224, 1 << 192, 1 << 96, (1 << 96) - 1]
    values += [P - (1 << 32), P - (1 << 224), (1 << 128) - 1 << 96, 7**80 % P, 7**81 % P]
    program = FIELD.format(values=values, inverse=pow(1 << 256, -1, P))
    with power_on(board) as machine:
        assert machine.run(SETUP + program, 300).split() == ["done"]


@pytest.mark.timeout(300)
def test_sequence_of_operations(board: Board, power_on: PowerOn) -> None:
    """The machine code does the same for every key and nonce."""
    scalars = [3 << 250, (1 << 255) + 1, 0xFF << 128, N - (1 << 200), 7**80 % N, 7**81 % N]
    with power_on(board) as machine:
        said = machine.run(SETUP + SEQUENCES.format(scalars=scalars), 300).splitlines()
    assert len(said) == len(scalars)
    assert len(set(said)) == 1
    lengths = [length for _, length in ast.literal_eval(f"[{said[0].replace(') (', '), (')}]")]
    assert min(lengths) > 80


@pytest.mark.parametrize("suffix", [".mpy", ".py"])
def test_no_inline_assembler(rv32: Board, power_on: PowerOn, tmp_path: Path, suffix: str) -> None:
    """What no mpest has compiled is not taken for bytecode, but done without."""
    module = tmp_path / f"p256_rv32{suffix}"
    source = shipped.folder("firmware") / "est" / "p256_rv32.py"
    if suffix == ".mpy":
        subprocess.run([mpy.PROGRAM, "-march=rv32imc", "-o", module, source], check=True)
    else:
        shutil.copy(source, module)
    with power_on(rv32) as machine:
        machine.mpremote("resume", "fs", "rm", ":lib/est/p256_rv32.mpy")
        machine.mpremote("resume", "fs", "cp", module, ":lib/est/")
        said = machine.run("from est.ec import P256\nprint(P256.multiplier())\n")
        assert "<Comb object" in said


@pytest.mark.timeout(300)
def test_instructions(board: Board, power_on: PowerOn) -> None:
    setup = SETUP + (
        "private = bytes(31) + b'7'\ndigest = bytes(range(32))\n"
        "public = P256.public(private)\nsignature = P256.sign(private, digest)\n"
    )
    with power_on(board, counting=True) as machine:
        counted = {
            what: max(emulator.instructions(machine, setup, statement, rounds=3))
            for what, statement in {
                "key": "P256.public(P256.generate())",
                "sign": "P256.sign(private, digest)",
                "verify": "P256.verify(public, digest, signature)",
            }.items()
        }
    print(board.name, "P-256 instructions:", counted)
    assert counted["sign"] < 7_000_000
    assert counted["verify"] < 13_000_000

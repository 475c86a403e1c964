"""docs/crypto.md does what it says, with the files it names."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from documents import block

from mpest import shipped
from mpest.runtimes import Program
from mpest.toolchain import mpy

TEXT = (Path(__file__).parents[2] / "docs/crypto.md").read_text()


def run(program: Program, library: Path, code: str) -> list[str]:
    """The lines that `code` prints."""
    done = subprocess.run(
        [*program.argv, "-c", code],
        env={**os.environ, **program.env, "MICROPYPATH": f"{library}:.frozen"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("runtime", ["micropython", "micropython-armhf"])
@pytest.mark.parametrize("table", [None, "p256_comb5x2", "p256_comb7x2"])
def test_p256_alone(
    program: Callable[[str], Program], tmp_path: Path, runtime: str, table: str | None
) -> None:
    least, rest = TEXT.split("P-256 needs ")[1].split(" of `firmware/est`")
    names = re.findall(r"`(\w+)`", least)
    if table:
        names += [*re.findall(r"`(\w+)`", rest.split(" and the table")[0]), table]
        assert f"`{table}`" in rest
    package = tmp_path / "est"
    package.mkdir()
    for name in names:
        compiled = mpy.compile_file(shipped.folder("firmware") / f"est/{name}.py", "armv6m")
        (package / f"{name}.mpy").write_bytes(compiled)
    code = block("docs/crypto.md", "import hashlib") + (
        "import sys\n"
        "print(good, public.hex(), signature.hex(), sep='\\n')\n"
        "print('est.comb' in sys.modules)\n"
    )
    good, public, signature, comb = run(program(runtime), tmp_path, code)
    assert (good, comb) == ("True", str(bool(table)))
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), bytes.fromhex(public))
    key.verify(bytes.fromhex(signature), b"message", ec.ECDSA(hashes.SHA256()))


def test_request(program: Callable[[str], Program]) -> None:
    code = block("docs/crypto.md", "csr.build") + "print(stored.hex())\nprint(text)\n"
    stored, *text = run(program("micropython"), shipped.folder("firmware"), code)
    request = x509.load_pem_x509_csr("\n".join(text).encode())
    key = serialization.load_der_private_key(bytes.fromhex(stored), None)
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "O=Example,CN=device-1"
    assert request.public_key() == key.public_key()


def test_rsa(program: Callable[[str], Program]) -> None:
    code = block("docs/crypto.md", "rsa_generate") + "print(key.der().hex())\n"
    (stored,) = run(program("micropython"), shipped.folder("firmware"), code)
    key = serialization.load_der_private_key(bytes.fromhex(stored), None)
    assert key.key_size == 2048  # type: ignore[union-attr]

"""CMS in BER and DER as openssl and Bouncy Castle write it, read by the device and the server."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from bouncy_castle import run
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mpest.runtimes import Program
from mpest.server import signed_data
from mpest.server.ca import common_name, now
from mpest.sim import cpython

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two keys with their certificates, a secret, and a text of several pieces."""
    folder = tmp_path_factory.mktemp("ber")
    (folder / "text").write_bytes(bytes(range(256)) * 5)
    (folder / "secret").write_bytes(bytes(range(16)))
    keys = {
        "ec": ec.generate_private_key(ec.SECP256R1()),
        "rsa": rsa.generate_private_key(65537, 2048),
    }
    for name, key in keys.items():
        certificate = (
            x509.CertificateBuilder()
            .subject_name(common_name(name))
            .issuer_name(common_name(name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now())
            .not_valid_after(now() + timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .sign(key, hashes.SHA256())
        )
        (folder / f"{name}.crt").write_bytes(certificate.public_bytes(Encoding.DER))
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        for suffix, encoding, form in (
            ("key", Encoding.DER, PrivateFormat.TraditionalOpenSSL),
            ("pkcs8", Encoding.DER, PrivateFormat.PKCS8),
            ("key.pem", Encoding.PEM, PrivateFormat.PKCS8),
        ):
            plain = key.private_bytes(encoding, form, NoEncryption())
            (folder / f"{name}.{suffix}").write_bytes(plain)
    return folder


@pytest.fixture(scope="module")
def openssl(folder: Path) -> list[str]:
    secret = ("-secretkey", bytes(range(16)).hex())
    kek = (*secret, "-secretkeyid", "6964")
    sign = ("cms", "-sign", "-binary", "-nodetach", "-signer", "ec.pem", "-inkey", "ec.key.pem")
    sign += ("-certfile", "rsa.pem", "-in", "text", "-outform", "DER", "-out")
    encrypt = ("cms", "-encrypt", "-binary", "-in", "text", "-outform", "DER", "-out")
    bare = ("cms", "-EncryptedData_encrypt", "-binary", "-in", "text", "-outform", "DER", "-out")
    listed = ("crl2pkcs7", "-nocrl", "-certfile", "ec.pem", "-certfile", "rsa.pem")
    commands: list[tuple[str, ...]] = [(*listed, "-outform", "DER", "-out", "listed.certs")]
    for way in ((), ("-stream",)):
        end = "".join(way)
        commands += [
            (*sign, f"sign{end}.signed", *way),
            (*sign, f"keyid{end}.signed", "-keyid", *way),
            (*bare, f"bare{end}.bare", "-aes-128-cbc", *secret, *way),
        ]
        for cipher in ("aes-256-cbc", "aes-128-gcm"):
            commands += [
                (*encrypt, f"{cipher}{end}.secret", f"-{cipher}", *kek, *way),
                (*encrypt, f"{cipher}{end}.rsa", f"-{cipher}", "-recip", "rsa.pem", *way),
                (*encrypt, f"{cipher}{end}.ec", f"-{cipher}", "-recip", "ec.pem", *way),
            ]
    made = []
    for command in commands:
        done = subprocess.run(["openssl", *command], cwd=folder, capture_output=True, timeout=30)
        assert done.returncode == 0, (command, done.stderr.decode())
        made.append(command[command.index("-out") + 1])
    assert [name for name in made if (folder / name).read_bytes()[1] == 0x80] == [
        name for name in made if "-stream" in name
    ]
    return made


@pytest.fixture(scope="module")
def bouncy_castle(folder: Path) -> list[str]:
    before = set(folder.iterdir())
    run(HERE / "BouncyCastle.java", folder)
    made = sorted(path.name for path in set(folder.iterdir()) - before)
    assert len(made) == 21
    in_der = [name for name in made if (folder / name).read_bytes()[1] != 0x80]
    assert [name for name in in_der if "-der" not in name and "-dl" not in name] == []
    return made


@pytest.fixture(params=["openssl", "bouncy_castle"])
def messages(request: pytest.FixtureRequest) -> list[str]:
    found: list[str] = request.getfixturevalue(request.param)
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("interpreter", ["cpython", "micropython"])
def test_device_reads(
    folder: Path, messages: list[str], interpreter: str, program: Callable[[str], Program]
) -> None:
    if interpreter == "cpython":
        code = "import runpy, sys; from mpest.sim import cpython; cpython.install(); "
        code += "del sys.argv[0]; runpy.run_path(sys.argv[0])"
        command = [sys.executable, "-c", code]
        environment = dict(os.environ)
    else:
        found = program(interpreter)
        command = [*found.argv, "-X", "heapsize=32m"]
        path = {"MICROPYPATH": f"{cpython.firmware()}:.frozen"}
        environment = {**os.environ, **found.env, **path}
    script = [str(HERE / "read_ber.py"), str(HERE.parent / "unit"), str(folder), *messages]
    done = subprocess.run(
        [*command, *script], env=environment, capture_output=True, text=True, timeout=580
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == len(messages)


def test_server_reads(folder: Path, messages: list[str]) -> None:
    signed = [name for name in messages if name.endswith(".signed")]
    assert len(signed) >= 4
    for name in signed:
        data = (folder / name).read_bytes()
        _, content, signer = signed_data.verify(data)
        assert content == (folder / "text").read_bytes()
        assert signer.public_bytes(Encoding.DER) == (folder / "ec.crt").read_bytes()
        for end in range(len(data)):
            with pytest.raises(signed_data.SignedDataError):
                signed_data.verify(data[:end])

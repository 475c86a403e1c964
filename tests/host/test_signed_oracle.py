"""SignedData that openssl signs, with each kind of key it may be signed with."""

import subprocess
from pathlib import Path

import pytest

from mpest.sim import cpython

cpython.install()

from est import asn1, errors, signed  # noqa: E402


@pytest.mark.parametrize(
    ("key", "options"),
    [
        (["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], ["-md", "sha256"]),
        (["ec", "-pkeyopt", "ec_paramgen_curve:P-384"], ["-md", "sha384"]),
        (["ec", "-pkeyopt", "ec_paramgen_curve:P-521"], ["-md", "sha512", "-keyid"]),
        (["rsa:2048"], ["-md", "sha256"]),
        (["rsa:2048"], ["-md", "sha512", "-keyid"]),
        (["rsa:2048"], ["-md", "sha256", "-keyopt", "rsa_padding_mode:pss"]),
    ],
    ids=["P-256", "P-384", "P-521", "RSA", "RSA-SHA-512", "RSA-PSS"],
)
def test_openssl_signs(tmp_path: Path, key: list[str], options: list[str]) -> None:
    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "text").write_bytes(b"content\n")
    openssl(
        *["req", "-x509", "-newkey", *key, "-nodes", "-subj", "/CN=signer"],
        *["-keyout", "key", "-out", "cert"],
    )
    sign = ["cms", "-sign", "-binary", "-nodetach", "-in", "text", "-outform", "DER"]
    openssl(*sign, "-signer", "cert", "-inkey", "key", *options, "-out", "signed")
    data = (tmp_path / "signed").read_bytes()
    kind, content, signer, _ = signed.verify(data)
    assert asn1.oid_text(kind) == "1.2.840.113549.1.7.1"
    assert (content, str(signer)) == (b"content\n", "CN=signer")
    with pytest.raises(errors.NotTrusted):
        signed.verify(data.replace(b"content\n", b"Content\n"))

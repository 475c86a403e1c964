"""Certificates that cryptography reads halfway: of a version or a key that it does not know.

For these it raises errors of its own kinds. Whoever brings one is told so in words.
"""

import base64
from collections.abc import Callable
from pathlib import Path

import firmware_files
import pytest
from aiohttp.test_utils import make_mocked_request
from commands import openssl
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mpest.exits import CliError
from mpest.server import ca, proxy, signed_data
from mpest.server.signed_data import SignedDataError
from mpest.server.wire import Refused
from mpest.station import certs_only, request
from mpest.station.errors import NotProven
from mpest.station.ledger import inputs, manifest

CERTIFICATE, KEY = firmware_files.certificate_and_key()
DER = x509.load_pem_x509_certificate(CERTIFICATE).public_bytes(Encoding.DER)
Damage = Callable[[bytes], bytes]


def of_version_20(data: bytes) -> bytes:
    return data.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x13")


def with_an_unknown_key(data: bytes) -> bytes:
    """Its curve is no curve: 1.2.840.10045.3.1.127."""
    known = bytes.fromhex("06082a8648ce3d030107")
    return data.replace(known, known[:-1] + b"\x7f")


@pytest.fixture(params=[of_version_20, with_an_unknown_key], ids=lambda damage: damage.__name__)
def damage(request: pytest.FixtureRequest) -> Damage:
    made: Damage = request.param
    assert made(DER) != DER
    return made


def pem(data: bytes) -> bytes:
    text = base64.encodebytes(data).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n".encode()


def test_a_ca_from_a_file(damage: Damage) -> None:
    with pytest.raises(ValueError, match="holds"):
        ca.check_cas(pem(damage(DER)).decode())


def test_a_proxy_s_header(damage: Damage) -> None:
    header = {"Client-Cert": base64.b64encode(damage(DER)).decode()}
    with pytest.raises(Refused) as caught:
        proxy.forwarded(make_mocked_request("GET", "/", header), "Client-Cert", [])
    assert caught.value.reply.status in (400, 403)


def test_a_signer(damage: Damage, tmp_path: Path) -> None:
    for name, content in (("c.pem", CERTIFICATE), ("k.pem", KEY), ("x", b"content")):
        (tmp_path / name).write_bytes(content)
    openssl(
        *("cms", "-sign", "-nodetach", "-binary", "-outform", "DER", "-out", tmp_path / "cms"),
        *("-in", tmp_path / "x", "-signer", tmp_path / "c.pem", "-inkey", tmp_path / "k.pem"),
    )
    data = (tmp_path / "cms").read_bytes()
    assert signed_data.verify(data)[1] == b"content"
    with pytest.raises(SignedDataError, match="can't be read"):
        signed_data.verify(damage(data))


def test_what_a_server_issued(damage: Damage, tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_bytes(CERTIFICATE)
    openssl("crl2pkcs7", "-nocrl", "-certfile", tmp_path / "c.pem", "-outform", "DER",
            "-out", tmp_path / "p7")  # fmt: skip
    answer = damage((tmp_path / "p7").read_bytes())
    with pytest.raises(CliError, match="no certificates that can be read"):
        certs_only.chain_in(answer, "0" * 64)
    with pytest.raises(NotProven, match=r"can(no|')t be read"):
        request.issued(answer, "0" * 64, "A1")


def test_files_of_the_ledger(damage: Damage, tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_bytes(pem(damage(DER)))
    (tmp_path / "k.pem").write_bytes(KEY)
    if damage is of_version_20:
        with pytest.raises(CliError, match="holds no certificate"):
            inputs.certificates(tmp_path / "c.pem")
    with pytest.raises(CliError, match=r"c\.pem"):
        manifest.Signer(tmp_path / "c.pem", tmp_path / "k.pem")

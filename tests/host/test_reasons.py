"""Why the server in TLS is not trusted, told as it is, on each runtime."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from socket import create_server

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from mpest.server.ca import now
from mpest.sim.board_process import run_board

UNKNOWN = "no trust anchor vouches for its certificate"


def named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Root:
    """A root, and what it signs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self.sign(name, self.key, x509.BasicConstraints(True, None))

    def sign(
        self, subject: str, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder(
            named(self.name), named(subject), key.public_key(), x509.random_serial_number()
        )
        day = now().replace(hour=0)
        builder = builder.not_valid_before(day.replace(year=day.year - 1))
        builder = builder.not_valid_after(day.replace(year=day.year + 1, day=1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())


@contextmanager
def shown(root: Root, folder: Path, *extensions: x509.ExtensionType) -> Iterator[int]:
    """The port of a TLS server that shows such a certificate, and answers nothing."""
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = root.sign("127.0.0.1", key, *extensions)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = folder / "server.pem"
    path.write_bytes(pem + leaf.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                try:
                    context.wrap_socket(client, server_side=True).close()
                except OSError:
                    client.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(2)
        thread.join(5)


ADDRESS = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
ADDRESS_6 = x509.SubjectAlternativeName([x509.IPAddress(ip_address("::1"))])
ELSEWHERE = x509.SubjectAlternativeName([x509.DNSName("elsewhere.example")])


@pytest.mark.parametrize(
    ("known", "extensions", "reason"),
    [
        (False, (), UNKNOWN),
        (False, (ADDRESS,), UNKNOWN),
        (False, (ADDRESS_6,), UNKNOWN),
        (False, (ELSEWHERE,), UNKNOWN),
        (True, (ADDRESS_6,), "is for an IPv6 address"),
        (True, (ELSEWHERE,), "is for elsewhere.example"),
    ],
)
def test_reasons(
    tmp_path: Path,
    runtime: str,
    known: bool,
    extensions: tuple[x509.ExtensionType, ...],
    reason: str,
) -> None:
    """An unknown issuer comes before the name, whatever names there are."""
    root = Root("root")
    anchor = (root if known else Root("other")).certificate.public_bytes(Encoding.DER).hex()
    with shown(root, tmp_path, *extensions) as port:
        url = f"https://127.0.0.1:{port}"
        config = {"url": url, "anchors": [anchor], "operations": ["cacerts"]}
        *_, event = run_board(config, runtime, tmp_path / "board")
    assert event["type"] == "NotTrusted", event
    assert reason in event["message"], event

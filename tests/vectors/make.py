"""Makes the vectors of this folder anew: python tests/vectors/make.py.

They come from implementations that share nothing with est. Each run has new keys.

cmc: messages of full CMC as Bouncy Castle writes them (Debian: libbcpkix-java and a JDK).
libest: what libest's estserver answers, octet by octet, and what it was sent.
"""

import base64
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from mpest import runtimes

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "interop")]
import ports  # noqa: E402
from test_libest_server import make_ca, wait_for  # noqa: E402

JARS = ":".join(f"/usr/share/java/{name}.jar" for name in ("bcpkix", "bcprov", "bcutil"))


def name(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])


def cmc() -> None:
    folder = HERE / "cmc"
    folder.mkdir(exist_ok=True)
    key, ca_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(
            name((NameOID.COMMON_NAME, "device-7"), (NameOID.ORGANIZATION_NAME, "Example"))
        )
        .issuer_name(name((NameOID.COMMON_NAME, "mini CA")))
        .serial_number(0x1234ABCD)
        .not_valid_before(datetime(2025, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2030, 1, 1, tzinfo=UTC))
        .public_key(key.public_key())
        .sign(ca_key, hashes.SHA256())
    )
    (folder / "signer-cert.der").write_bytes(certificate.public_bytes(Encoding.DER))
    with tempfile.NamedTemporaryFile() as file:
        file.write(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
        file.flush()
        subprocess.run(["java", "-cp", JARS, HERE / "Cmc.java", folder, file.name], check=True)


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@contextmanager
def estserver(folder: Path, *options: str) -> Iterator[int]:
    """Port of a server with the CA in `folder`."""
    found = runtimes.find("estserver")
    port = ports.reserve()
    arguments = ["-c", folder / "server.pem", "-k", folder / "server.key", "-r", "estrealm"]
    environment = {
        "EST_TRUSTED_CERTS": str(folder / "ca.pem"),
        "EST_CACERTS_RESP": str(folder / "ca.pem"),
        "EST_OPENSSL_CACONFIG": str(folder / "ca.cnf"),
    }
    server = subprocess.Popen(
        [*found.argv, *arguments, "-p", str(port), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env={**os.environ, **found.env, **environment},
    )
    try:
        wait_for(port, server, None)
        yield port
    finally:
        server.kill()
        server.communicate()


def ask(port: int, operation: str, request: bytes = b"", *headers: str) -> bytes:
    """The whole answer; `request` is posted, without one it is a GET."""
    lines = [f"{'POST' if request else 'GET'} /.well-known/est/{operation} HTTP/1.1"]
    lines += ["Host: 127.0.0.1", *headers]
    if request:
        lines += ["Content-Type: application/pkcs10", "Content-Transfer-Encoding: base64"]
        lines += [f"Content-Length: {len(request)}"]
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    answer = b""
    with (
        socket.create_connection(("127.0.0.1", port), 30) as connection,
        context.wrap_socket(connection) as stream,
    ):
        stream.sendall("\r\n".join([*lines, "", ""]).encode() + request)
        while data := stream.recv(4096):
            answer += data
    return answer


def libest() -> None:
    folder = HERE / "libest"
    folder.mkdir(exist_ok=True)
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name((NameOID.COMMON_NAME, "device-7")))
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
    (folder / "request-csr.der").write_bytes(csr)
    request = base64.encodebytes(csr)
    login = "Authorization: Basic " + base64.b64encode(b"estuser:estpwd").decode()
    with tempfile.TemporaryDirectory() as place:
        ca = Path(place) / "ca"
        make_ca(ca, openssl)
        shutil.copy(ca / "ca.pem", folder / "libest32-ca.pem")
        answers = {}
        with estserver(ca, "-b") as port:
            answers["cacerts"] = ask(port, "cacerts")
            answers["csrattrs"] = ask(port, "csrattrs")
            answers["401-basic"] = ask(port, "simpleenroll", request)
            answers["simpleenroll"] = ask(port, "simpleenroll", request, login)
            answers["serverkeygen"] = ask(port, "serverkeygen", request, login)
        with estserver(ca, "-h") as port:
            answers["401-digest"] = ask(port, "simpleenroll", request)
        with estserver(ca, "-b", "-m", "3600") as port:
            answers["202"] = ask(port, "simpleenroll", request, login)
    for what, answer in answers.items():
        (folder / f"libest32-{what}.http").write_bytes(answer)


if __name__ == "__main__":
    cmc()
    libest()

"""Why the server in TLS is not trusted, told as it is, on each runtime."""

import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from socket import create_server
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mpest.server.ca import key_usage, new_key, now
from mpest.sim.board_process import run_board

UNKNOWN = "no trust anchor vouches for its certificate"


def named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Root:
    """A root, and what it signs."""

    def __init__(
        self, name: str, key: Any = None, days: tuple[int, int] = (-365, 365), ca: bool = True
    ) -> None:
        self.name = name
        self.key = key or new_key()
        constraints = x509.BasicConstraints(ca, None)
        self.certificate = self.sign(name, self.key, constraints, days=days)

    def sign(
        self,
        subject: str,
        key: Any,
        *extensions: x509.ExtensionType,
        days: tuple[int, int] = (-365, 365),
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder(
            named(self.name), named(subject), key.public_key(), x509.random_serial_number()
        )
        builder = builder.not_valid_before(now() + timedelta(days=days[0]))
        builder = builder.not_valid_after(now() + timedelta(days=days[1]))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())


@contextmanager
def shown(
    root: Root,
    folder: Path,
    *extensions: x509.ExtensionType,
    rsa_key: bool = False,
    change: Callable[[ssl.SSLContext], None] = lambda context: None,
) -> Iterator[int]:
    """The port of a TLS server that shows such a certificate, and answers nothing."""
    key = rsa.generate_private_key(65537, 2048) if rsa_key else new_key()
    leaf = root.sign("127.0.0.1", key, *extensions)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = folder / "server.pem"
    path.write_bytes(pem + leaf.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    change(context)
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
AS_DNS = x509.SubjectAlternativeName([x509.DNSName("127.0.0.1")])
ANY_PURPOSE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
LINES = x509.SubjectAlternativeName([x509.DNSName("a\nNote: \x1b[31mb")])
SIGNS_CERTIFICATES = key_usage("key_cert_sign")


@pytest.mark.parametrize(
    ("known", "extensions", "reason"),
    [
        (False, (), UNKNOWN),
        (False, (ADDRESS,), UNKNOWN),
        (False, (ADDRESS_6,), UNKNOWN),
        (False, (ELSEWHERE,), UNKNOWN),
        (True, (ADDRESS_6,), "is for an IPv6 address"),
        (True, (ELSEWHERE,), "is for elsewhere.example"),
        (True, (LINES,), "is for a?note: ?[31mb ("),
        (True, (ADDRESS, SIGNS_CERTIFICATES), "or an issuer's is refused"),
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
    if SIGNS_CERTIFICATES in extensions and runtime == "micropython-picow-like":
        # Of TLS 1.2 alone: there a server takes no cipher for such a certificate.
        assert "ended TLS with an alert" in event["message"], event
        return
    assert event["type"] == "NotTrusted", event
    assert reason in event["message"], event


def test_an_issuer_of_the_anchors_name(tmp_path: Path, runtime: str) -> None:
    """Such as a CA that was made anew."""
    anchor = Root("root").certificate.public_bytes(Encoding.DER).hex()
    with shown(Root("root"), tmp_path, ADDRESS) as port:
        url = f"https://127.0.0.1:{port}"
        config = {"url": url, "anchors": [anchor], "operations": ["cacerts"]}
        *_, event = run_board(config, runtime, tmp_path / "board")
    assert event["type"] == "NotTrusted", event
    assert UNKNOWN in event["message"], event


@pytest.mark.parametrize(
    ("extensions", "reason"),
    [
        ((AS_DNS,), "is for 127.0.0.1 (a DNS name, not an address)"),
        # Of a common name TLS of a board takes an address, too.
        ((), "its certificate CN=127.0.0.1 has no subjectAltName for the host"),
        ((ADDRESS, ANY_PURPOSE), "may not be used by a server: it lacks id-kp-serverAuth"),
    ],
)
def test_what_openssl_alone_refuses(
    tmp_path: Path, runtime: str, extensions: tuple[x509.ExtensionType, ...], reason: str
) -> None:
    root = Root("root")
    anchor = root.certificate.public_bytes(Encoding.DER).hex()
    with shown(root, tmp_path, *extensions) as port:
        url = f"https://127.0.0.1:{port}"
        config = {"url": url, "anchors": [anchor], "operations": ["cacerts"]}
        *_, event = run_board(config, runtime, tmp_path / "board")
    assert (event["type"] == "NotTrusted") == (runtime == "cpython"), event
    assert (reason in event["message"]) == (runtime == "cpython"), event


@pytest.mark.parametrize("fault", ["ended", "early", "short key"])
def test_an_issuer_that_is_known_and_refused(tmp_path: Path, runtime: str, fault: str) -> None:
    """It is vouched for: what is wrong is a date, or an algorithm."""
    key = rsa.generate_private_key(65537, 1024) if fault == "short key" else None
    days = {"ended": (-365, -2), "early": (2, 365)}.get(fault, (-365, 365))
    root = Root("root", key, days)
    anchor = root.certificate.public_bytes(Encoding.DER).hex()
    with shown(root, tmp_path, ADDRESS) as port:
        url = f"https://127.0.0.1:{port}"
        config = {"url": url, "anchors": [anchor], "operations": ["cacerts"]}
        *_, event = run_board(config, runtime, tmp_path / "board")
    assert event["type"] == "NotTrusted", event
    assert "its certificate CN=127.0.0.1 or an issuer's is refused" in event["message"], event
    assert ("the board's clock says" in event["message"]) == (fault != "short key"), event


def test_an_anchor_that_is_no_ca(tmp_path: Path, runtime: str) -> None:
    """TLS of a board says of it what it says of an unknown one."""
    root = Root("root", ca=False)
    anchor = root.certificate.public_bytes(Encoding.DER).hex()
    with shown(root, tmp_path, ADDRESS) as port:
        config = {"url": f"https://127.0.0.1:{port}", "anchors": [anchor], "subject": "CN=a"}
        *_, event = run_board(config | {"operations": ["enroll"]}, runtime, tmp_path / "board")
    assert event["type"] == "NotTrusted", event
    end = "; the anchor CN=root is no CA by basicConstraints and keyUsage"
    assert event["message"].endswith(end), event


def test_a_server_that_ends_the_connection(tmp_path: Path, runtime: str) -> None:
    with create_server(("127.0.0.1", 0)) as listening:

        def close() -> None:
            try:
                client, _ = listening.accept()
                client.recv(1)
                client.close()
            except OSError:
                pass

        thread = threading.Thread(target=close, daemon=True)
        thread.start()
        text = heard(tmp_path, runtime, listening.getsockname()[1], Root("root"))
        thread.join(5)
    assert "TLS: the server ended the connection" in text, text


def refuse_addresses(context: ssl.SSLContext) -> None:
    """As RFC 6066 3 has it, and rustls does."""

    def look(sock: Any, name: str | None, context: ssl.SSLContext) -> int | None:
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME if name else None

    context.sni_callback = look


def newest(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3


def older(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2


def demand(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED


def demand_newest(context: ssl.SSLContext) -> None:
    """By TLS 1.3, where a client hears of it once it has sent its request."""
    context.verify_mode = ssl.CERT_REQUIRED


def heard(tmp_path: Path, runtime: str, port: int, root: Root) -> str:
    """What the board says of the server there."""
    anchor = root.certificate.public_bytes(Encoding.DER).hex()
    url = f"https://127.0.0.1:{port}"
    config = {"url": url, "anchors": [anchor], "operations": ["cacerts"]}
    *_, event = run_board(config, runtime, tmp_path / "board")
    assert event["type"] == "PeerError", event
    return str(event["message"])


@pytest.mark.parametrize(
    ("change", "rsa_key", "runtimes", "words"),
    [
        # CPython sends no address as a name.
        (refuse_addresses, False, "micropython armhf picow-like", "use its name in the URL"),
        (newest, False, "picow-like", "TLS 1.2"),
        (older, True, "micropython armhf", "takes no RSA certificate"),
        (demand, False, "cpython micropython armhf picow-like", "a client without a certificate"),
        (
            demand_newest,
            False,
            "cpython micropython armhf picow-like",
            "a client without a certif",
        ),
    ],
)
def test_what_ends_the_handshake(
    tmp_path: Path, runtime: str, change: Any, rsa_key: bool, runtimes: str, words: str
) -> None:
    """Some TLS alone ends it: the others are answered with the end of the connection."""
    root = Root("root")
    with shown(root, tmp_path, ADDRESS, rsa_key=rsa_key, change=change) as port:
        text = heard(tmp_path, runtime, port, root)
    affected = runtime.replace("micropython-", "") in runtimes.split()
    assert (words in text) == affected, text


def test_a_port_without_tls(tmp_path: Path, runtime: str) -> None:
    class Answer(http.server.BaseHTTPRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        text = heard(tmp_path, runtime, server.server_port, Root("root"))
        server.shutdown()
    assert "is it a port without TLS?" in text

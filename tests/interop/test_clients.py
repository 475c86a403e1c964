"""Clients of others enrol at the test server."""

import subprocess
from collections.abc import Callable, Iterator
from email import message_from_bytes
from pathlib import Path

import pytest

from mpest.server import EstServer, ServerConfig, running_server
from mpest.server.serverkeygen import ServerKeygenPolicy

# What /serverkeygen answers with, and how openssl reads it.
FORMS = (("pkcs8", "pkey"), ("pkcs7-mime", "pkcs7", "-print_certs"))
USER, PASSWORD = "board", "a password"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EstServer]:
    config = ServerConfig(
        directory=tmp_path / "server", port=0, auth="basic", users={USER: PASSWORD}
    )
    with running_server(config) as server:
        yield server


@pytest.fixture
def estclient(server: EstServer, tmp_path: Path, run_program: Callable) -> Callable[..., str]:
    """Runs libest's client against the server; its files go to `out`."""
    (tmp_path / "out").mkdir()

    def estclient(*arguments: object) -> str:
        where = ("-s", "127.0.0.1", "-p", server.port, "-o", tmp_path / "out")
        trust = {"EST_OPENSSL_CACERT": str(server.ca_pem)}
        output: str = run_program("estclient", *arguments, *where, env=trust)
        return output

    return estclient


@pytest.fixture
def request_der(tmp_path: Path, openssl: Callable[..., str]) -> Path:
    """A request for CN=board-2 with its key in key.pem."""
    key, request = tmp_path / "key.pem", tmp_path / "request.der"
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    subject = ("-new", "-key", key, "-subj", "/CN=board-2", "-sha256")
    openssl("req", *subject, "-outform", "DER", "-out", request)
    return request


def only_file(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def test_estclient_gets_ca_certificates(
    server: EstServer, estclient: Callable, tmp_path: Path, openssl: Callable
) -> None:
    estclient("-g")
    found = only_file(tmp_path / "out", "cacert-*")
    pkcs7 = tmp_path / "ca.der"
    openssl("base64", "-d", "-in", found, "-out", pkcs7)
    certificates = openssl("pkcs7", "-inform", "DER", "-in", pkcs7, "-print_certs")
    assert server.ca_pem.read_text().strip() in certificates


def test_estclient_enrolls(
    server: EstServer, estclient: Callable, tmp_path: Path, check_pair: Callable
) -> None:
    login = ("-u", USER, "-h", PASSWORD)
    estclient("-e", *login, "--common-name", "board-1", "--pem-output")
    out = tmp_path / "out"
    check_pair(server.ca_pem, only_file(out, "cert-*.pem"), only_file(out, "key-*.pem"))
    assert [one.subject for one in server.issued()] == ["CN=board-1"]


def test_estclient_has_a_key_made(
    server: EstServer,
    estclient: Callable,
    request_der: Path,
    tmp_path: Path,
    openssl: Callable,
    check_pair: Callable,
) -> None:
    # Shorter ones, as elliptic keys are, it takes for malformed.
    server.config.serverkeygen = ServerKeygenPolicy(key_type="RSA-2048")
    own = tmp_path / "key.pem"
    login = ("-u", USER, "-h", PASSWORD)
    estclient("-q", *login, "-x", own, "--common-name", "board-1", "--pem-output")
    out = tmp_path / "out"
    key, pem = only_file(out, "key-*.key"), tmp_path / "made.pem"
    openssl("base64", "-d", "-in", key, "-out", tmp_path / "made.der")
    openssl("pkey", "-inform", "DER", "-in", tmp_path / "made.der", "-out", pem)
    check_pair(server.ca_pem, only_file(out, "cert-*.pem"), pem)
    assert [one.subject for one in server.issued()] == ["CN=board-1"]


def test_curl_has_a_key_made(
    server: EstServer, request_der: Path, tmp_path: Path, openssl: Callable, check_pair: Callable
) -> None:
    body, answer = tmp_path / "request.b64", tmp_path / "answer"
    openssl("base64", "-in", request_der, "-out", body)
    subprocess.run(
        [
            *("curl", "--silent", "--fail", "--cacert", server.ca_pem, "--include"),
            *("--user", f"{USER}:{PASSWORD}", "--data-binary", f"@{body}", "--output", answer),
            *("--header", "Content-Type: application/pkcs10", f"{server.url}/serverkeygen"),
        ],
        check=True,
        timeout=60,
    )
    # Python's own parser takes the parts apart.
    head, _, rest = answer.read_bytes().partition(b"\r\n")
    assert head == b"HTTP/1.1 200 OK"
    for part, form, name in zip(
        message_from_bytes(rest).get_payload(), FORMS, ("made.pem", "cert.pem"), strict=True
    ):
        assert part.get_content_type() == f"application/{form[0]}"
        (tmp_path / "part.der").write_bytes(part.get_payload(decode=True))
        openssl(*form[1:], "-inform", "DER", "-in", tmp_path / "part.der", "-out", tmp_path / name)
    check_pair(server.ca_pem, tmp_path / "cert.pem", tmp_path / "made.pem")


def test_estclient_with_wrong_password(
    server: EstServer, estclient: Callable, tmp_path: Path
) -> None:
    estclient("-e", "-u", USER, "-h", "wrong", "--pem-output")
    assert not list((tmp_path / "out").glob("cert-*"))
    assert not server.issued()


def test_pki_enrolls(
    server: EstServer,
    request_der: Path,
    tmp_path: Path,
    run_program: Callable,
    check_pair: Callable,
) -> None:
    output = run_program(
        *("pki", "--est", "--url", server.origin, "--in", request_der, "--outform", "pem"),
        *("--cacert", server.ca_pem, "--userpass", f"{USER}:{PASSWORD}"),
    )
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----\n"
    certificate = tmp_path / "cert.pem"
    certificate.write_text(begin + output.partition(begin)[2].partition(end)[0] + end)
    check_pair(server.ca_pem, certificate, tmp_path / "key.pem")
    assert [one.subject for one in server.issued()] == ["CN=board-2"]

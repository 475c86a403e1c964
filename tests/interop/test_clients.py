"""Clients of others enrol at the test server."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509

from mpest.server import CsrAttrsPolicy, EstServer, ServerConfig, running_server
from mpest.server.serverkeygen import ServerKeygenPolicy

USER, PASSWORD = "board", "a password"
TOKEN = base64.b64encode(b"a token").decode()  # as libest sends what --auth-token says
LOGIN = ("-u", USER, "-h", PASSWORD)


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EstServer]:
    """A server; the parameter is settings of it."""
    settings = {
        "auth": "basic",
        "users": {USER: PASSWORD},
        "tokens": {TOKEN},
        **getattr(request, "param", {}),
    }
    config = ServerConfig(directory=tmp_path / "server", port=0, **settings)
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


@pytest.mark.parametrize(
    ("server", "login"),
    [
        ({}, LOGIN),
        # libest knows but one challenge, and no other algorithm.
        ({"auth": "digest", "digest_algorithms": ["MD5"]}, LOGIN),
        ({"auth": "token"}, ("--auth-token", "a token")),
        ({"require_pop": True}, ("-z", *LOGIN)),
    ],
    ids=["basic", "digest", "token", "pop"],
    indirect=["server"],
)
def test_estclient_enrolls(
    server: EstServer,
    estclient: Callable,
    tmp_path: Path,
    check_pair: Callable,
    login: tuple[str, ...],
) -> None:
    estclient("-e", *login, "--common-name", "board-1", "--pem-output")
    out = tmp_path / "out"
    check_pair(server.ca_pem, only_file(out, "cert-*.pem"), only_file(out, "key-*.pem"))
    assert [one.subject for one in server.issued()] == ["CN=board-1"]


def test_estclient_with_wrong_password(
    server: EstServer, estclient: Callable, tmp_path: Path
) -> None:
    estclient("-e", "-u", USER, "-h", "wrong", "--pem-output")
    assert not list((tmp_path / "out").glob("cert-*"))
    assert not server.issued()


def test_estclient_reenrolls(
    server: EstServer, estclient: Callable, tmp_path: Path, check_pair: Callable
) -> None:
    identity(server, tmp_path)
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    estclient("-r", "-c", certificate, "-k", key, "--pem-output")
    renewed = only_file(tmp_path / "out", "cert-*.pem")
    check_pair(server.ca_pem, renewed, key)
    assert renewed.read_text() != certificate.read_text()
    assert [one.subject for one in server.issued()] == ["CN=board-1"] * 2


def test_estclient_gets_csrattrs(
    server: EstServer, estclient: Callable, tmp_path: Path, openssl: Callable[..., str]
) -> None:
    server.config.csrattrs = CsrAttrsPolicy(key="P-384", challenge_password=True)
    estclient("-a", *LOGIN)
    found = only_file(tmp_path / "out", "csr-*")
    der = tmp_path / "attributes.der"
    der.write_bytes(base64.b64decode(found.read_bytes()))
    shown = openssl("asn1parse", "-inform", "DER", "-in", der)
    for name in ("id-ecPublicKey", "secp384r1", "challengePassword"):
        assert name in shown


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
    estclient("-q", *LOGIN, "-x", own, "--common-name", "board-1", "--pem-output")
    out = tmp_path / "out"
    key, pem = only_file(out, "key-*.key"), tmp_path / "made.pem"
    openssl("base64", "-d", "-in", key, "-out", tmp_path / "made.der")
    openssl("pkey", "-inform", "DER", "-in", tmp_path / "made.der", "-out", pem)
    check_pair(server.ca_pem, only_file(out, "cert-*.pem"), pem)
    assert [one.subject for one in server.issued()] == ["CN=board-1"]


def identity(server: EstServer, folder: Path) -> None:
    """cert.pem and key.pem of CN=board-1."""
    for name, pem in zip(("cert.pem", "key.pem"), server.new_identity("board-1"), strict=True):
        (folder / name).write_bytes(pem)


@pytest.fixture
def pki(server: EstServer, tmp_path: Path, run_program: Callable) -> Callable[..., Path]:
    """Runs strongSwan's client, and gives the certificate that it got."""

    def pki(*arguments: object) -> Path:
        output: str = run_program(
            *("pki", "--est", "--url", server.origin, "--cacert", server.ca_pem),
            *("--outform", "pem", *arguments),
        )
        begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----\n"
        certificate = tmp_path / "received.pem"
        certificate.write_text(begin + output.partition(begin)[2].partition(end)[0] + end)
        return certificate

    return pki


@pytest.mark.parametrize("server", [{}, {"wrap": 0}], ids=["wrapped", "unwrapped"], indirect=True)
def test_pki_gets_ca_certificates(
    server: EstServer, tmp_path: Path, run_program: Callable
) -> None:
    run_program(
        *("pki", "--estca", "--url", server.origin, "--cacert", server.ca_pem),
        *("--caout", tmp_path / "received.pem", "--outform", "pem"),
    )
    found = x509.load_pem_x509_certificates((tmp_path / "received.pem").read_bytes())
    assert found == server.ca_certificates


@pytest.mark.parametrize(
    ("server", "more"),
    [
        ({}, ()),
        ({"wrap": 0}, ()),
        ({"label": "sensors"}, ("--label", "sensors")),
        ({"approve_after": 1}, ("--interval", 1)),
    ],
    ids=["basic", "unwrapped", "label", "waiting"],
    indirect=["server"],
)
def test_pki_enrolls(
    server: EstServer,
    request_der: Path,
    tmp_path: Path,
    pki: Callable,
    check_pair: Callable,
    more: tuple[object, ...],
) -> None:
    certificate = pki("--in", request_der, "--userpass", f"{USER}:{PASSWORD}", *more)
    check_pair(server.ca_pem, certificate, tmp_path / "key.pem")
    assert [one.subject for one in server.issued()] == ["CN=board-2"]


def test_pki_renews(
    server: EstServer, tmp_path: Path, pki: Callable, openssl: Callable, check_pair: Callable
) -> None:
    """With the certificate, without a password, for a new key."""
    identity(server, tmp_path)
    request, key = tmp_path / "renewed.der", tmp_path / "renewed.key"
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    openssl("req", "-new", "-key", key, "-subj", "/CN=board-1", "-outform", "DER", "-out", request)
    certificate = pki(
        *("--in", request, "--cert", tmp_path / "cert.pem", "--key", tmp_path / "key.pem")
    )
    check_pair(server.ca_pem, certificate, key)
    assert [event["path"].rpartition("/")[2] for event in server.events] == ["simplereenroll"]
    assert [one.subject for one in server.issued()] == ["CN=board-1"] * 2

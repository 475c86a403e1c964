"""Certificates in the header of a proxy: each form, what is none, whom it is taken from."""

import asyncio
import base64
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from odd_certificates import CA, as_v1, issue
from server_client import connect, enroll, make_csr, new_key, pem_of, tls_context

from mpest.cli import main
from mpest.server import EstServer, Policy, ServerConfig, running_server
from mpest.server.ca import Order, Signer, common_name, key_usage, new_ca, now, self_signed
from mpest.server.principals import fingerprint

HEADER = "X-SSL-Client-Cert"
FORMS = {
    "RFC 9440": lambda pem: f":{bare(pem)}:",
    "nginx": lambda pem: quote(pem.decode()),
    "nginx, old": lambda pem: pem.decode().strip().replace("\n", "\t"),
    "HAProxy": lambda pem: bare(pem),
    "Traefik": lambda pem: quote(bare(pem)),
}


def bare(pem: bytes) -> str:
    return base64.b64encode(der(x509.load_pem_x509_certificate(pem))).decode()


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EstServer]:
    """A server that takes this computer for the proxy."""
    config = ServerConfig(
        directory=tmp_path / "ca", behind_proxy=HEADER, proxies=["127.0.0.0/8"], chain_length=2
    )
    async with EstServer(config) as running:
        yield running


async def renew(server: EstServer, *values: str, identity=None, **headers: str) -> tuple[int, str]:
    """Status and text of a renewal with a header of each of the `values`."""
    async with connect(server, identity) as session:
        request = [("Content-Type", "application/pkcs10"), *((HEADER, one) for one in values)]
        body = base64.encodebytes(make_csr().public_bytes(Encoding.DER))
        request += headers.items()
        async with session.post("simplereenroll", data=body, headers=request) as answer:
            return answer.status, await answer.text()


@pytest.mark.parametrize("form", FORMS)
async def test_forms(server: EstServer, form: str) -> None:
    certificate, _ = server.new_identity("board-1")
    assert (await renew(server, FORMS[form](certificate)))[0] == 200
    assert server.events[-1]["client"] == "CN=board-1"


async def test_without_a_certificate(server: EstServer) -> None:
    """The proxy's own certificate, which it may show in TLS, is nobody's."""
    own = server.new_identity("board-1")
    for values in ((), ("",), (" ",)):
        status, text = await renew(server, *values, identity=own)
        assert (status, "is required" in text) == (403, True)
        assert server.events[-1]["client"] is None


@pytest.mark.parametrize(
    "value", ["x", ":", "::", "%", "%00", "AAAA", ":AAAA:", "-----BEGIN CERTIFICATE-----", ","]
)
async def test_what_is_no_certificate(server: EstServer, value: str) -> None:
    own = server.new_identity("board-1")
    status, text = await renew(server, value, identity=own)
    assert (status, text) == (400, f"the header {HEADER} holds no certificate\n")
    assert server.events[-1]["client"] is None


async def test_two_headers(server: EstServer) -> None:
    """A proxy that adds its own to the client's leaves open which is which."""
    values = [FORMS["HAProxy"](server.new_identity(name)[0]) for name in ("board-1", "board-2")]
    status, text = await renew(server, *values)
    assert (status, "comes twice" in text) == (400, True)
    status, text = await renew(server, ",".join(values * 5))
    assert (status, "more than 8" in text) == (400, True)


@pytest.mark.parametrize("comma", [",", ", "])
@pytest.mark.parametrize("form", FORMS)
async def test_two_in_one_header(server: EstServer, form: str, comma: str) -> None:
    """So does one that appends its own to the client's line."""
    values = [FORMS[form](server.new_identity(name)[0]) for name in ("board-1", "board-2")]
    status, text = await renew(server, comma.join(values))
    assert (status, "did not issue the first" in text) == (400, True)
    assert server.events[-1]["client"] is None
    status, text = await renew(server, comma.join(values[:1] * 2))
    assert (status, "did not issue the first" in text) == (400, True)


async def test_what_tls_would_not_trust(server: EstServer) -> None:
    issuer = server._authority.issuer
    other = new_ca("mpest test root")
    key, subject = new_key(), common_name("board-1")
    order = Order(subject, key.public_key())
    end = now() + timedelta(days=1)
    serving = Order(subject, key.public_key(), purposes=(ExtendedKeyUsageOID.SERVER_AUTH,))
    enciphering = Order(subject, key.public_key(), usage=key_usage("key_encipherment"))
    genuine = issuer.sign(order, end)
    damaged = der(genuine)[:-1] + bytes([der(genuine)[-1] ^ 1])
    ended = now() - timedelta(days=2)
    for certificate, word in (
        (other.sign(order, end), "candidates exhausted"),
        (self_signed(order, key, end), "candidates exhausted"),
        (x509.load_der_x509_certificate(damaged), "candidates exhausted"),
        (issuer.sign(order, now() - timedelta(days=1), ended), "cert is not valid"),
        (issuer.sign(serving, end), "not for clients"),
        (issuer.sign(enciphering, end), "not for signatures"),
    ):
        value = base64.b64encode(der(certificate)).decode()
        status, text = await renew(server, value)
        assert (status, word in text) == (403, True), text
    # An issuer that is a client itself, or may not sign.
    for middle, word in (
        (Signer(genuine, key), "cA must be asserted"),
        (Signer(_ca_without_signing(issuer, subject, key, end), key), "may not sign"),
    ):
        below = middle.sign(order, end)
        value = ",".join(
            base64.b64encode(der(one)).decode() for one in (below, middle.certificate)
        )
        status, text = await renew(server, value)
        assert (status, word in text) == (403, True), text
    # Trusted by the CA, but not on record.
    status, text = await renew(server, base64.b64encode(der(genuine)).decode())
    assert (status, "was not issued by this server" in text) == (403, True)


def _ca_without_signing(issuer: Signer, subject: x509.Name, key, end) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now() - timedelta(minutes=1))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .add_extension(key_usage("digital_signature"), critical=True)
    )
    return builder.sign(issuer.key, hashes.SHA256())


async def test_revoked(server: EstServer) -> None:
    certificate, _ = server.new_identity("board-1")
    server.revoke(x509.load_pem_x509_certificate(certificate).serial_number)
    status, text = await renew(server, FORMS["HAProxy"](certificate))
    assert (status, "is revoked" in text) == (403, True)


@pytest.mark.parametrize("known", [1, 2], ids=["root", "both"])
@pytest.mark.parametrize("where", ["header", "chain"])
async def test_a_factory_certificate_with_its_chain(
    tmp_path: Path, where: str, known: int
) -> None:
    root = new_ca("factory root")
    issuing = new_ca("factory", root, below=0)
    key = new_key()
    order = Order(common_name("board-1"), key.public_key())
    device = issuing.sign(order, now() + timedelta(days=1))
    chain = [base64.b64encode(der(one)).decode() for one in (device, issuing.certificate)]
    config = ServerConfig(
        directory=tmp_path / "ca",
        auth="mtls",
        factory_ca="".join(
            one.certificate.public_bytes(Encoding.PEM).decode() for one in (root, issuing)[:known]
        ),
        behind_proxy="Client-Cert",
        proxies=["127.0.0.1"],
    )
    if where == "header":
        headers = {"Client-Cert": ",".join(chain)}
    else:
        headers = {"Client-Cert": f":{chain[0]}:", "Client-Cert-Chain": f":{chain[1]}:"}
    async with EstServer(config) as server, connect(server) as session:
        assert (await enroll(session, make_csr(), **headers))[0] == 200
        assert (await enroll(session, make_csr()))[0] == 403


KEY, FACTORY_KEY, OTHER_KEY = new_key(), new_key(), new_key()
RSA_1024, RSA_2048 = (rsa.generate_private_key(65537, bits) for bits in (1024, 2048))
FACTORY, ISSUING, NARROW = map(common_name, ("factory", "issuing", "narrow"))
ONLY_B = x509.NameConstraints([x509.DNSName("b")], None)
CAS = [
    issue(FACTORY, FACTORY_KEY, FACTORY, FACTORY_KEY, CA),
    issue(ISSUING, FACTORY_KEY, common_name("root that nobody knows"), OTHER_KEY, CA),
    issue(NARROW, FACTORY_KEY, NARROW, FACTORY_KEY, [*CA, ONLY_B]),
]
BELOW = issue(common_name("below"), OTHER_KEY, FACTORY, FACTORY_KEY, CA)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0")
DAY = timedelta(days=1)


def device(*extensions, issuer=FACTORY, by=FACTORY_KEY, key=KEY, **options) -> x509.Certificate:
    return issue(common_name("device"), key, issuer, by, extensions, **options)


def purpose(name: str) -> x509.ExtendedKeyUsage:
    return x509.ExtendedKeyUsage([getattr(ExtendedKeyUsageOID, name)])


def host(name: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.DNSName(name)])


# What a client shows, and whether that enrols.
SHOWN = {
    "v3": ([device()], True),
    "v1": ([as_v1(device(), FACTORY_KEY)], True),
    "v1 of an intermediate": ([as_v1(device(issuer=ISSUING), FACTORY_KEY)], True),
    "v1 of another": ([as_v1(device(by=OTHER_KEY), OTHER_KEY)], False),
    "v1 that ended": ([as_v1(device(start=now() - 3 * DAY, end=now() - DAY), FACTORY_KEY)], False),
    "v1 to come": ([as_v1(device(start=now() + DAY, end=now() + 2 * DAY), FACTORY_KEY)], False),
    "v1 below what was sent": (
        [as_v1(device(issuer=BELOW.subject, by=OTHER_KEY), OTHER_KEY), BELOW],
        False,
    ),
    "below what was sent": ([device(issuer=BELOW.subject, by=OTHER_KEY), BELOW], True),
    "below what is forged": (
        [
            device(issuer=BELOW.subject, by=OTHER_KEY),
            issue(BELOW.subject, OTHER_KEY, FACTORY, OTHER_KEY, CA),
        ],
        False,
    ),
    "of an intermediate": ([device(issuer=ISSUING)], True),
    "no CA": ([device(x509.BasicConstraints(False, None))], True),
    "a CA": ([device(*CA)], False),
    "a CA for signatures": ([device(CA[0], key_usage("digital_signature"))], True),
    "unknown, critical": ([device(UNKNOWN)], False),
    "unknown": ([device(UNKNOWN, critical=False)], True),
    "for clients": ([device(purpose("CLIENT_AUTH"))], True),
    "for servers": ([device(purpose("SERVER_AUTH"))], False),
    "for anything": ([device(purpose("ANY_EXTENDED_KEY_USAGE"))], False),
    "signatures": ([device(key_usage("digital_signature"))], True),
    "agreement": ([device(key_usage("key_agreement"))], True),
    "encipherment": ([device(key_usage("key_encipherment"))], False),
    "commitment": ([device(key_usage("content_commitment"))], False),
    "ended": ([device(start=now() - 3 * DAY, end=now() - DAY)], False),
    "to come": ([device(start=now() + DAY, end=now() + 2 * DAY)], False),
    "RSA-2048": ([device(key=RSA_2048)], True),
    "RSA-1024": ([device(key=RSA_1024)], False),
    "SHA-384": ([device(digest=hashes.SHA384())], True),
    "within its constraints": ([device(host("b"), issuer=NARROW)], True),
    "beyond its constraints": ([device(host("a"), issuer=NARROW)], False),
    "forged": ([device(by=OTHER_KEY)], False),
    "of another": ([device(issuer=common_name("x"))], False),
}


@pytest.fixture(scope="module")
def of_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EstServer]:
    """127.0.0.2 is its proxy."""
    config = ServerConfig(
        directory=tmp_path_factory.mktemp("factory") / "ca",
        auth="mtls",
        factory_ca="".join(one.public_bytes(Encoding.PEM).decode() for one in CAS),
        behind_proxy="Client-Cert",
        proxies=["127.0.0.2"],
    )
    with running_server(config) as running:
        yield running


@pytest.mark.parametrize("shown", SHOWN)
async def test_judged_alike_in_tls_and_behind_a_proxy(of_factory: EstServer, shown: str) -> None:
    sent, enrols = SHOWN[shown]
    key = {1024: RSA_1024, 2048: RSA_2048}.get(sent[0].public_key().key_size, KEY)
    context = tls_context(of_factory)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # a client may send anything
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(one.public_bytes(Encoding.PEM) for one in sent) + pem_of(key))
        file.flush()
        context.load_cert_chain(file.name)
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(of_factory.url + "/", connector=connector) as session:
        try:
            in_tls = (await enroll(session, make_csr()))[0]
        except (aiohttp.ClientError, ssl.SSLError):
            in_tls = None
    connector = aiohttp.TCPConnector(ssl=tls_context(of_factory), local_addr=("127.0.0.2", 0))
    async with aiohttp.ClientSession(of_factory.url + "/", connector=connector) as session:
        value = ",".join(base64.b64encode(der(one)).decode() for one in sent)
        status, text, _ = await enroll(session, make_csr(), **{"Client-Cert": value})
    assert (in_tls == 200, status == 200) == (enrols, enrols), text
    assert status in (200, 403)
    assert text.count("\n") == 1 or enrols


async def test_resumed_below_a_factorys_root(tmp_path: Path) -> None:
    """A session that is resumed has the client's certificate alone, without those above it."""
    below = Signer(BELOW, OTHER_KEY)
    leaf = below.sign(Order(common_name("unit"), KEY.public_key()), now() + timedelta(hours=1))
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in (leaf, BELOW))
    config = ServerConfig(
        directory=tmp_path / "ca",
        auth="mtls",
        factory_ca=CAS[0].public_bytes(Encoding.PEM).decode(),
        policy=Policy.model_validate(
            {"rule": [{"factory": "CN=factory", "subject": "CN={CN}-1"}]}
        ),
        tls_max="1.2",
    )
    async with EstServer(config) as server:
        context = tls_context(server, (chain, pem_of(KEY)))
        assert await asyncio.to_thread(_enroll_resumed, server, context) == [
            (False, 200),
            (True, 200),
        ]
        owners = {row.owner for row in server.issued()}
    assert owners == {f"factory:{fingerprint(CAS[0])}:CN=unit"}


def _enroll_resumed(server: EstServer, context: ssl.SSLContext) -> list[tuple[bool, int]]:
    """Whether the session was resumed, and the status, of two enrolments."""
    session, results = None, []
    for _ in range(2):
        body = base64.encodebytes(make_csr("CN=unit-1").public_bytes(Encoding.DER))
        with (
            socket.create_connection(("127.0.0.1", server.port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as tls,
        ):
            head = (
                f"POST {urlsplit(server.url).path}/simpleenroll HTTP/1.1\r\nHost: localhost\r\n"
                "Content-Type: application/pkcs10\r\nConnection: close\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            tls.sendall(head.encode() + body)
            answer = b"".join(iter(lambda: tls.recv(65536), b""))
            session = tls.session
            results.append((tls.session_reused, int(answer.split()[1])))
    return results


async def test_from_elsewhere_it_says_nothing(tmp_path: Path) -> None:
    config = ServerConfig(directory=tmp_path / "ca", behind_proxy=HEADER, proxies=["127.0.0.2"])
    async with EstServer(config) as server:
        own, another = server.new_identity("board-1"), server.new_identity("board-2")
        value = FORMS["HAProxy"](another[0])
        assert (await renew(server, value))[0] == 403
        assert (await renew(server, value, identity=own))[0] == 200
        assert server.events[-1]["client"] == "CN=board-1"
        config.proxies = ["127.0.0.1"]
        config.behind_proxy = None
        assert (await renew(server, value))[0] == 403


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--behind-proxy", HEADER], "--behind-proxy HEADER needs --proxy ADDRESS"),
        (["--proxy", "127.0.0.1"], "--behind-proxy HEADER needs --proxy ADDRESS"),
        (["--behind-proxy", HEADER, "--proxy", "localhost"], "'localhost' is no address"),
        (["--behind-proxy", HEADER, "--proxy", "10.0.0.0/33"], "'10.0.0.0/33' is no address"),
        (["--behind-proxy", "a b", "--proxy", "::1"], ": the name of a header is expected\n"),
        (
            ["--behind-proxy", HEADER, "--proxy", "::1", "--require-pop"],
            "--require-pop can't be checked",
        ),
    ],
)
def test_wrong_use(tmp_path: Path, arguments: list[str], line: str) -> None:
    start = ["serve", "--dir", str(tmp_path / "ca"), "--port", "0"]
    done = CliRunner().invoke(main, [*start, *arguments])
    assert done.exit_code == 2
    assert line in done.stderr
    assert len([part for part in done.stderr.splitlines() if part.startswith("Error: ")]) == 1

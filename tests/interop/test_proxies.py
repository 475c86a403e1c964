"""nginx and HAProxy before the test server: they pass TLS through, or end it."""

import asyncio
import base64
import os
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import aiohttp
import nginx
import ports
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from mpest.runtimes import Program
from mpest.server import EstServer, ServerConfig, running_server
from mpest.server.ca import Order, common_name, new_ca, now

START_SECONDS = 60
PROXY = "127.0.0.2"  # the proxies' own address, for clients are on this computer too
USER, PASSWORD = "board-1", "a password"

NGINX_ENDS_TLS = nginx.https(
    "{folder}/site.pem",
    "{folder}/site.pem",
    """
        ssl_verify_client optional_no_ca;
        location / {{
            proxy_pass https://127.0.0.1:{behind};
            proxy_bind {address};
            proxy_ssl_trusted_certificate {ca};
            proxy_ssl_verify on;
            proxy_ssl_name localhost;
            proxy_set_header Host $http_host;
            proxy_set_header X-SSL-Client-Cert $ssl_client_escaped_cert;
        }}
""",
)
NGINX_PASSES = (
    nginx.HEAD
    + """
stream {{
    server {{
        listen 127.0.0.1:{port};
        proxy_pass 127.0.0.1:{behind};
    }}
}}
"""
)
HAPROXY = """
global
    log stderr format raw local0
defaults
    timeout connect 60s
    timeout client 60s
    timeout server 60s
"""
HAPROXY_ENDS_TLS = (
    HAPROXY
    + """
frontend boards
    mode http
    bind 127.0.0.1:{port} ssl crt {folder}/site.pem ca-file {ca} verify optional \
crt-ignore-err all ca-ignore-err all
    http-request del-header {header}
    http-request set-header {header} {value} if {{ ssl_c_used }}
    default_backend est
backend est
    mode http
    server est 127.0.0.1:{behind} source {address} ssl verify required ca-file {ca} \
sni str(localhost)
"""
)
HAPROXY_PASSES = (
    HAPROXY
    + """
listen boards
    mode tcp
    bind 127.0.0.1:{port}
    server est 127.0.0.1:{behind}
"""
)


class Kind(NamedTuple):
    program: str
    settings: str
    header: str | None
    value: str = ""


ENDS_TLS = {
    "nginx": Kind("nginx", NGINX_ENDS_TLS, "X-SSL-Client-Cert"),
    "haproxy, RFC 9440": Kind("haproxy", HAPROXY_ENDS_TLS, "Client-Cert", ":%[ssl_c_der,base64]:"),
    "haproxy": Kind("haproxy", HAPROXY_ENDS_TLS, "X-SSL-Client-DER", "%[ssl_c_der,base64]"),
}
PASSES = {
    "nginx": Kind("nginx", NGINX_PASSES, None),
    "haproxy": Kind("haproxy", HAPROXY_PASSES, None),
}


class Site(NamedTuple):
    server: EstServer
    port: int
    """Of the proxy."""
    folder: Path


@contextmanager
def proxy(found: Program, kind: Kind, server: EstServer, folder: Path) -> Iterator[Site]:
    """The proxy at work before the server."""
    folder.mkdir()
    (folder / "site.pem").write_bytes(b"".join(server.new_identity("proxy")))
    module = Path(found.argv[-1]).parents[1] / "lib/nginx/modules/ngx_stream_module.so"
    if kind.settings is NGINX_PASSES and not module.exists():
        pytest.skip(f"there is no {module}")
    port = ports.reserve()
    settings = folder / "settings"
    settings.write_text(
        kind.settings.format(
            folder=folder,
            port=port,
            behind=server.port,
            address=PROXY,
            ca=server.ca_pem,
            header=kind.header,
            value=kind.value,
            load=f"load_module {module};" if kind.settings is NGINX_PASSES else "",
            user="user root;" if os.geteuid() == 0 else "",
        )
    )
    arguments = ["-f", settings]
    if kind.program == "nginx":
        arguments = ["-p", folder, "-c", settings, "-e", folder / "error.log"]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [*found.argv, *map(str, arguments)],
            env={**os.environ, **found.env},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Site(server, port, folder)
    finally:
        process.terminate()
        process.wait(60)


@asynccontextmanager
async def connect(
    site: Site, identity: tuple[bytes, bytes] | None = None
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the proxy, once that listens."""
    context = ssl.create_default_context(cafile=site.server.ca_pem)
    context.check_hostname = False  # the proxy's certificate has no such name
    if identity:
        (site.folder / "own.pem").write_bytes(b"".join(identity))
        context.load_cert_chain(site.folder / "own.pem")
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                (await asyncio.open_connection("127.0.0.1", site.port))[1].close()
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
    url = f"https://127.0.0.1:{site.port}/.well-known/est/"
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(url, connector=connector) as session:
        yield session


def request_of(subject: str) -> bytes:

    name = x509.Name.from_rfc4514_string(subject)
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    csr = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.encodebytes(csr.public_bytes(Encoding.DER))


async def status(
    session: aiohttp.ClientSession, operation: str, **headers: str
) -> tuple[int, str]:
    headers = {"Content-Type": "application/pkcs10", **headers}
    async with session.post(operation, data=request_of("CN=board-1"), headers=headers) as answer:
        return answer.status, await answer.text()


@pytest.fixture
def site(
    request: pytest.FixtureRequest, tmp_path: Path, program: Callable[[str], Program]
) -> Iterator[Site]:
    """A server behind the proxy that is the parameter."""
    kind: Kind = request.param
    found = program(kind.program)
    config = ServerConfig(
        directory=tmp_path / "ca",
        auth="basic",
        users={USER: PASSWORD},
        behind_proxy=kind.header,
        proxies=[PROXY] if kind.header else [],
    )
    with running_server(config) as server, proxy(found, kind, server, tmp_path / "proxy") as made:
        yield made


LOGIN = {"Authorization": "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}


@pytest.mark.parametrize("site", ENDS_TLS.values(), ids=ENDS_TLS, indirect=True)
async def test_proxy_that_ends_tls(site: Site) -> None:
    server, header = site.server, str(site.server.config.behind_proxy)
    async with connect(site) as session:
        assert (await status(session, "simpleenroll", **LOGIN))[0] == 200
        assert (await status(session, "simpleenroll"))[0] == 401
        assert (await status(session, "simplereenroll"))[0] == 403
    identity = server.new_identity("board-1")
    async with connect(site, identity) as session:
        assert (await status(session, "simplereenroll"))[0] == 200
        assert server.events[-1]["client"] == "CN=board-1"
        server.revoke(x509.load_pem_x509_certificate(identity[0]).serial_number)
        answer = await status(session, "simplereenroll")
        assert answer == (403, "the TLS client certificate is revoked\n")
    # What a client says itself does not count, through the proxy or past it.
    another = x509.load_pem_x509_certificate(server.new_identity("board-1")[0])

    forged = {header: base64.b64encode(another.public_bytes(Encoding.DER)).decode()}
    async with connect(site) as session:
        assert (await status(session, "simplereenroll", **forged))[0] == 403
    async with connect(Site(server, server.port, site.folder)) as session:
        assert (await status(session, "simplereenroll", **forged))[0] == 403
        assert server.events[-1]["client"] is None
    # Nor does a certificate of somebody else's CA, which these proxies let through.
    key = ec.generate_private_key(ec.SECP256R1())
    order = Order(common_name("board-1"), key.public_key())
    certificate = new_ca("strange").sign(order, now() + timedelta(days=1))
    strange = (
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
    async with connect(site, strange) as session:
        code, text = await status(session, "simplereenroll")
        assert (code, "is not trusted" in text) == (403, True)


@pytest.mark.parametrize("site", PASSES.values(), ids=PASSES, indirect=True)
async def test_proxy_that_passes_tls_through(site: Site) -> None:
    async with connect(site) as session:
        assert (await status(session, "simpleenroll", **LOGIN))[0] == 200
    async with connect(site, site.server.new_identity("board-1")) as session:
        assert (await status(session, "simplereenroll"))[0] == 200
        assert site.server.events[-1]["client"] == "CN=board-1"

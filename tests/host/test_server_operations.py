"""The four operations against RFC 7030 and RFC 8951."""

import asyncio
import base64
import ssl
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from server_client import (
    PKCS10,
    body_of,
    certificates,
    connect,
    enroll,
    exchange,
    make_csr,
    names,
    new_key,
    pem_of,
    server_certificate,
    tls_context,
)

from mpest.server import CsrAttrsPolicy, EstServer, ServerConfig


async def test_cacerts_holds_the_chain(tmp_path):
    for length in (1, 2, 4):
        config = ServerConfig(directory=tmp_path / str(length), chain_length=length)
        async with EstServer(config) as server, connect(server) as session:
            async with session.get("cacerts") as answer:
                assert answer.status == 200
                assert answer.headers["Content-Type"] == "application/pkcs7-mime"
                assert answer.headers["Content-Transfer-Encoding"] == "base64"
                found = certificates(await answer.read())
            assert set(found) == set(server.ca_certificates)
            assert len(found) == length
            root = x509.load_pem_x509_certificate(server.ca_pem.read_bytes())
            assert root in found
            assert root.subject == root.issuer


@pytest.mark.parametrize("columns", [0, 64, 76])
async def test_replies_are_wrapped_as_told(tmp_path, columns):
    config = ServerConfig(directory=tmp_path / "ca", wrap=columns)
    async with (
        EstServer(config) as server,
        connect(server) as session,
        session.get("cacerts") as answer,
    ):
        body = await answer.read()
    lines = body.split(b"\r\n")
    if columns:
        assert lines.pop() == b""
        assert max(map(len, lines)) == columns
    else:
        assert len(lines) == 1
        assert b"\n" not in body


async def test_csrattrs_is_204_without_a_policy(server):
    async with connect(server) as session, session.get("csrattrs") as answer:
        assert answer.status == 204
        assert await answer.read() == b""
        assert "Content-Type" not in answer.headers


async def test_csrattrs_follows_the_policy(server):
    server.config.csrattrs = CsrAttrsPolicy()
    async with connect(server) as session, session.get("csrattrs") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/csrattrs"
        assert answer.headers["Content-Transfer-Encoding"] == "base64"
        assert base64.b64decode(await answer.read()) == server.config.csrattrs.to_der()


@pytest.mark.parametrize("length", [1, 2, 4])
async def test_enrolled_certificate(tmp_path, length):
    config = ServerConfig(directory=tmp_path / "ca", chain_length=length)
    key = new_key()
    csr = make_csr("CN=board-1,O=Acme", key=key, extensions=[names("board-1.example")])
    async with EstServer(config) as server, connect(server) as session:
        status, text, headers = await enroll(session, csr)
        chain = server.ca_certificates
    assert status == 200
    assert headers["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"
    assert headers["Content-Transfer-Encoding"] == "base64"
    (leaf,) = certificates(text)
    assert leaf.public_key() == key.public_key()
    assert leaf.subject == csr.subject
    assert 0 < leaf.serial_number < 1 << 159
    extensions = leaf.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    assert extensions.get_extension_for_class(x509.SubjectAlternativeName).value == names(
        "board-1.example"
    )
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    assert [
        oid.dotted_string
        for oid in extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    ] == ["1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"]
    extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    backdated = leaf.not_valid_after_utc - leaf.not_valid_before_utc - config.lifetime
    assert 60 < backdated.total_seconds() <= 600

    files = []
    for name, bag in (("leaf", [leaf]), ("issuing", chain[:-1])):
        files.append(tmp_path / name)
        files[-1].write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in bag))
    untrusted = ["-untrusted", files[1]] if length > 1 else []
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile"]
    subprocess.run([*command, config.directory / "ca.pem", *untrusted, files[0]], check=True)


async def test_requested_usage_is_honoured(server):
    usage = x509.KeyUsage(True, True, False, False, True, False, False, False, False)
    purposes = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH])
    async with connect(server) as session:
        _, text, _ = await enroll(session, make_csr(extensions=[usage, purposes]))
    extensions = certificates(text)[0].extensions
    assert extensions.get_extension_for_class(x509.KeyUsage).value == usage
    assert extensions.get_extension_for_class(x509.ExtendedKeyUsage).value == purposes


@pytest.mark.parametrize("encoding", ["base64", "binary", "8bit", None])
async def test_any_transfer_encoding_is_ignored(server, encoding):
    headers = {"Content-Transfer-Encoding": encoding} if encoding else {}
    async with connect(server) as session:
        status, _, _ = await enroll(session, make_csr(), **headers)
    assert status == 200


@pytest.mark.parametrize("content_type", ["application/pkcs10; a=b", "Application/PKCS10"])
async def test_form_of_the_content_type_is_free(server, content_type):
    async with connect(server) as session:
        status, _, _ = await enroll(session, make_csr(), **{"Content-Type": content_type})
    assert status == 200


async def test_wrong_content_type_is_415(server):
    async with connect(server) as session:
        for content_type in ("application/octet-stream", "application/pkcs7-mime"):
            status, text, _ = await enroll(session, make_csr(), **{"Content-Type": content_type})
            assert status == 415
            assert "application/pkcs10" in text
    request = b"POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    answer = await exchange(server, request + b"Content-Length: 0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 415 ")


async def test_oversize_is_413(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca", max_body=2000)
    async with EstServer(config) as server, connect(server) as session:
        async with session.post("simpleenroll", data=b"A" * 20000, headers=PKCS10) as answer:
            assert answer.status == 413
            assert "2000" in await answer.text()
        assert server.events[-1]["status"] == 413


async def test_wrong_method_is_405(server):
    async with connect(server) as session:
        for method, operation, allowed in (
            ("POST", "cacerts", "GET"),
            ("HEAD", "cacerts", "GET"),
            ("PUT", "csrattrs", "GET"),
            ("GET", "simpleenroll", "POST"),
            ("GET", "simplereenroll", "POST"),
        ):
            async with session.request(method, operation) as answer:
                assert answer.status == 405
                assert answer.headers["Allow"] == allowed


async def test_unknown_paths_are_404(server):
    async with connect(server) as session:
        for path in ("nothing", "cacerts/", "label/cacerts", "", "/", "/cacerts", "getcrl"):
            async with session.get(path) as answer:
                assert answer.status == 404, path
                assert answer.content_type == "text/plain"


async def test_label(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca", label="ca:7")
    async with EstServer(config) as server, connect(server) as session:
        assert server.url.endswith("/.well-known/est/ca:7")
        assert (await enroll(session, make_csr()))[0] == 200
        for path in ("cacerts", "other/cacerts"):
            async with session.get(f"/.well-known/est/{path}") as answer:
                assert answer.status == 404


async def test_missing_host_is_400(server):
    answer = await exchange(
        server, b"GET /.well-known/est/cacerts HTTP/1.1\r\nConnection: close\r\n\r\n"
    )
    assert b" 400 " in answer.splitlines()[0]


async def test_one_connection_serves_an_enrolment(server):
    async with connect(server) as session:
        for operation in ("cacerts", "csrattrs"):
            async with session.get(operation) as answer:
                await answer.read()
        await enroll(session, make_csr())
    assert server.handshakes == 1
    assert [event["path"].rpartition("/")[2] for event in server.events] == [
        "cacerts",
        "csrattrs",
        "simpleenroll",
    ]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
async def test_tls_versions(tmp_path, version):
    config = ServerConfig(directory=tmp_path / "ca", tls_max=version)
    async with EstServer(config) as server, connect(server) as session:
        async with session.get("cacerts") as answer:
            await answer.read()
        assert server.events[-1]["tls"] == f"TLSv{version}"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_tls_1_1_is_refused(server):
    context = tls_context(server)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", server.port, ssl=context)


async def test_server_certificate_names_and_cmc_ra(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca", host="localhost", cmc_ra=True)
    async with EstServer(config) as server:
        assert server.origin.startswith("https://localhost:")
        leaf = await server_certificate(server)
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {oid.dotted_string for oid in purposes} == {"1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.28"}
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == ["localhost"]
    assert {str(ip) for ip in san.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}


async def _identity(server, subject="CN=board-1", extensions=()):
    key = new_key()
    csr = make_csr(subject, key=key, extensions=extensions)
    async with connect(server) as session:
        _, text, _ = await enroll(session, csr)
    return certificates(text)[0].public_bytes(Encoding.PEM), pem_of(key)


async def test_reenroll_with_the_same_and_a_new_key(server):
    identity = await _identity(server, extensions=[names("a.example", "b.example")])
    async with connect(server, identity) as session:
        for key in (None, new_key()):
            csr = make_csr(key=key, extensions=[names("b.example", "a.example")])
            status, text, headers = await enroll(session, csr, "simplereenroll")
            assert status == 200, text
            assert headers["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"
            assert certificates(text)[0].public_key() == csr.public_key()
    assert server.events[-1]["client"] == "CN=board-1"


@pytest.mark.parametrize(
    ("subject", "extensions", "part"),
    [
        ("CN=board-2", [names("a.example")], "Subject"),
        ("CN=board-1", [], "SubjectAltName"),
        ("CN=board-1", [names("a.example", "b.example")], "SubjectAltName"),
    ],
)
async def test_reenroll_demands_the_same_names(server, subject, extensions, part):
    identity = await _identity(server, extensions=[names("a.example")])
    async with connect(server, identity) as session:
        csr = make_csr(subject, extensions=extensions)
        status, text, _ = await enroll(session, csr, "simplereenroll")
    assert status == 400
    assert part in text


async def test_reenroll_demands_a_certificate(server):
    async with connect(server) as session:
        status, text, _ = await enroll(session, make_csr(), "simplereenroll")
    assert status == 403
    assert "certificate" in text


async def test_keys_allowed(server):
    async with connect(server) as session:
        csr = make_csr(key=ec.generate_private_key(ec.SECP384R1()))
        status, text, _ = await enroll(session, csr)
        assert status == 200
        assert certificates(text)[0].public_key() == csr.public_key()


async def test_body_without_line_ends_and_with_odd_ones(server):
    text = base64.b64encode(make_csr().public_bytes(Encoding.DER))
    odd = b" \t\r\n".join(text[i : i + 7] for i in range(0, len(text), 7)) + b"\n\n"
    async with connect(server) as session:
        for body in (text, odd, body_of(make_csr())):
            async with session.post("simpleenroll", data=body, headers=PKCS10) as answer:
                assert answer.status == 200

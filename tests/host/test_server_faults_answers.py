"""Every fault of an answer does what its description says."""

import asyncio
import base64
import subprocess
import time

import aiohttp
import pytest
from fault_tests import fault, raw
from server_client import (
    certificates,
    connect,
    digest_answer,
    enroll,
    exchange,
    get,
    make_csr,
    tls_context,
)

from mpest.server import CsrAttrsPolicy

PATH = "/.well-known/est/simpleenroll"


@fault("http-204")
async def test_nothing_to_say(server, name):
    server.config.csrattrs = CsrAttrsPolicy()
    async with connect(server) as session, session.get("csrattrs") as answer:
        assert answer.status == 204
        assert await answer.read() == b""


@fault("http-403", "http-404", "http-405", "http-500", "http-503")
async def test_status(server, name):
    async with connect(server) as session:
        for operation in ("cacerts", "csrattrs"):
            async with session.get(operation) as answer:
                assert answer.status == int(name[-3:])
                assert ("Retry-After" in answer.headers) == (name == "http-503")
        assert (await enroll(session, make_csr()))[0] == int(name[-3:])
        assert server.events[-1]["status"] == int(name[-3:])
    assert server.issued() == []


@fault("401-forever", "401-wrong-scheme")
async def test_401(server, name):
    for server.config.auth, scheme in (("none", "Basic"), ("digest", "Digest")):
        async with connect(server) as session:
            status, _, headers = await enroll(session, make_csr(), Authorization="Basic YTpi")
        assert status == 401
        found = headers["WWW-Authenticate"]
        assert found.startswith("Negotiate" if name == "401-wrong-scheme" else scheme)


@fault("redirect-same-origin")
async def test_redirect_that_works(server, name):
    async with connect(server) as session:
        async with session.get("cacerts", allow_redirects=False) as answer:
            assert answer.status == 302
            target = answer.headers["Location"]
            assert target.startswith("/")
        async with session.get(server.origin + target, allow_redirects=False) as answer:
            assert set(certificates(await answer.read())) == set(server.ca_certificates)


@fault("redirect-elsewhere")
async def test_redirect_to_another_host(server, name):
    async with connect(server) as session:
        async with session.get("cacerts", allow_redirects=False) as answer:
            target = answer.headers["Location"]
        assert target.startswith(f"https://localhost:{server.port}/")
        async with session.get(target, allow_redirects=False) as answer:
            assert answer.status == 200
    assert server.events[-1]["path"].startswith("/detour/")


@fault("redirect-http")
async def test_redirect_to_plain_http(server, name):
    head, _ = await raw(server)
    assert "Location: http://localhost/" in head


@fault("redirect-relative")
async def test_redirect_to_a_relative_path(server, name):
    async with connect(server) as session, session.get("cacerts") as answer:
        assert answer.status == 200
        assert set(certificates(await answer.read())) == set(server.ca_certificates)
    paths = [event["path"] for event in server.events if "path" in event]
    assert paths[-1].startswith("/detour/")


@fault("web-page")
async def test_web_page(server, name):
    head, body = await raw(server)
    assert "200 OK" in head
    assert "Content-Type: text/html" in head
    assert body.startswith(b"<!doctype")


@fault("no-challenge")
async def test_401_without_a_challenge(server, name):
    server.config.auth = "basic"
    async with connect(server) as session:
        status, _, headers = await enroll(session, make_csr())
    assert status == 401
    assert "WWW-Authenticate" not in headers


@fault("old-content-type")
async def test_old_content_type(server, name):
    head, body = await raw(server)
    assert "Content-Type: application/x-pkcs7-mime" in head
    assert certificates(body)


@fault("no-content-type")
async def test_no_content_type(server, name):
    head, body = await raw(server)
    assert "Content-Type" not in head
    assert certificates(body)


@fault("odd-headers")
async def test_odd_headers(server, name):
    answer = await exchange(server, get("cacerts"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 tr\xe8s bien\r\n")
    assert b"\r\nCONTENT-length :\r\n\t%d, %d\r\n" % (len(body), len(body)) in head
    assert certificates(body)


@fault("octets-after", "unasked-408")
async def test_octets_after_the_answer(server, name):
    head, body = await raw(server)
    assert "Connection" not in head
    length = int(head.partition("Content-Length: ")[2].split()[0])
    assert certificates(body[:length])
    after = b"HTTP/1.1 408" if name == "unasked-408" else b"Authentication"
    assert body[length:].startswith(after)


@fault("redirect-loop")
async def test_redirect_in_a_circle(server, name):
    async with connect(server) as session:
        with pytest.raises(aiohttp.TooManyRedirects):
            await session.get("cacerts")


@fault("garbage-status-line")
async def test_garbage(server, name):
    assert not (await exchange(server, get("cacerts"))).startswith(b"HTTP/")


@fault("cut-connection")
async def test_cut_in_the_headers(server, name):
    answer = await exchange(server, get("cacerts"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"\r\n\r\n" not in answer


@fault("cut-after-headers", "truncated-body")
async def test_body_shorter_than_promised(server, name):
    head, body = await raw(server)
    promised = int(head.partition("Content-Length: ")[2].split()[0])
    assert len(body) == (0 if name == "cut-after-headers" else promised // 2)
    assert promised > 100


@fault("no-content-length")
async def test_body_ended_by_closing(server, name):
    head, body = await raw(server)
    assert "Content-Length" not in head
    assert "Transfer-Encoding: chunked" not in head
    assert certificates(body)


@fault("http10")
async def test_http_1_0(server, name):
    head, body = await raw(server)
    assert head.startswith("HTTP/1.0 200 OK")
    assert certificates(body)


@fault("chunked")
async def test_chunked(server, name):
    head, _ = await raw(server)
    assert "Transfer-Encoding: chunked" in head
    async with connect(server) as session:
        assert (await enroll(session, make_csr()))[0] == 200


@fault("close")
async def test_close(server, name):
    async with connect(server) as session:
        for _ in range(2):
            async with session.get("cacerts") as answer:
                assert answer.headers["Connection"] == "close"
    assert server.handshakes == 2


@fault("slow-drip")
async def test_drip(server, name):
    server.config.drip_interval = 0.02
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", server.port, ssl=tls_context(server)
    )
    start = time.monotonic()
    writer.write(get("cacerts"))
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(5)
    assert time.monotonic() - start > 0.06
    writer.close()


@fault("late")
async def test_late(server, name):
    server.config.drip_interval = 0.1
    start = time.monotonic()
    _, body = await raw(server)
    assert certificates(body)
    assert time.monotonic() - start > 0.1


@fault("giant-header", "many-headers")
async def test_headers(server, name):
    head, body = await raw(server)
    assert len(head.splitlines()) > 500 or len(head) > 65536
    assert certificates(body)


@fault("bad-base64")
async def test_bad_base64(server, name):
    _, body = await raw(server)
    with pytest.raises(ValueError):
        base64.b64decode(body.replace(b"\r\n", b""), validate=True)


@fault("raw-der")
async def test_raw_der(server, name):
    head, body = await raw(server)
    assert "Content-Transfer-Encoding: binary" in head
    assert certificates(base64.b64encode(body))


@fault("ber-body")
async def test_ber(server, name):
    _, body = await raw(server)
    message = base64.b64decode(body)
    assert message[:2] == b"\x30\x80"
    command = ["openssl", "pkcs7", "-inform", "DER", "-print_certs"]
    done = subprocess.run(command, input=message, capture_output=True, check=True)
    assert done.stdout.count(b"BEGIN CERTIFICATE") == 1


@fault("pem-body")
async def test_pem(server, name):
    _, body = await raw(server)
    assert body.startswith(b"-----BEGIN PKCS7-----\n")
    assert certificates(b"".join(body.splitlines()[1:-1]))


@fault("empty-body")
async def test_empty(server, name):
    head, body = await raw(server)
    assert "200 OK" in head
    assert body == b""


@fault("huge-body")
async def test_huge(server, name):
    _, body = await raw(server)
    assert len(body) == 4 * 1024 * 1024


@fault("wrong-content-type")
async def test_content_type(server, name):
    head, _ = await raw(server)
    assert "Content-Type: text/html" in head


@fault("http-201")
async def test_201(server, name):
    csr = make_csr()
    async with connect(server) as session:
        status, text, _ = await enroll(session, csr)
    assert status == 201
    assert certificates(text)[0].public_key() == csr.public_key()


@fault("no-retry-after")
async def test_202_without_retry_after(server, name):
    server.config.approve_after = 60
    async with connect(server) as session:
        status, _, headers = await enroll(session, make_csr())
    assert status == 202
    assert "Retry-After" not in headers


@fault("digest-no-qop")
async def test_digest_without_qop(server, name):
    server.config.auth = "digest"
    server.add_user("ann", "pw")
    async with connect(server) as session:
        offer = (await enroll(session, make_csr()))[2]["WWW-Authenticate"]
        assert "qop" not in offer
        answer = digest_answer(offer, "ann", "pw", uri=PATH)
        assert (await enroll(session, make_csr(), Authorization=answer))[0] == 200
        answer = digest_answer(offer, "ann", "wrong", uri=PATH)
        assert (await enroll(session, make_csr(), Authorization=answer))[0] == 401


@fault("digest-unknown-algorithm")
async def test_digest_with_an_unknown_algorithm(server, name):
    server.config.auth = "digest"
    server.add_user("ann", "pw")
    async with connect(server) as session:
        offers = (await enroll(session, make_csr()))[2].getall("WWW-Authenticate")
        assert len(offers) == 1
        assert "SHA" not in offers[0]
        for algorithm in ("MD5", "WHIRLPOOL"):
            answer = digest_answer(offers[0], "ann", "pw", uri=PATH, algorithm=algorithm)
            assert (await enroll(session, make_csr(), Authorization=answer))[0] == 401


async def test_body_faults_spare_refusals(server):
    server.config.auth = "mtls"
    server.config.faults = {"empty-body", "http-201", "wrong-content-type"}
    async with connect(server) as session:
        status, text, headers = await enroll(session, make_csr())
    assert status == 403
    assert text == "a TLS client certificate of this CA is required\n"
    assert headers["Content-Type"].startswith("text/plain")

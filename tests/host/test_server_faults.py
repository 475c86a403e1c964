"""Every fault does what its description says."""

import asyncio
import base64
import email
import ssl
import subprocess
import time

import aiohttp
import cmc_client
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    load_der_private_key,
    pkcs7,
)
from pyasn1.error import PyAsn1Error
from pyasn1_modules import rfc6402
from pydantic import ValidationError
from server_client import (
    body_of,
    certificates,
    connect,
    digest_answer,
    enroll,
    exchange,
    get,
    make_csr,
    server_certificate,
    tls_context,
)

from mpest.server import CsrAttrsPolicy, EstServer, ServerConfig
from mpest.server.ca import now
from mpest.server.faults import DESCRIPTIONS

PATH = "/.well-known/est/simpleenroll"
TESTED = set()


def fault(*names):
    TESTED.update(names)
    return pytest.mark.parametrize("name", names)


@pytest.fixture
async def server(tmp_path, request):
    async with EstServer(ServerConfig(directory=tmp_path / "ca")) as running:
        if "name" in request.fixturenames:
            running.config.faults = {request.getfixturevalue("name")}
        yield running


async def raw(server):
    head, _, body = (await exchange(server, get("cacerts"))).partition(b"\r\n\r\n")
    return head.decode(), body


async def issued(server, csr):
    async with connect(server) as session:
        status, text, _ = await enroll(session, csr)
    assert status == 200
    return certificates(text)


@fault("http-204")
async def test_nothing_to_say(server, name):
    server.config.csrattrs = CsrAttrsPolicy()
    async with connect(server) as session, session.get("csrattrs") as answer:
        assert answer.status == 204
        assert await answer.read() == b""


@fault(
    "csrattrs-empty",
    "csrattrs-malformed",
    "csrattrs-wrong-type",
    "csrattrs-unknown",
    "csrattrs-junk-template",
)
async def test_attributes(server, name):
    """openssl reads what is DER; the default policy names three OIDs."""
    answers = []
    for server.config.csrattrs in (None, CsrAttrsPolicy(), CsrAttrsPolicy(oids=["1.2.3"] * 300)):
        async with connect(server) as session, session.get("csrattrs") as answer:
            assert answer.status == 200
            answers.append(base64.b64decode(await answer.read()))
    done = subprocess.run(
        ["openssl", "asn1parse", "-inform", "DER", "-i"],
        input=answers[1],
        capture_output=True,
    )
    assert (done.returncode != 0) == (name in ("csrattrs-malformed", "csrattrs-junk-template"))
    found = done.stdout.decode()
    words = {
        "csrattrs-empty": "SEQUENCE",
        "csrattrs-malformed": "Error in encoding",
        "csrattrs-wrong-type": "INTEGER           :05",
        "csrattrs-unknown": "ecdsa-with-SHA256",
        "csrattrs-junk-template": "1.2.840.113549.1.9.16.2.61",
    }
    assert words[name] in found
    asked = name in ("csrattrs-unknown", "csrattrs-junk-template")
    assert ("prime256v1" in found) == asked
    assert (len(answers[2]) > 500) == (asked or name == "csrattrs-malformed")


@fault("http-404", "http-500", "http-503")
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
    writer.write(get("cacerts"))
    await reader.readuntil(b"\r\n\r\n")
    start = time.monotonic()
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


@fault("wrong-key")
async def test_wrong_key(server, name):
    csr = make_csr()
    (leaf,) = await issued(server, csr)
    assert leaf.public_key() != csr.public_key()
    assert leaf.subject == csr.subject
    leaf.verify_directly_issued_by(server.ca_certificates[0])


@fault("wrong-ca")
async def test_wrong_ca(server, name):
    csr = make_csr()
    (leaf,) = await issued(server, csr)
    assert leaf.public_key() == csr.public_key()
    with pytest.raises((ValueError, InvalidSignature)):
        leaf.verify_directly_issued_by(server.ca_certificates[0])


@fault("expired-cert")
async def test_expired(server, name):
    (leaf,) = await issued(server, make_csr())
    assert leaf.not_valid_before_utc < leaf.not_valid_after_utc < now()
    leaf.verify_directly_issued_by(server.ca_certificates[0])


@fault("ca-cert-instead")
async def test_ca_instead(server, name):
    assert await issued(server, make_csr()) == server.ca_certificates


@fault("no-certs")
async def test_no_certificates(server, name):
    async with connect(server) as session:
        status, text, _ = await enroll(session, make_csr())
    assert status == 200
    assert len(base64.b64decode(text)) < 60


@pytest.mark.filterwarnings("ignore:PKCS#7 certificates could not")
@fault("extra-certs")
async def test_strangers_come_first(server, name):
    csr = make_csr()
    bag = await issued(server, csr)
    assert [one.public_key() == csr.public_key() for one in bag] == [False, False, True]


@pytest.mark.filterwarnings("ignore:PKCS#7 certificates could not")
@fault("reverse-order")
async def test_root_comes_first(server, name):
    csr = make_csr()
    bag = await issued(server, csr)
    assert bag[0] == server.ca_certificates[-1]
    assert bag[-1].public_key() == csr.public_key()


async def added_roots(server):
    """(new root, whether the old root signed it, whether it signed the old one) in /cacerts."""
    _, body = await raw(server)
    (old,), found = server.ca_certificates, certificates(body)
    links = [one for one in found if one.issuer == one.subject and one != old]
    signed = {one: [root for root in (old, *links) if _signed(root, one)] for one in links}
    (new,) = [one for one in links if one in signed[one] and one.public_key() != old.public_key()]
    forward = [one for one in links if one.public_key() == new.public_key() and one != new]
    back = [one for one in links if one.public_key() == old.public_key() and new in signed[one]]
    return new, [one for one in forward if old in signed[one]], back


def _signed(issuer, certificate):
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


@pytest.mark.filterwarnings("ignore:PKCS#7 certificates could not")
@fault("rollover-forged", "rollover-one-way", "rollover-link-expired", "rollover-unrelated")
async def test_rollovers_that_prove_nothing(server, name):
    _, forward, back = await added_roots(server)
    valid = [one for one in forward if one.not_valid_after_utc > now()]
    assert bool(forward) == (name in ("rollover-one-way", "rollover-link-expired"))
    assert bool(valid) == (name == "rollover-one-way")
    assert bool(back) == (name in ("rollover-forged", "rollover-link-expired"))


@pytest.mark.filterwarnings("ignore:PKCS#7 certificates could not")
@fault("rollover-old-expired")
async def test_rollover_after_the_end_of_the_root(server, name):
    _, forward, back = await added_roots(server)
    assert forward and back
    _, body = await raw(server)
    (old,) = server.ca_certificates
    shown = [one for one in certificates(body) if _signed(old, one) and _signed(one, one)]
    assert [one.not_valid_after_utc < now() for one in shown] == [True]


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


@fault(
    "tls-wrong-ca",
    "tls-wrong-name",
    "tls-expired",
    "tls-not-yet-valid",
    "tls-self-signed",
    "tls-client-only",
)
async def test_tls_fault_stops_the_handshake(server, name):
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        await exchange(server, get("cacerts"))
    words = {
        "tls-wrong-ca": "local issuer",
        "tls-wrong-name": "IP address mismatch",
        "tls-expired": "expired",
        "tls-not-yet-valid": "not yet valid",
        "tls-self-signed": "self-signed",
        "tls-client-only": "purpose",
    }
    assert words[name] in str(caught.value)
    assert server.events == []
    server.config.faults = set()
    assert (await raw(server))[0].startswith("HTTP/1.1 200")


async def test_wrong_name_may_still_be_a_cmc_ra(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca", cmc_ra=True, faults={"tls-wrong-name"})
    async with EstServer(config) as server:
        leaf = await server_certificate(server)
    extensions = leaf.extensions
    san = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == ["elsewhere.example"]
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert "1.3.6.1.5.5.7.3.28" in {oid.dotted_string for oid in purposes}


async def test_fault_for_one_operation(server):
    server.config.faults = {"http-500@simpleenroll"}
    async with connect(server) as session:
        async with session.get("cacerts") as answer:
            assert answer.status == 200
        assert (await enroll(session, make_csr()))[0] == 500


async def test_fault_for_some_requests(server):
    server.config.faults = {"http-503"}
    server.config.fault_times = 2
    async with connect(server) as session:
        statuses = [(await enroll(session, make_csr()))[0] for _ in range(4)]
    assert statuses == [503, 503, 200, 200]


async def test_body_faults_spare_refusals(server):
    server.config.auth = "basic"
    server.config.faults = {"empty-body", "raw-der", "wrong-content-type"}
    async with connect(server) as session:
        status, text, headers = await enroll(session, make_csr())
    assert status == 401
    assert text == "authentication is required\n"
    assert headers["Content-Type"].startswith("text/plain")


@fault("cmc-wrong-signature", "cmc-unknown-signer", "cmc-unsigned")
async def test_cmc_that_does_not_verify(server, tmp_path, name):
    client = cmc_client.Client(server, tmp_path)
    message = cmc_client.sign(tmp_path, client.revoke(), client.identity)
    status, answer = await client.post(message)
    assert status == 200
    with pytest.raises(subprocess.CalledProcessError) as raised:
        cmc_client.verify(tmp_path, answer, server.ca_pem)
    words = {
        "cmc-wrong-signature": b"verification failure",
        "cmc-unknown-signer": b"certificate verify error",
        "cmc-unsigned": b"no signers",
    }
    assert words[name] in raised.value.stderr
    assert cmc_client.states(cmc_client.content_of(answer)[1]) == [(0, [3], "revoked", None, None)]


@fault("cmc-simple")
async def test_cmc_of_certificates_alone(server, tmp_path, name):
    client = cmc_client.Client(server, tmp_path)
    csr = make_csr("CN=board-1")
    data = cmc_client.pki_data((), [csr.public_bytes(Encoding.DER)])
    message = cmc_client.sign(tmp_path, data, client.identity)
    async with (
        connect(server) as session,
        session.post("fullcmc", data=base64.b64encode(message), headers=cmc_client.TYPE) as answer,
    ):
        wanted = "application/pkcs7-mime; smime-type=certs-only"
        assert (answer.status, answer.headers["Content-Type"]) == (200, wanted)
        found = certificates(await answer.read())
    assert csr.public_key() in [one.public_key() for one in found]


@fault("cmc-unauthorised-signer")
async def test_cmc_by_another_board(server, tmp_path, name):
    client = cmc_client.Client(server, tmp_path)
    message = cmc_client.sign(tmp_path, client.revoke(), client.identity)
    _, answer = await client.post(message)
    cmc_client.verify(tmp_path, answer, server.ca_pem)
    signer = cmc_client.content_of(answer)[2]
    assert "CN=another board" in [one.subject.rfc4514_string() for one in signer]


@fault(
    "cmc-wrong-nonce",
    "cmc-no-nonce",
    "cmc-wrong-transaction",
    "cmc-malformed",
    "cmc-no-status",
    "cmc-failed",
    "cmc-pending",
)
async def test_cmc_that_says_something_else(server, tmp_path, name):
    client = cmc_client.Client(server, tmp_path)
    status, content = await client.ask(client.revoke())
    assert status == (400 if name == "cmc-failed" else 200)
    if name == "cmc-malformed":
        with pytest.raises(PyAsn1Error):
            cmc_client.read(content)
        return
    controls = cmc_client.read(content)
    nonce = controls.get(rfc6402.id_cmc_recipientNonce)
    sent = [b"\x04\x100123456789abcdef"]
    expected = {"cmc-wrong-nonce": [b"\x04\x10" + bytes(16)], "cmc-no-nonce": None}
    assert nonce == expected.get(name, sent)
    transaction = controls[rfc6402.id_cmc_transactionId]
    assert (transaction == [b"\x02\x01\x07"]) == (name != "cmc-wrong-transaction")
    if name == "cmc-no-status":
        assert rfc6402.id_cmc_statusInfoV2 not in controls
        return
    ((state, _, _, failure, until),) = cmc_client.states(content)
    expected = {"cmc-failed": (2, 2, False), "cmc-pending": (3, None, True)}
    assert (state, failure, bool(until)) == expected.get(name, (0, None, False))


async def generated(server):
    """(headers, body) of an answer of /serverkeygen."""
    body = body_of(make_csr())
    head = (
        "POST /.well-known/est/serverkeygen HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/pkcs10\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    answer = await exchange(server, head.encode() + body)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head.partition(b"\r\n")[0]
    return email.message_from_bytes(head.partition(b"\r\n")[2] + b"\r\n\r\n"), body


def parts_of(headers, body):
    """As Python's own parser reads them: [(type, what it holds or None)]."""
    parts = email.message_from_bytes(headers.as_bytes() + body).get_payload()
    assert isinstance(parts, list)
    found = []
    for part in parts:
        kind, content = part.get_content_type(), part.get_payload(decode=True)
        try:
            load = {"application/pkcs8": load_private, "application/pkcs7-mime": load_certificates}
            found.append((kind, load[kind](content)))
        except (KeyError, ValueError):
            found.append((kind, None))
    return found


def load_private(der):
    return load_der_private_key(der, None).public_key().public_numbers()


def load_certificates(der):
    return pkcs7.load_der_pkcs7_certificates(der)[0].public_key().public_numbers()


KEY, CERTS, TEXT = "application/pkcs8", "application/pkcs7-mime", "text/plain"


@fault(
    "no-key",
    "no-certificate",
    "two-keys",
    "certificate-first",
    "broken-key",
    "key-as-text",
    "preamble",
)
async def test_parts(server, name):
    found = parts_of(*await generated(server))
    expected = {
        "no-key": [CERTS],
        "no-certificate": [KEY],
        "two-keys": [KEY, KEY, CERTS],
        "certificate-first": [CERTS, KEY],
        "key-as-text": [TEXT, CERTS],
        "preamble": [TEXT, KEY, CERTS],
    }
    assert [kind for kind, _ in found] == expected.get(name, [KEY, CERTS])
    assert len({public for _, public in found if public}) == 1
    broken = [kind for kind, public in found if public is None]
    assert broken == {"broken-key": [KEY], "key-as-text": [TEXT], "preamble": [TEXT]}.get(name, [])


@fault("wrong-boundary", "truncated-parts", "short-length")
async def test_parts_that_do_not_end(server, name):
    headers, body = await generated(server)
    boundary = headers.get_param("boundary")
    assert body.startswith(b"--" + boundary.encode()) == (name != "wrong-boundary")
    assert body.endswith(b"--\r\n") == (name != "truncated-parts")
    length = int(headers["Content-Length"])
    assert (length < len(body)) == (name == "short-length")
    if name == "short-length":
        ends = body.count(b"\r\n--" + boundary.encode())
        assert ends == 2
        assert len(parts_of(headers, body)) == 2
        assert len(parts_of(headers, body[:length])) == 2
        assert not body[:length].endswith(b"--\r\n")


async def test_part_faults_spare_other_operations(server):
    for name in ("wrong-boundary", "truncated-parts", "preamble", "short-length"):
        server.config.faults = {name}
        _, body = await raw(server)
        assert certificates(body)


def test_unknown_faults_are_refused(tmp_path):
    config = ServerConfig(directory=tmp_path)
    for spec in ("nonsense", "close@lunch", "tls-expired@cacerts"):
        with pytest.raises(ValidationError):
            config.faults = {spec}


def test_every_fault_is_tested():
    assert set(DESCRIPTIONS) == TESTED

"""Every fault of csrattrs, serverkeygen and CMC does what its description says."""

import base64
import email
import subprocess

import cmc_client
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key, pkcs7
from fault_tests import fault, raw
from pyasn1.error import PyAsn1Error
from pyasn1_modules import rfc6402
from server_client import body_of, certificates, connect, exchange, make_csr

from mpest.server import CsrAttrsPolicy


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

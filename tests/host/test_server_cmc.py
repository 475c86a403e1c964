"""/fullcmc of the server, asked by openssl and pyasn1-modules: revocation, issuance, refusals."""

import base64
import sqlite3
import subprocess
from datetime import UTC, datetime, timedelta

import cmc_client
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pyasn1.codec.ber import decoder as ber_decoder
from pyasn1.codec.der import encoder
from pyasn1.type import univ
from pyasn1_modules import rfc5652, rfc6402
from pydantic import ValidationError
from server_client import certificates, connect, enroll, make_csr, names, new_key

from mpest.server import EstServer, ServerConfig
from mpest.server.ca import now

FAILED, PENDING = 2, 3
BAD_MESSAGE_CHECK, BAD_REQUEST, BAD_CERT_ID, BAD_IDENTITY = 1, 2, 4, 7


@pytest.fixture
def client(server, tmp_path):
    return cmc_client.Client(server, tmp_path)


def crl(server):
    pem = (server.config.directory / "crl.pem").read_bytes()
    return x509.load_pem_x509_crl(pem)


@pytest.mark.parametrize("signer", ["ca", "ra"])
@pytest.mark.parametrize(
    "options", [(), ("-keyid",), ("-md", "sha512"), ("-stream",), ("-stream", "-keyid")]
)
async def test_revocation(client, signer, options):
    client.server.config.cmc_signer = signer
    since = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    status, content = await client.ask(client.revoke(since=since), *options)
    assert status == 200
    assert cmc_client.states(content) == [(0, [3], "revoked", None, None)]
    controls = cmc_client.read(content)
    assert controls[rfc6402.id_cmc_transactionId] == [encoder.encode(univ.Integer(7))]
    nonce = encoder.encode(univ.OctetString(b"0123456789abcdef"))
    assert controls[rfc6402.id_cmc_recipientNonce] == [nonce]
    assert controls[rfc6402.id_cmc_senderNonce] != [nonce]
    (entry,) = crl(client.server)
    assert entry.serial_number == client.certificate.serial_number
    reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    assert reason == x509.ReasonFlags.key_compromise
    lost = entry.extensions.get_extension_for_class(x509.InvalidityDate).value
    assert lost.invalidity_date_utc == since
    # Once more is answered alike and changes nothing.
    again = client.revoke(reason=4)
    assert cmc_client.states((await client.ask(again))[1]) == [(0, [3], "revoked", None, None)]
    assert [list(one.extensions) for one in crl(client.server)] == [list(entry.extensions)]
    (row,) = client.server.issued()
    assert row.revoked is not None


async def test_revoked_is_refused_everywhere(client):
    await client.ask(client.revoke())
    async with connect(client.server, client.identity) as session:
        for operation in ("cacerts", "csrattrs"):
            async with session.get(operation) as answer:
                assert answer.status == 403
                assert "is revoked" in await answer.text()
        for operation in ("simpleenroll", "simplereenroll"):
            status, text, _ = await enroll(session, make_csr("CN=board-1"), operation)
            assert (status, text) == (403, "the TLS client certificate is revoked\n")
    csr = make_csr("CN=board-1").public_bytes(Encoding.DER)
    for data in (
        cmc_client.pki_data((), [csr]),
        cmc_client.pki_data(
            [cmc_client.revoke_request(client.certificate.issuer, 1 + 2)],
        ),
    ):
        assert await client.failure(data) == (BAD_IDENTITY, 403)
    assert len(client.server.issued()) == 1


async def test_revoked_in_tls_cannot_speak_for_another(client, tmp_path):
    other = cmc_client.Client(client.server, tmp_path)
    client.server.revoke(other.certificate.serial_number)
    message = cmc_client.sign(tmp_path, client.revoke(), client.identity)
    status, answer = await client.post(message, other.identity)
    content = cmc_client.verify(tmp_path, answer, client.server.ca_pem)
    ((state, _, text, failure, _),) = cmc_client.states(content)
    assert (status, state, failure) == (403, FAILED, BAD_IDENTITY)
    assert text == "the TLS client certificate is revoked"
    assert (await client.post(message, client.identity))[0] == 200


async def test_crl_by_http_and_openssl(client, tmp_path):
    server = client.server
    assert list(crl(server)) == []
    serials = []
    for name in ("one", "two"):
        pem, _ = server.new_identity(name)
        serials.append(x509.load_pem_x509_certificate(pem).serial_number)
        server.revoke(serials[-1])
    async with (
        connect(server) as session,
        session.get(f"{server.origin}/crl") as answer,
    ):
        assert (answer.status, answer.content_type) == (200, "application/pkix-crl")
        found = x509.load_der_x509_crl(await answer.read())
    assert sorted(one.serial_number for one in found) == sorted(serials)
    issuer = server.ca_certificates[0]
    assert found.is_signature_valid(issuer.public_key())
    assert found.issuer == issuer.subject
    assert now() < found.next_update_utc < now() + timedelta(days=8)
    assert found == crl(server)
    with pytest.raises(KeyError):
        server.revoke(1)


async def test_certificates_say_where_the_crl_is(client):
    for url in (None, "http://ca.example/crl"):
        client.server.config.crl_url = url
        async with connect(client.server) as session:
            _, text, _ = await enroll(session, make_csr())
        kinds = [type(one.value) for one in certificates(text)[0].extensions]
        assert (x509.CRLDistributionPoints in kinds) == bool(url)
    points = certificates(text)[0].extensions.get_extension_for_class(x509.CRLDistributionPoints)
    ((name,),) = [one.full_name for one in points.value]
    assert name.value == url
    with pytest.raises(ValidationError):
        client.server.config.crl_url = "ldap://ca.example"


async def test_crl_of_an_intermediate(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca", chain_length=2)
    async with EstServer(config) as server:
        client = cmc_client.Client(server, tmp_path)
        status, content = await client.ask(client.revoke())
        assert (status, cmc_client.states(content)[0][0]) == (200, 0)
        ca = config.directory
        command = ["openssl", "verify", "-crl_check", "-CAfile", ca / "ca.pem", "-untrusted"]
        command += [ca / "issuing.pem", "-CRLfile", ca / "crl.pem", tmp_path / "cert"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode
        assert "certificate revoked" in done.stderr


async def test_answer_of_an_rsa_ca(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca", root_key="RSA-4096")
    async with EstServer(config) as server:
        client = cmc_client.Client(server, tmp_path)
        status, content = await client.ask(client.revoke())
        assert (status, cmc_client.states(content)[0][0]) == (200, 0)
        assert len(list(crl(server))) == 1


async def test_database_of_an_older_server_gets_its_reasons(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca")
    async with EstServer(config) as server:
        client = cmc_client.Client(server, tmp_path)
    with sqlite3.connect(config.directory / "est.db") as database:
        database.execute("drop table revocation")
        database.execute("update issued set revoked = 1000000000")
    async with EstServer(config) as server:
        assert [one.serial_number for one in crl(server)] == [client.certificate.serial_number]


@pytest.mark.parametrize("auth", ["none", "mtls", "basic"])
async def test_certification_request(client, auth):
    client.server.config.auth = auth
    key = new_key()
    csr = make_csr("CN=board-1", key=key).public_bytes(Encoding.DER)
    message = cmc_client.sign(client.folder, cmc_client.pki_data((), [csr]), client.identity)
    status, answer = await client.post(message)
    assert status == 200
    content = cmc_client.verify(client.folder, answer, client.server.ca_pem)
    assert cmc_client.states(content) == [(0, [3], "", None, None)]
    found = cmc_client.content_of(answer)[2]
    (issued,) = [one for one in found if one.public_key() == key.public_key()]
    assert issued.subject == client.certificate.subject
    assert len(client.server.issued()) == 2
    # Where a certificate alone enrols nobody, it enrols no other name.
    other = make_csr("CN=board-2", extensions=[names("a.example")]).public_bytes(Encoding.DER)
    status, content = await client.ask(cmc_client.pki_data((), [other]))
    assert status == (200 if auth != "basic" else 400)


async def test_all_or_nothing(client):
    good = make_csr("CN=board-1").public_bytes(Encoding.DER)
    bad = make_csr("CN=board-1", extensions=[x509.BasicConstraints(True, None)])
    data = cmc_client.pki_data((), [good, bad.public_bytes(Encoding.DER)])
    assert await client.failure(data) == (BAD_REQUEST, 400)
    assert len(client.server.issued()) == 1
    revocation = cmc_client.revoke_request(
        client.certificate.issuer, client.certificate.serial_number
    )
    broken = good[:-1] + bytes([good[-1] ^ 1])
    data = cmc_client.pki_data([revocation], [broken])
    assert await client.failure(data) == (BAD_REQUEST, 400)
    assert not list(crl(client.server))


async def test_pending(client):
    client.server.config.approve_after = 90
    csr = make_csr("CN=board-1").public_bytes(Encoding.DER)
    status, content = await client.ask(cmc_client.pki_data((), [csr]))
    ((state, parts, text, _, until),) = cmc_client.states(content)
    assert (status, state, parts) == (200, PENDING, [3])
    assert "approval" in text
    left = (until.replace(tzinfo=UTC) - now()).total_seconds()
    assert 10 < left < 91
    assert len(client.server.issued()) == 1


async def test_only_its_own_subject_may_revoke(client, tmp_path):
    other = cmc_client.Client(client.server, tmp_path, "board-2")
    assert await client.failure(client.revoke(other.certificate)) == (BAD_IDENTITY, 403)
    older = cmc_client.Client(client.server, tmp_path, "board-1")
    status, _ = await client.ask(client.revoke(older.certificate))
    assert status == 200
    assert [one.serial_number for one in crl(client.server)] == [older.certificate.serial_number]


async def test_what_cannot_be_revoked(client):
    elsewhere = x509.Name.from_rfc4514_string("CN=elsewhere")
    for options, failure in (
        ({"serial": 12345}, (BAD_CERT_ID, 400)),
        ({"issuer": elsewhere}, (BAD_CERT_ID, 400)),
        ({"reason": 6}, (BAD_REQUEST, 400)),
        ({"reason": 8}, (BAD_REQUEST, 400)),
    ):
        assert await client.failure(client.revoke(**options)) == failure
    assert await client.failure(cmc_client.pki_data()) == (BAD_REQUEST, 400)
    assert not list(crl(client.server))


async def test_who_is_not_heard(client, tmp_path):
    """Only what a certificate of this CA signed is done."""
    server = client.server
    async with EstServer(ServerConfig(directory=tmp_path / "elsewhere")) as elsewhere:
        stranger = elsewhere.new_identity("board-1")
    data = client.revoke()
    message = cmc_client.sign(tmp_path, data, client.identity)
    changed = message.replace(b"0123456789abcdef", b"0123456789abcdeg")
    for wrong, failure in (
        (cmc_client.sign(tmp_path, data, stranger), (BAD_IDENTITY, 403)),
        (changed, (BAD_MESSAGE_CHECK, 400)),
        (message[:-1] + bytes([message[-1] ^ 1]), (BAD_MESSAGE_CHECK, 400)),
        (cmc_client.sign(tmp_path, data, client.identity, "-noattr"), (BAD_MESSAGE_CHECK, 400)),
        (cmc_client.sign(tmp_path, data, client.identity, "-nocerts"), (BAD_MESSAGE_CHECK, 400)),
        (
            cmc_client.sign(tmp_path, data, client.identity, kind="1.3.6.1.5.5.7.12.3"),
            (BAD_MESSAGE_CHECK, 400),
        ),
        (
            cmc_client.sign(tmp_path, data, client.identity, "-md", "sha1"),
            (BAD_MESSAGE_CHECK, 400),
        ),
        (
            cmc_client.sign(tmp_path, cmc_client.pki_data(repeat=2), client.identity),
            (BAD_MESSAGE_CHECK, 400),
        ),
        (cmc_client.sign(tmp_path, b"0\0", client.identity), (BAD_MESSAGE_CHECK, 400)),
        (data, (BAD_MESSAGE_CHECK, 400)),
        (message + b"\0", (BAD_MESSAGE_CHECK, 400)),
    ):
        status, answer = await client.post(wrong)
        content = cmc_client.verify(tmp_path, answer, server.ca_pem)
        ((state, _, _, found, _),) = cmc_client.states(content)
        assert (state, found, status) == (FAILED, *failure)
    assert not list(crl(server))


def in_ber(data, keep, size=5):
    """DER in BER: lengths told by their end, strings in pieces; not the elements of `keep`."""
    out = b""
    while data:
        value, rest = ber_decoder.decode(data, asn1Spec=univ.Any())
        whole, data = bytes(value), rest
        header = 2 if whole[1] < 0x80 else 2 + (whole[1] & 0x7F)
        tag, content = whole[0], whole[header:]
        if whole in keep:
            out += whole
        elif tag & 0x20:
            out += bytes((tag, 0x80)) + in_ber(content, keep) + bytes(2)
        elif tag in (0x04, 0x0C, 0x80):
            pieces = [content[at : at + size] for at in range(0, len(content), size)]
            content = b"".join(bytes((0x04, len(piece))) + piece for piece in pieces)
            out += bytes((tag | 0x20, 0x80)) + content + bytes(2)
        else:
            out += bytes((tag, 0x84)) + len(content).to_bytes(4) + content
    return out


def signed_parts(message, certificate):
    """What of a message must be DER: the certificate and the signed attributes."""
    signed = cmc_client.decode(
        bytes(cmc_client.decode(message, rfc5652.ContentInfo())["content"]), rfc5652.SignedData()
    )
    attributes = encoder.encode(signed["signerInfos"][0]["signedAttrs"])
    return [certificate.public_bytes(Encoding.DER), attributes]


@pytest.mark.parametrize("option", [(), ("-keyid",)])
async def test_ber(client, option):
    key = new_key()
    csr = make_csr("CN=board-1", key=key).public_bytes(Encoding.DER)
    data = in_ber(cmc_client.pki_data((), [csr]), [csr])
    message = cmc_client.sign(client.folder, data, client.identity, *option)
    keep = signed_parts(message, client.certificate)
    status, answer = await client.post(in_ber(message, keep))
    assert status == 200
    content = cmc_client.verify(client.folder, answer, client.server.ca_pem)
    assert cmc_client.states(content) == [(0, [3], "", None, None)]
    found = cmc_client.content_of(answer)[2]
    assert [one for one in found if one.public_key() == key.public_key()]
    # What is signed must be DER: signed attributes, certificates, requests.
    for kept, words in (
        (keep[:1], "attributes are not DER"),
        (keep[1:], "certificate is not in the message"),
    ):
        status, answer = await client.post(in_ber(message, kept))
        assert status == 400
        content = cmc_client.verify(client.folder, answer, client.server.ca_pem)
        assert words in cmc_client.states(content)[0][2]
    status, content = await client.ask(in_ber(cmc_client.pki_data((), [csr]), []))
    assert (status, cmc_client.states(content)[0][2]) == (
        400,
        "a certification request is not DER",
    )
    for spoiled in (b"\x30\x80" * 500, b"\x30\x80" * 20, in_ber(message, keep) + bytes(2)):
        assert (await client.post(spoiled))[0] == 400


async def test_what_is_no_cmc(client):
    status, _ = await client.post(b"x", **{"Content-Type": "application/pkcs10"})
    assert status == 415
    async with connect(client.server) as session:
        for body in (b"", b"*", b"-----BEGIN CMS-----", b"0\x80"):
            answer = await session.post("fullcmc", data=body, headers=cmc_client.TYPE)
            assert answer.status == 400, body
        async with session.get("fullcmc") as answer:
            assert answer.status == 405


async def test_truncated_and_changed_requests(client):
    data = client.revoke()
    message = cmc_client.sign(client.folder, data, client.identity)
    async with connect(client.server) as session:

        async def status(data):
            async with session.post(
                "fullcmc", data=base64.b64encode(data), headers=cmc_client.TYPE
            ) as answer:
                await answer.read()
                return answer.status

        for end in range(1, len(message), 7):
            assert await status(message[:end]) == 400
        # Of what is signed, and of the signature, every octet counts.
        start = message.index(data)
        for at in (*range(start, start + len(data), 3), *range(len(message) - 60, len(message))):
            changed = message[:at] + bytes([message[at] ^ 0x21]) + message[at + 1 :]
            assert await status(changed) == 400, at
    assert not list(crl(client.server))

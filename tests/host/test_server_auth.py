"""Every way to authenticate: right, wrong, missing, replayed, stale, revoked."""

import base64
import re
import shutil
import ssl
import subprocess
from datetime import timedelta
from urllib.request import parse_http_list, parse_keqv_list

import aiohttp
import pytest
from server_client import PKCS10, body_of, connect, digest_answer, enroll, make_csr, tls_context

from mpest.server import EstServer, ServerConfig, running_server

USERS = {"ann": "s3cret: näher", "bob": "other"}
PATH = "/.well-known/est/simpleenroll"


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
async def server(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca", users=USERS, tokens={"tok-1", "tok-2"})
    async with EstServer(config) as running:
        yield running


async def challenges(session):
    status, _, headers = await enroll(session, make_csr())
    assert status == 401
    return headers.getall("WWW-Authenticate")


async def test_basic(server):
    server.config.auth = "basic"
    async with connect(server) as session:
        assert await challenges(session) == ['Basic realm="mpest", charset="UTF-8"']
        right = basic("ann", USERS["ann"])
        assert (await enroll(session, make_csr(), Authorization=right))[0] == 200
        assert (await enroll(session, make_csr(), Authorization="basic" + right[5:]))[0] == 200
        latin = base64.b64encode(f"ann:{USERS['ann']}".encode("iso-8859-1")).decode()
        assert (await enroll(session, make_csr(), Authorization=f"Basic {latin}"))[0] == 200
        for wrong in (
            basic("ann", "other"),
            basic("ann", ""),
            basic("eve", ""),
            "Basic " + base64.b64encode(b"ann:\xff").decode(),
            "Basic YW5u",
            "Basic ***",
            "Basic \udcff",
            "Basic",
            "Bearer tok-1",
        ):
            status, text, headers = await enroll(session, make_csr(), Authorization=wrong)
            assert status == 401
            assert text == ""
            assert server.events[-1]["reason"]
            assert "WWW-Authenticate" in headers
        server.add_user("zoe", "new")
        assert (await enroll(session, make_csr(), Authorization=basic("zoe", "new")))[0] == 200
    assert "s3cret" not in str(server.events)


async def test_reading_needs_no_credentials(server):
    for server.config.auth in ("basic", "digest", "token", "mtls"):
        async with connect(server) as session:
            for operation, status in (("cacerts", 200), ("csrattrs", 204)):
                async with session.get(operation) as answer:
                    assert answer.status == status


async def test_token(server):
    server.config.auth = "token"
    async with connect(server) as session:
        assert await challenges(session) == ['Bearer realm="mpest"']
        for token, wanted in (("tok-1", 200), ("tok-2", 200), ("tok", 401), ("", 401)):
            answer = await enroll(session, make_csr(), Authorization=f"Bearer {token}")
            assert answer[0] == wanted
    assert "tok-" not in str(server.events)


async def test_digest_offers_each_algorithm(server):
    server.config.auth = "digest"
    async with connect(server) as session:
        offers = await challenges(session)
        assert ["SHA-256" in offers[0], "MD5" in offers[1]] == [True, True]
        assert all('qop="auth"' in offer and "stale" not in offer for offer in offers)
        for nc, offer in (("00000001", offers[0]), ("00000002", offers[1])):
            answer = digest_answer(offer, "ann", USERS["ann"], uri=PATH, nc=nc)
            assert (await enroll(session, make_csr(), Authorization=answer))[0] == 200


@pytest.mark.parametrize("realm", ['a", b', "DOM\\"])
async def test_realm_is_quoted(server, realm):
    server.config.realm = realm
    async with connect(server) as session:
        for server.config.auth in ("basic", "token", "digest"):
            offers = await challenges(session)
            for offer in offers:
                parameters = parse_keqv_list(parse_http_list(offer.partition(" ")[2]))
                assert parameters["realm"] == realm
        answer = digest_answer(offers[0], "ann", USERS["ann"], uri=PATH)
        assert (await enroll(session, make_csr(), Authorization=answer))[0] == 200


async def test_digest_algorithm_not_offered_is_refused(server):
    server.config.auth = "digest"
    server.config.digest_algorithms = ["MD5"]
    async with connect(server) as session:
        offers = await challenges(session)
        assert len(offers) == 1
        answer = digest_answer(offers[0], "ann", USERS["ann"], uri=PATH, algorithm="SHA-256")
        assert (await enroll(session, make_csr(), Authorization=answer))[0] == 401


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize("algorithm", ["SHA-256", "MD5"])
def test_digest_as_curl_does_it(tmp_path, algorithm):
    config = ServerConfig(
        directory=tmp_path / "ca", auth="digest", users=USERS, digest_algorithms=[algorithm]
    )
    (tmp_path / "csr").write_bytes(body_of(make_csr()))
    with running_server(config) as server:
        settings = f"""
            silent
            digest
            user = "ann:{USERS["ann"]}"
            cacert = "{server.ca_pem}"
            data-binary = "@{tmp_path / "csr"}"
            header = "Content-Type: application/pkcs10"
            write-out = "%{{http_code}}"
            url = "{server.url}/simpleenroll"
        """
        done = subprocess.run(
            ["curl", "-K", "-"], input=settings, text=True, capture_output=True, check=True
        )
        assert done.stdout.endswith("200")
        assert [event["status"] for event in server.events] == [401, 200]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"realm": "other"}, "realm"),
        ({"uri": "/.well-known/est/simplereenroll"}, "uri"),
        ({"opaque": "0"}, "opaque"),
        ({"response": "0" * 64}, "wrong"),
        ({"username": "bob"}, "wrong"),
        ({"username": "eve"}, "wrong"),
        ({"nonce": "made-up"}, "wrong"),
        ({"algorithm": "SHA-512"}, "not offered"),
    ],
)
async def test_digest_refusals(server, changes, word):
    changes = dict(changes)
    server.config.auth = "digest"
    async with connect(server) as session:
        offer = (await challenges(session))[0]
        uri = changes.pop("uri", PATH)
        answer = digest_answer(offer, "ann", USERS["ann"], uri=uri, **changes)
        status, _, headers = await enroll(session, make_csr(), Authorization=answer)
    assert status == 401
    assert word in server.events[-1]["reason"]
    assert "stale" not in headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "answer", ["", "x", 'username="ann"', 'realm="mpest", realm="mpest"', 'a="', "\udcff=1"]
)
async def test_digest_that_can_not_be_read(server, answer):
    server.config.auth = "digest"
    async with connect(server) as session:
        headers = {"Authorization": f"Digest {answer}"}
        assert (await enroll(session, make_csr(), **headers))[0] == 401


async def test_digest_replay_is_refused_and_counting_on_is_not(server):
    server.config.auth = "digest"
    async with connect(server) as session:
        offer = (await challenges(session))[0]
        for nc, wanted in (("00000001", 200), ("00000001", 401), ("0000000a", 200), ("2", 401)):
            answer = digest_answer(offer, "ann", USERS["ann"], uri=PATH, nc=nc)
            status, _, headers = await enroll(session, make_csr(), Authorization=answer)
            assert status == wanted
            if nc == "00000001" and wanted == 401:
                assert "replay" in server.events[-1]["reason"]
                assert "stale" not in headers["WWW-Authenticate"]


async def test_digest_stale(server):
    server.config.auth = "digest"
    server.config.nonce_lifetime = 0
    async with connect(server) as session:
        offer = (await challenges(session))[0]
        answer = digest_answer(offer, "ann", USERS["ann"], uri=PATH)
        status, _, headers = await enroll(session, make_csr(), Authorization=answer)
        assert status == 401
        again = headers["WWW-Authenticate"]
        assert "stale=true" in again
        server.config.nonce_lifetime = 60
        answer = digest_answer(again.replace(", stale=true", ""), "ann", USERS["ann"], uri=PATH)
        assert (await enroll(session, make_csr(), Authorization=answer))[0] == 200


async def test_digest_nonce_that_was_forgotten_is_stale(server):
    server.config.auth = "digest"
    async with connect(server) as session:
        offer = (await challenges(session))[0]
        nonce = re.search('nonce="([^"]*)"', offer)[1]
        answer = digest_answer(offer.replace(nonce, "old"), "ann", USERS["ann"], uri=PATH)
        status, _, headers = await enroll(session, make_csr(), Authorization=answer)
    assert status == 401
    assert "stale=true" in headers["WWW-Authenticate"]


async def test_digest_uri_is_the_target_as_sent(server):
    server.config.auth = "digest"
    async with connect(server) as session:
        offer = (await challenges(session))[0]
        answer = digest_answer(offer, "ann", USERS["ann"], uri=PATH + "?a=%20b")
        headers = PKCS10 | {"Authorization": answer}
        url = f"{server.url}/simpleenroll?a=%20b"
        async with session.post(url, data=body_of(make_csr()), headers=headers) as reply:
            assert reply.status == 200


async def test_mtls_and_revocation(server):
    server.config.auth = "mtls"
    identity = server.new_identity("factory")
    async with connect(server) as session:
        status, text, _ = await enroll(session, make_csr())
        assert status == 403
        assert "certificate" in text
    async with connect(server, identity) as session:
        assert (await enroll(session, make_csr()))[0] == 200
        server.revoke(int(server.issued()[0].serial, 16))
        for operation in ("simpleenroll", "simplereenroll"):
            status, text, _ = await enroll(session, make_csr("CN=factory"), operation)
            assert status == 403
            assert "revoked" in text
    with pytest.raises(KeyError):
        server.revoke(1)


async def test_certificate_not_on_record_is_refused(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca", auth="mtls")
    async with EstServer(config) as server:
        identity = server.new_identity("factory")
    for name in ("est.db", "crl.pem"):
        (config.directory / name).unlink()
    async with EstServer(config) as server, connect(server, identity) as session:
        status, text, _ = await enroll(session, make_csr())
    assert status == 403
    assert "not issued" in text


async def test_expired_and_foreign_client_certificates_fail_in_tls(server, tmp_path):
    server.config.lifetime = timedelta(seconds=-1)
    identities = [server.new_identity("late")]
    async with EstServer(ServerConfig(directory=tmp_path / "other")) as other:
        identities.append(other.new_identity("stranger"))
    for identity in identities:
        async with connect(server, identity) as session:
            with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
                await session.get("cacerts")
    assert server.events == []


@pytest.mark.parametrize("auth", ["none", "basic", "digest", "token", "mtls"])
async def test_certificate_is_enough_to_reenroll(server, auth):
    identity = server.new_identity("board-1")
    server.config.auth = auth
    async with connect(server, identity) as session:
        assert (await enroll(session, make_csr(), "simplereenroll"))[0] == 200


async def test_credentials_seen(server):
    async with connect(server) as session:
        await enroll(session, make_csr())
        assert server.credentials_seen == 0
        await enroll(session, make_csr(), Authorization="Basic x")
        assert server.credentials_seen == 1
        assert server.events[-1]["authorization"] is True
    async with connect(server, server.new_identity("board-1")) as session:
        async with session.get("cacerts") as answer:
            await answer.read()
        assert server.credentials_seen == 2
        assert server.events[-1]["client"] == "CN=board-1"


async def test_probe(tmp_path):
    config = ServerConfig(directory=tmp_path / "ca", mtls_probe=True)
    async with EstServer(config) as server:
        url = f"https://127.0.0.1:{server.probe_port}/"
        identity = server.new_identity("board-1")
        async with connect(server, identity) as session, session.get(url) as answer:
            serial = server.issued()[0].serial
            assert await answer.json() == {"subject": "CN=board-1", "serial": serial}
        server.revoke(int(serial, 16))
        async with connect(server, identity) as session, session.get(url) as answer:
            assert answer.status == 403
        async with connect(server) as session:
            with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
                await session.get(url, ssl=tls_context(server))

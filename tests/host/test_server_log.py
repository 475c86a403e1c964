"""The log: nothing that a client sends forges a line, shows a secret or brings a traceback."""

import asyncio
import base64
import json
import logging
import re
import ssl
import subprocess
import sys
from pathlib import Path

import cmc_client
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from server_client import body_of, connect, enroll, get, make_csr, tls_context, write

from mpest.server import EstServer, ServerConfig, app, log
from mpest.server.serving import as_line

MPEST = [sys.executable, "-c", "from mpest.cli import main; main()", "serve"]
EVIL = "x\n\r\x1b[2K\x9b1A\u2028\u202eGET /.well-known/est/cacerts 200 as CN=admin"


class Server:
    """`mpest serve` as a process; all it wrote once it has stopped."""

    def __init__(self, directory: Path, *arguments: object) -> None:
        command = [*MPEST, "--dir", str(directory), "--port", "0", *map(str, arguments)]
        self.out, self.err = directory.with_suffix(".out"), directory.with_suffix(".err")
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err)

    async def listening(self) -> dict:
        while b"\n" not in self.out.read_bytes():
            assert self.process.poll() is None, self.err.read_text()
            await asyncio.sleep(0.05)
        return json.loads(self.out.read_text().splitlines()[0])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


async def send(
    first: dict, *requests: bytes, context: ssl.SSLContext | None = None
) -> list[bytes]:
    """The answers to raw requests, each on a connection of its own."""
    context = context or ssl.create_default_context(cafile=first["ca"])

    async def one(request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", first["port"], ssl=context)
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        return answer

    return [await one(request) for request in requests]


def post(*headers: str, body: bytes = b"") -> bytes:
    lines = ["POST /.well-known/est/simpleenroll HTTP/1.1", "Host: x", "Connection: close"]
    lines += ["Content-Type: application/pkcs10", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


CERTIFICATES = st.lists(
    st.fixed_dictionaries({"serial": st.just("1a"), "subject": st.text()}), max_size=2
)


@given(
    st.fixed_dictionaries(
        {
            "event": st.just("request"),
            "method": st.sampled_from(["GET", "POST"]),
            "path": st.text(),
            "status": st.sampled_from([200, 401]),
            "reason": st.none() | st.text(),
            "tls": st.none() | st.just("TLSv1.3"),
            "client": st.none() | st.text(),
            "issued": CERTIFICATES,
            "revoked": CERTIFICATES,
        }
    )
)
def test_any_text_stays_on_its_line(event: dict) -> None:
    line = log.printable(as_line(event))
    assert line.splitlines() == [line]
    assert line.isprintable()
    assert line.encode()
    in_json = log.as_json(event)
    assert in_json.splitlines() == [in_json]
    assert in_json.isascii() and in_json.isprintable()
    read = json.loads(in_json)
    assert read.pop("time")
    assert read == event


def test_what_is_no_trick_stays_as_it_is() -> None:
    assert log.printable("CN=Näher\\, 東京 (2)") == "CN=Näher\\, 東京 (2)"


async def test_forging(tmp_path: Path) -> None:
    """In every place that a client fills: path, query, method, headers, names, subjects."""
    subject_server = ServerConfig(directory=tmp_path / "ca")
    async with EstServer(subject_server) as before:  # for a certificate with that subject
        identity = before.new_identity(EVIL)
        context = tls_context(before, identity)
    users = write(tmp_path / "users", "ann:pw")
    server = Server(
        tmp_path / "ca", "--auth", "basic", "--users", users, "--json", "--log", "text"
    )
    try:
        first = await server.listening()
        quoted = "".join(f"%{octet:02x}" for octet in EVIL.encode())
        login = base64.b64encode(f"{EVIL}:{EVIL}".encode()).decode()
        requests = [
            get(quoted),
            get("cacerts?" + quoted),
            get("../" * 3 + quoted),
            get("cacerts", f"X-A: {EVIL}".replace("\n", "").replace("\r", "")),
            get("cacerts", "Authorization: " + "\x1b[31m"),
            post("Authorization: Basic " + login),
            post("Authorization: " + "\udc9b" * 9),
            post(f"Content-Type: {quoted}"),
            post(body=EVIL.encode()),
        ]
        answers = await send(first, *requests)
        answers += await send(first, get("cacerts"), context=context)
    finally:
        server.stop()
    text = server.err.read_bytes().decode()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", text)
    lines = text.splitlines()
    start, end = lines.index("Stop with Ctrl-C."), lines.index("Stopped.")
    answered = [line for line in lines[start + 1 : end] if re.match("(GET|POST) /", line)]
    said = [json.loads(line) for line in server.out.read_text().splitlines()]
    events = [event for event in said if event["event"] == "request"]
    # A header that is none is answered by aiohttp, by HTTP/1.0.
    own = [answer for answer in answers if not answer.startswith(b"HTTP/1.0 400")]
    assert len(answered) == len(events) == len(own) >= len(requests) / 2
    assert len(lines[start + 1 : end]) <= len(answers)
    assert sum("CN=admin" in line and " 200 " in line.split(" as ")[0] for line in answered) == 1
    assert {event["client"] for event in events} > {None}
    for line, event in zip(answered, events, strict=True):
        assert line.startswith(f"{event['method']} {event['path']} {event['status']} ")


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("auth", ["basic", "digest", "token"])
async def test_secrets_are_nowhere(tmp_path: Path, auth: str, form: str) -> None:
    """Neither in the clear nor in base64, in what is written and in the folder."""
    users = write(tmp_path / "users", "ann:geheim-pw")
    tokens = write(tmp_path / "tokens", "geheim-token")
    given_files = (users, tokens)
    file = ("--token-file", tokens) if auth == "token" else ("--users", users)
    server = Server(tmp_path / "ca", "--auth", auth, *file, "--json", "--log", form)
    try:
        first = await server.listening()
        body = body_of(make_csr("CN=ann", password=b"geheim-code"))
        coded = {
            password: base64.b64encode(f"ann:{password}".encode()).decode()
            for password in ("geheim-pw", "geheim-wrong", "geheim-code\0\x1b\n")
        }
        digest = 'Digest username="ann", realm="mpest", nonce="a", uri="/b", response="geheim-pw'
        headers = [
            "X: y",
            *(f"Authorization: Basic {value}" for value in coded.values()),
            *(f"Authorization: {value}" for value in coded.values()),
            "Authorization: Basic geheim-pw",
            "Authorization: Bearer geheim-token",
            "Authorization: Bearer geheim-wrong",
            "Authorization: geheim-token",
            "Authorization: Bearer geheim-token\r\nAuthorization: Bearer geheim-pw",
            digest,
            f"Authorization: {digest}",
            f'Authorization: {digest}", geheim-wrong',
            "Authorization: Bearer geheim-token\r\nno header at all geheim-pw",
            "Authorization: Basic geheim-pw\x00",
            "Authorization: Basic geheim-pw\r\nTransfer-Encoding: geheim-token",
            "Content-Encoding: gzip\r\nAuthorization: Bearer geheim-token",
        ]
        answers = await send(
            first,
            *(post(header, body=body) for header in headers),
            get("cacerts?password=geheim-pw"),
            b"GET /?geheim-pw HTTP/9.9\r\nAuthorization: Basic geheim-token\r\n\r\n",
            b"geheim-token\r\n\r\n",
        )
    finally:
        server.stop()
    assert any(answer.startswith(b"HTTP/1.1 401") for answer in answers)
    assert all(answer.startswith(b"HTTP/1.") for answer in answers)
    assert not any(b" 500 " in answer[:16] for answer in answers)
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path not in given_files]
    assert server.err in written and tmp_path / "ca/est.db" in written
    for path in written:
        for secret in (
            "geheim-pw",
            "geheim-wrong",
            "geheim-token",
            "geheim-code",
            *coded.values(),
        ):
            assert secret.encode() not in path.read_bytes(), (path, secret)
    assert "geheim" not in server.err.read_text() + server.out.read_text()
    log_text = server.err.read_text()
    assert "Traceback" not in log_text
    if form == "json":
        for line in log_text.splitlines():
            assert json.loads(line)["time"]


BROKEN = {
    "no HTTP": b"\x16\x03\x01\x00\xff\r\n\r\n",
    "half a line": b"GET / HT\r\n\r\n",
    "no colon": get("cacerts", "header"),
    "long header": get("cacerts", "X: " + "x" * 100_000),
    "many headers": get("cacerts", *(f"X-{number}: y" for number in range(5_000))),
    "two lengths": post("Content-Length: 5"),
    "length and chunks": post("Transfer-Encoding: chunked"),
    "negative length": get("cacerts", "Content-Length: -1"),
    "no chunk": b"POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: x\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no gzip": post("Content-Encoding: gzip", body=b"no gzip"),
    "no deflate": post("Content-Encoding: deflate", body=b"no deflate"),
    "unknown encoding": post("Content-Encoding: geheim", body=b"x"),
    "odd path": b"GET http://[/ HTTP/1.1\r\n\r\n",
    "odd port": b"GET http://x:99999999/ HTTP/1.1\r\nHost: x:y:z\r\n\r\n",
    "CONNECT": b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "star": b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "upgrade": get("cacerts", "Upgrade: h2c"),
    "expect": post("Expect: geheim"),
}


async def test_broken_requests(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with EstServer(ServerConfig(directory=tmp_path / "ca")) as server:
        first = {"ca": server.ca_pem, "port": server.port}
        for name, request in BROKEN.items():
            (answer,) = await send(first, request)
            # The connection may be all that is left to end.
            assert re.match(rb"HTTP/1\.[01] (200|4\d\d)|$", answer), (name, answer[:100])
        async with connect(server) as session, session.get("cacerts") as answer:
            assert answer.status == 200
    for record in caplog.records:
        line = log.OneLine(in_json=False).format(record)
        assert line.splitlines() == [line]
        assert "geheim" not in line
        assert json.loads(log.OneLine(in_json=True).format(record))["reason"]


async def test_a_fault_of_our_own(server, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    """It is told to the client and placed in the log, without what it says."""

    def fail(*_: object) -> None:
        raise KeyError("geheim")

    monkeypatch.setattr(app.EstApp, "_csrattrs", fail)
    async with connect(server) as session, session.get("csrattrs") as answer:
        assert answer.status == 500
        assert await answer.text() == "the server failed\n"
    reason = server.events[-1]["reason"]
    assert re.fullmatch(r"the server failed: KeyError in test_server_log\.py:\d+", reason)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_folder_that_cannot_be_written(server, tmp_path: Path) -> None:
    client = cmc_client.Client(server, tmp_path)
    (server.config.directory / "crl.part").mkdir()
    message = cmc_client.sign(tmp_path, client.revoke(), client.identity)
    status, text = await client.post(message)
    assert status == 503
    assert b"cannot use its folder: Is a directory" in text
    (server.config.directory / "crl.part").rmdir()


async def test_request_id(server) -> None:
    async with connect(server) as session:
        answers = [await enroll(session, make_csr()) for _ in range(3)]
    ids = [headers["X-Request-ID"] for _, _, headers in answers]
    assert ids == [event["id"] for event in server.events]
    assert len(set(ids)) == 3
    assert [event["operation"] for event in server.events] == ["simpleenroll"] * 3
    assert [event["user"] for event in server.events] == ["anonymous"] * 3


async def test_what_was_revoked(server, tmp_path: Path) -> None:
    """By full CMC: whose word it was, and which certificates; or which not."""
    client = cmc_client.Client(server, tmp_path)
    other = cmc_client.Client(server, tmp_path, "board-2")
    assert (await client.ask(client.revoke(other.certificate)))[0] == 403
    serial = f"{other.certificate.serial_number:x}"
    event = server.events[-1]
    assert event["revoked"] == []
    assert event["reason"] == f"only who owns a certificate may have it revoked: {serial}"
    assert (await client.ask(client.revoke(serial=16**300)))[0] == 400
    reason = f"no such certificate was issued here: 1{'0' * 49}..."
    assert server.events[-1]["reason"] == reason
    assert (await client.ask(client.revoke()))[0] == 200
    event = server.events[-1]
    serial = f"{client.certificate.serial_number:x}"
    assert event["user"] == "board-1"
    assert event["revoked"] == [{"serial": serial, "subject": "CN=board-1"}]
    assert as_line(event).endswith(f", revoked {serial} of CN=board-1")


async def test_what_was_issued(server, tmp_path: Path) -> None:
    """Its serial number and subject, of each certificate that an answer brings."""
    csr = make_csr("CN=board\u202e-1,O=Example")
    client = cmc_client.Client(server, tmp_path)
    asked = [make_csr("CN=board-1").public_bytes(Encoding.DER) for _ in range(2)]
    async with connect(server) as session:
        for operation in ("simpleenroll", "simpleenroll", "serverkeygen"):
            assert (await enroll(session, csr, operation))[0] == 200
        assert (await enroll(session, make_csr("")))[0] == 400
        async with session.get("cacerts") as answer:
            assert answer.status == 200
    assert (await client.ask(cmc_client.pki_data((), asked)))[0] == 200
    first, same, generated, refused, cacerts, cmc = server.events
    on_record = {(one.serial, one.subject) for one in server.issued()}
    for event, count in ((first, 1), (generated, 1), (cmc, 2)):
        assert len(event["issued"]) == count
        assert {(one["serial"], one["subject"]) for one in event["issued"]} <= on_record
        line = log.printable(as_line(event))
        for one in event["issued"]:
            assert f", {one['serial']} for {log.printable(one['subject'])}" in line
    assert same["issued"] == first["issued"] != generated["issued"]
    assert refused["issued"] == cacerts["issued"] == []

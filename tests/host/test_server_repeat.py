"""A request that is sent again brings the same certificate, and none is lost or issued twice."""

import asyncio
import base64
import contextlib
import email
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import cmc_client
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key
from server_client import (
    certificates,
    connect,
    digest_answer,
    enroll,
    make_csr,
    new_key,
    pem_of,
    write,
)

from mpest.exits import CliError
from mpest.server import EstServer, Policy, ServerConfig, app, database, health, secret
from mpest.server.ca import Order, common_name, new_ca, now
from mpest.server.passwords import digest_entry, hashed

USERS = {"ann": "s3cret", "bob": "other"}
FACTORY = new_ca("factory CA")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def config(tmp_path: Path) -> ServerConfig:
    return ServerConfig(
        directory=tmp_path / "ca",
        users=USERS,
        tokens={"tok"},
        factory_ca=FACTORY.certificate.public_bytes(Encoding.PEM).decode(),
    )


def from_factory() -> tuple[bytes, bytes]:
    key = new_key()
    order = Order(common_name("SN-1"), key.public_key())
    certificate = FACTORY.sign(order, now() + timedelta(days=1))
    return certificate.public_bytes(Encoding.PEM), pem_of(key)


def issued_by(text: str) -> tuple[x509.Certificate, Any]:
    """The certificate of an answer, and the key where the server made one."""
    if "--" not in text:
        return certificates(text)[0], None
    boundary = text.split()[0][2:]
    head = f"Content-Type: multipart/mixed; boundary={boundary}\n\n"
    found = email.message_from_string(head + text).get_payload()
    key, chain = [one.get_payload(decode=True) for one in found]
    return certificates(base64.b64encode(chain))[0], load_der_private_key(key, None)


def stored_in(directory: Path) -> bytes:
    """All that the database's files hold."""
    return b"".join(path.read_bytes() for path in directory.glob("est.db*"))


Send = Callable[[EstServer, x509.CertificateSigningRequest], Any]


async def send(
    server: EstServer,
    csr: x509.CertificateSigningRequest,
    credential: str,
    operation: str = "simpleenroll",
    identity: Any = None,
    password: str = "",
) -> tuple[int, str]:
    """One request on a connection of its own."""
    async with connect(server, identity) as session:
        headers = {}
        if credential == "token":
            headers["Authorization"] = "Bearer tok"
        elif credential in USERS and server.config.auth == "digest":
            offer = (await enroll(session, csr, operation))[2]["WWW-Authenticate"]
            uri = f"/.well-known/est/{operation}"
            password = password or USERS[credential]
            headers["Authorization"] = digest_answer(offer, credential, password, uri=uri)
        elif credential in USERS:
            password = password or server.config.users[credential]
            headers["Authorization"] = basic(credential, password)
        return (await enroll(session, csr, operation, **headers))[:2]


CASES = [
    ("none", "nobody"),
    ("basic", "ann"),
    ("digest", "ann"),
    ("token", "token"),
    ("mtls", "factory"),
    ("mtls", "own"),
]


@pytest.mark.parametrize("operation", ["simpleenroll", "serverkeygen"])
@pytest.mark.parametrize(("auth", "credential"), CASES)
async def test_the_same_request(
    config: ServerConfig, auth: Any, credential: str, operation: str
) -> None:
    config.auth = auth
    csr, other = make_csr("CN=board-1"), make_csr("CN=board-1")
    identity = from_factory() if credential == "factory" else None
    found = []
    for _ in range(2):  # the second time after a restart
        async with EstServer(config) as server:
            if credential == "own" and identity is None:
                identity = server.new_identity("board-1")
            for _ in range(2):
                status, text = await send(server, csr, credential, operation, identity)
                assert status == 200, text
                found.append(issued_by(text))
            before = len(server.issued())
            assert before == (2 if credential == "own" else 1)
    assert {one.serial_number for one, _ in found} == {found[0][0].serial_number}
    if operation == "serverkeygen":
        assert {key.public_key() == found[0][0].public_key() for _, key in found} == {True}
        secret_number = found[0][1].private_numbers().private_value.to_bytes(32, "big")
        assert secret_number not in stored_in(config.directory)
    async with EstServer(config) as server:
        # Another request, another operation, another who asks.
        fresh = [issued_by((await send(server, other, credential, operation, identity))[1])[0]]
        swapped = {"simpleenroll": "serverkeygen", "serverkeygen": "simpleenroll"}[operation]
        fresh.append(issued_by((await send(server, csr, credential, swapped, identity))[1])[0])
        if auth in ("basic", "digest"):
            fresh.append(issued_by((await send(server, csr, "bob", operation))[1])[0])
        if credential == "factory":
            text = (await send(server, csr, credential, operation, from_factory()))[1]
            fresh.append(issued_by(text)[0])
        serials = {one.serial_number for one in [*fresh, found[0][0]]}
        assert len(serials) == len(fresh) + 1


async def test_a_renewal_with_the_same_key_is_a_new_order(config: ServerConfig) -> None:
    """RSA requests of one key are the same octets."""
    key = rsa.generate_private_key(65537, 2048)
    csr, same = make_csr("CN=board-1", key=key), make_csr("CN=board-1", key=key)
    assert csr.public_bytes(Encoding.DER) == same.public_bytes(Encoding.DER)
    async with EstServer(config) as server:
        identity = None
        serials = []
        for operation in ("simpleenroll", "simplereenroll", "simplereenroll", "simpleenroll"):
            twice = []
            shown = None if operation == "simpleenroll" else identity
            for _ in range(2):
                status, text = await send(server, csr, "nobody", operation, shown)
                assert status == 200
                twice.append(certificates(text)[0])
            assert twice[0] == twice[1]
            identity = twice[0].public_bytes(Encoding.PEM), pem_of(key)
            async with connect(server, identity) as session, session.get("cacerts") as answer:
                assert answer.status == 200
            serials.append(twice[0].serial_number)
        assert len(set(serials)) == len(server.issued()) == 4


@pytest.mark.parametrize("proxy", [False, True], ids=["in TLS", "to a proxy"])
async def test_not_once_it_was_shown_wherever(config: ServerConfig, proxy: bool) -> None:
    if proxy:
        config.behind_proxy, config.proxies = "Client-Cert", ["127.0.0.1"]
    key = new_key()
    csr = make_csr(key=key)
    async with EstServer(config) as server:
        for request_line in (
            "GET /health",
            "GET /metrics",
            "GET /crl",
            "GET /",
            "POST /crl",
            "GET /.well-known/est/csrattrs",
            "PUT /.well-known/est/cacerts",
            "POST /.well-known/est/simpleenroll",
            "GET /.well-known/est/nothing",
        ):
            twice = [certificates((await send(server, csr, "nobody"))[1])[0] for _ in range(2)]
            assert twice[0] == twice[1], request_line
            pem, der = (twice[0].public_bytes(form) for form in (Encoding.PEM, Encoding.DER))
            headers = {"Client-Cert": f":{base64.b64encode(der).decode()}:"} if proxy else {}
            async with connect(server, None if proxy else (pem, pem_of(key))) as session:
                method, path = request_line.split()
                await session.request(method, server.origin + path, headers=headers)
            again = certificates((await send(server, csr, "nobody"))[1])[0]
            assert again != twice[0], request_line
            server.revoke(again.serial_number)


async def test_not_once_it_is_revoked_or_a_day_old(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    csr = make_csr()

    class Clock(datetime):
        ahead = timedelta()

        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + cls.ahead

    monkeypatch.setattr(database, "datetime", Clock)
    async with EstServer(config) as server:

        async def serial() -> int:
            return certificates((await send(server, csr, "nobody"))[1])[0].serial_number

        first = await serial()
        Clock.ahead = timedelta(hours=23)
        assert await serial() == first
        Clock.ahead = timedelta(hours=25)
        second = await serial()
        assert await serial() == second != first
        server.revoke(second)
        assert await serial() not in (first, second)


async def test_whatever_the_policy_says_by_then(config: ServerConfig) -> None:
    config.auth, config.open = "basic", False
    csr, other = make_csr("CN=ann"), make_csr("CN=ann")
    async with EstServer(config) as server:
        status, text = await send(server, csr, "ann")
        assert status == 200
        config.policy = Policy.model_validate({"rule": [{"users": "ann", "until": "2026-01-01"}]})
        assert (await send(server, other, "ann"))[0] == 403
        assert await send(server, csr, "ann") == (200, text)


async def test_by_cmc(config: ServerConfig, tmp_path: Path) -> None:
    keys = [new_key(), new_key()]
    requests = [make_csr("CN=board-1", key=key).public_bytes(Encoding.DER) for key in keys]
    found: dict[int, set[x509.Certificate]] = {0: set(), 1: set()}
    async with EstServer(config) as server:
        client = cmc_client.Client(server, tmp_path)
        for nonce in (b"0" * 16, b"1" * 16):
            data = cmc_client.pki_data((), [*requests, requests[0]], nonce)
            message = cmc_client.sign(tmp_path, data, client.identity)
            status, answer = await client.post(message)
            assert status == 200
            for one in cmc_client.content_of(answer)[2]:
                for number, key in enumerate(keys):
                    if one.public_key() == key.public_key():
                        found[number].add(one)
        assert [len(one) for one in found.values()] == [1, 1]
        assert len(server.issued()) == 3


@pytest.mark.parametrize("auth", ["basic", "digest"])
async def test_a_password_for_one_certificate(config: ServerConfig, auth: Any) -> None:
    config.auth, config.once = auth, {"ann"}
    csr, other = make_csr("CN=ann"), make_csr("CN=ann")
    async with EstServer(config) as server:
        assert (await send(server, make_csr(""), "ann"))[0] == 400  # spends nothing
        status, text = await send(server, csr, "ann")
        assert status == 200
        for _ in range(2):
            assert (await send(server, csr, "ann"))[1] == text
        for request, operation in ((other, "simpleenroll"), (csr, "serverkeygen")):
            assert (await send(server, request, "ann", operation))[0] == 401
            assert server.events[-1]["reason"] == "the one-time password was used before"
        assert [(await send(server, one, "bob"))[0] for one in (csr, other)] == [200, 200]
    async with EstServer(config) as server:
        assert (await send(server, csr, "ann"))[1] == text
        assert (await send(server, other, "ann"))[0] == 401
        if auth == "basic":  # a new one from the operator
            config.users = config.users | {"ann": "another"}
            assert (await send(server, other, "ann"))[0] == 200
            assert (await send(server, make_csr("CN=ann"), "ann"))[0] == 401
        rows = stored_in(config.directory)
        assert b"s3cret" not in rows
        assert b"another" not in rows


async def test_a_spent_password_stays_so_however_it_is_kept(
    config: ServerConfig, tmp_path: Path
) -> None:
    """In the clear, as a hash, or by HA1; and for another kind of login."""
    password = USERS["ann"]
    kept = {
        "clear": password,
        "hash": hashed(password),
        "another hash": hashed(password),
        "HA1": digest_entry("ann", password, config.realm),
    }
    forms = [("basic", name) for name in ("clear", "hash", "another hash")]
    forms += [("digest", name) for name in ("clear", "HA1")]
    for number, (auth, form) in enumerate(forms):
        config.directory = tmp_path / str(number)
        config.once = {"ann"}
        async with EstServer(config) as server:
            config.auth, config.users = auth, {"ann": kept[form]}
            assert (await send(server, make_csr("CN=ann"), "ann", password=password))[0] == 200
            for auth, form in forms:
                config.auth, config.users = auth, {"ann": kept[form]}
                status, _ = await send(server, make_csr("CN=ann"), "ann", password=password)
                assert status == 401
                assert server.events[-1]["reason"] == "the one-time password was used before"


async def test_a_password_waits_for_approval(config: ServerConfig) -> None:
    config.auth, config.once, config.approve_after = "basic", {"ann"}, 1000
    one, other = make_csr("CN=ann"), make_csr("CN=ann")
    async with EstServer(config) as server:
        for csr in (one, other):
            assert (await send(server, csr, "ann"))[0] == 202
        config.approve_after = 0
        found = [(await send(server, csr, "ann"))[0] for csr in (one, other, one)]
        assert found == [200, 401, 200]


@contextlib.contextmanager
def locked(path: Path, how: str = "EXCLUSIVE") -> Iterator[None]:
    """The database, by another program."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute(f"BEGIN {how}")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


async def test_a_locked_database(config: ServerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.2)
    config.mtls_probe = True
    csr = make_csr("CN=board-1", password=b"kept")
    async with EstServer(config) as server:
        identity = server.new_identity("board-1")
        with locked(config.directory / "est.db"):
            for operation, shown in (("simpleenroll", None), ("simplereenroll", identity)):
                async with connect(server, shown) as session:
                    status, text, headers = await enroll(session, csr, operation)
                assert status == 503
                assert int(headers["Retry-After"]) > 0
                assert text == (
                    "the server cannot use its folder: database is locked; "
                    "send the same again later\n"
                )
                assert server.events[-1]["reason"] == text.strip()
            # Who has nothing recorded goes on.
            probe = f"https://127.0.0.1:{server.probe_port}/"
            async with connect(server, identity) as session, session.get(probe) as answer:
                assert answer.status == 200
        assert len(server.issued()) == 1
        assert (await send(server, csr, "nobody"))[0] == 200
        assert len(server.issued()) == 2


@pytest.mark.parametrize("probe", [False, True])
async def test_shown_while_the_database_is_locked(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch, probe: bool
) -> None:
    """Who shows it is told to come again; from then on it is not handed out any more."""
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.2)
    monkeypatch.setattr(app, "_FOLLOW_SECONDS", 1000)
    config.mtls_probe = True
    key = new_key()
    csr = make_csr("CN=board-1", key=key)
    async with EstServer(config) as server:
        first = certificates((await send(server, csr, "nobody"))[1])[0]
        identity = first.public_bytes(Encoding.PEM), pem_of(key)
        url = f"https://127.0.0.1:{server.probe_port}/" if probe else f"{server.url}/cacerts"
        with locked(config.directory / "est.db", "IMMEDIATE"):
            async with connect(server, identity) as session, session.get(url) as answer:
                assert answer.status == 503
            # Others read it meanwhile.
            assert (await send(server, csr, "nobody"))[0] == 503
        other = certificates((await send(server, csr, "nobody"))[1])[0]
        assert other != first
        assert certificates((await send(server, csr, "nobody"))[1])[0] == other
        assert len(server.issued()) == 2


async def test_what_was_shown_is_put_on_record_by_itself(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.2)
    monkeypatch.setattr(app, "_FOLLOW_SECONDS", 0.05)
    key = new_key()
    csr = make_csr("CN=board-1", key=key)
    async with EstServer(config) as server:
        first = certificates((await send(server, csr, "nobody"))[1])[0]
        identity = first.public_bytes(Encoding.PEM), pem_of(key)
        with locked(config.directory / "est.db", "IMMEDIATE"):
            async with connect(server, identity) as session, session.get("csrattrs") as answer:
                assert answer.status == 503
        async with asyncio.timeout(60):
            while server._database._shown:
                await asyncio.sleep(0.05)
    async with EstServer(config) as server:
        assert certificates((await send(server, csr, "nobody"))[1])[0] != first


async def test_health_of_a_locked_database(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.1)
    monkeypatch.setattr(health, "_AGAIN_SECONDS", 0)
    async with EstServer(config) as server, connect(server) as session:

        async def state() -> tuple[int, str | None]:
            async with session.get("/health") as answer:
                return answer.status, (await answer.json())["reason"]

        assert await state() == (200, None)
        # Others may read it, which does not make it fit to record anything.
        for lock in ("EXCLUSIVE", "IMMEDIATE"):
            with locked(config.directory / "est.db", lock):
                assert await state() == (503, "the database fails: database is locked")
            assert await state() == (200, None)
        monkeypatch.setattr(health, "_AGAIN_SECONDS", 1000)
        tried = []
        server._database.try_to_record = lambda: tried.append(1)
        assert [await state() for _ in range(3)] == [(200, None)] * 3
        assert not tried
    with contextlib.closing(sqlite3.connect(config.directory / "est.db")) as store:
        assert store.execute("select count(*) from answered").fetchone() == (0,)


async def test_others_are_served_while_one_waits_for_the_database(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 60)
    async with EstServer(config) as server:
        with locked(config.directory / "est.db"):
            waiting = asyncio.create_task(send(server, make_csr(), "nobody"))
            async with connect(server) as session:
                for operation in ("cacerts", "csrattrs"):
                    async with session.get(operation) as answer:
                        assert answer.status < 300
            assert not waiting.done()
        assert (await waiting)[0] == 200


SERVE = "from mpest.cli import main; main()"
DIES = """
import os, signal
from mpest.server.database import Database
record = Database.record
def die(self, *arguments):
    {} or os.kill(os.getpid(), signal.SIGKILL)
    record(self, *arguments)
    os.kill(os.getpid(), signal.SIGKILL)
Database.record = die
"""


@contextlib.contextmanager
def serving(directory: Path, *options: object, before: str = "", **others: Any) -> Iterator[Any]:
    """`mpest serve` as a process, and a server to `connect` to."""
    command = [sys.executable, "-c", before + SERVE, "serve", "--dir", directory, "--port", "0"]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, **others)

    class Server:
        ca_pem = directory / "ca.pem"
        url = ""
        lines: list[str] = []  # noqa: RUF012
        process: Any = None

    Server.process = process

    assert process.stderr
    try:
        for line in process.stderr:
            Server.lines.append(line)
            if line.startswith("EST server at "):
                Server.url = line.split()[-1]
            if line.startswith("Stop with"):
                break
        assert Server.url, Server.lines
        yield Server
    finally:
        process.terminate()
        Server.lines += process.stderr
        process.wait(60)
        process.stderr.close()


def rows_of(directory: Path) -> list[tuple[str, bytes]]:
    with contextlib.closing(sqlite3.connect(directory / "est.db")) as store:
        return store.execute("select serial, der from issued").fetchall()


@pytest.mark.parametrize(
    ("operation", "recorded"),
    [("simpleenroll", True), ("simpleenroll", False), ("serverkeygen", True)],
)
async def test_killed_around_the_record(tmp_path: Path, operation: str, recorded: bool) -> None:
    directory = tmp_path / "ca"
    users = write(tmp_path / "users", "ann:s3cret\n")
    options = ("--auth", "basic", "--users", users)
    headers = {"Authorization": basic("ann", "s3cret")}
    csr = make_csr("CN=ann")
    before = DIES.format(recorded)
    with serving(directory, *options, before=before) as server:
        async with connect(server) as session:
            with pytest.raises((OSError, aiohttp.ClientError)):
                await enroll(session, csr, operation, **headers)
    assert len(rows_of(directory)) == recorded
    with serving(directory, *options) as server:
        found = []
        for _ in range(2):
            async with connect(server) as session:
                status, text, _ = await enroll(session, csr, operation, **headers)
            assert status == 200
            found.append(issued_by(text))
    assert [serial for serial, _ in rows_of(directory)] == [f"{found[0][0].serial_number:x}"]
    assert found[0][0] == found[1][0]
    if operation == "serverkeygen":
        assert found[1][1].public_key() == found[0][0].public_key()


async def test_a_full_disk(tmp_path: Path) -> None:
    """What is delivered is on record; what is not is had later."""
    directory = tmp_path / "ca"
    with serving(directory):
        pass
    limit = (directory / "est.db").stat().st_size + 20_000

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    delivered, refused = [], []
    with serving(directory, preexec_fn=full) as server:
        async with connect(server) as session:
            while len(refused) < 3:
                csr = make_csr(f"CN=board-{len(delivered)}")
                status, text, headers = await enroll(session, csr)
                if status == 200:
                    delivered.append(certificates(text)[0])
                    assert len(delivered) < 100, "the limit does nothing"
                else:
                    assert (status, "Retry-After" in headers) == (503, True), text
                    refused.append(csr)
            async with session.get("cacerts") as answer:
                assert answer.status == 200
            async with session.get("/health") as answer:
                assert (answer.status, (await answer.json())["status"]) == (503, "failing")
                assert "the database fails: " in (await answer.json())["reason"]
    assert delivered
    assert not [line for line in server.lines if "Traceback" in line]
    on_record = [x509.load_der_x509_certificate(der) for _, der in rows_of(directory)]
    assert sorted(on_record, key=hash) == sorted(delivered, key=hash)
    with serving(directory) as server:
        async with connect(server) as session:
            for csr in refused:
                assert (await enroll(session, csr))[0] == 200
    assert len(rows_of(directory)) == len(delivered) + len(refused)


# As the server of 0.2.0 made it.
OLD = """
CREATE TABLE issued (serial VARCHAR NOT NULL, subject VARCHAR NOT NULL, not_before FLOAT NOT NULL,
    not_after FLOAT NOT NULL, der BLOB NOT NULL, challenge_password VARCHAR, revoked FLOAT,
    PRIMARY KEY (serial));
CREATE TABLE revocation (serial VARCHAR NOT NULL, reason INTEGER NOT NULL, since FLOAT,
    PRIMARY KEY (serial));
CREATE TABLE pending (csr_sha256 VARCHAR NOT NULL, principal VARCHAR NOT NULL,
    first_seen FLOAT NOT NULL, PRIMARY KEY (csr_sha256, principal));
"""


async def old_database(config: ServerConfig) -> tuple[bytes, bytes]:
    """Makes one of the certificates "board-1", which it returns, and "board-2", revoked."""
    async with EstServer(config) as server:
        identities = [server.new_identity(name) for name in ("board-1", "board-2")]
        rows = server.issued()
    path = config.directory / "est.db"
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as store, store:
        store.executescript(OLD)
        for number, row in enumerate(rows):
            values = (row.serial, row.subject, row.not_before, row.not_after, row.der)
            store.execute(
                "insert into issued values (?, ?, ?, ?, ?, ?, ?)",
                (*values, ["enrolment code", None][number], [None, 1e9][number]),
            )
        store.execute("insert into revocation values (?, 1, null)", (rows[1].serial,))
    return identities[0]


async def test_an_old_database_is_taken_over(config: ServerConfig, tmp_path: Path) -> None:
    identity = await old_database(config)
    for _ in range(2):
        async with EstServer(config) as server:
            one, two = server.issued()
            assert secret.fits("enrolment code", one.challenge_password)
            assert (one.revoked, two.revoked) == (None, 1e9)
            crl = x509.load_pem_x509_crl((config.directory / "crl.pem").read_bytes())
            assert [entry.serial_number for entry in crl] == [int(two.serial, 16)]
    assert b"enrolment code" not in (config.directory / "est.db").read_bytes()
    async with EstServer(config) as server:
        async with connect(server, identity) as session:
            assert (await enroll(session, make_csr("CN=board-1"), "simplereenroll"))[0] == 200
        old = cmc_client.Client(server, tmp_path, identity=identity)
        assert (await old.ask(old.revoke()))[0] == 200


@pytest.mark.parametrize("statements", range(1, 13))
async def test_a_takeover_that_was_cut(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch, statements: int
) -> None:
    """After any number of statements."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    await old_database(config)
    left = statements

    def cut(_connection: Any, _cursor: Any, text: str, *_: Any) -> None:
        nonlocal left
        if text.startswith(("ALTER", "CREATE", "UPDATE", "PRAGMA user_version =")):
            left -= 1
            if not left:
                raise KeyboardInterrupt

    event.listen(Engine, "before_cursor_execute", cut)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            database.Database(config.directory / "est.db").close()
    finally:
        event.remove(Engine, "before_cursor_execute", cut)
    async with EstServer(config) as server:
        one, _ = server.issued()
        assert secret.fits("enrolment code", one.challenge_password)


async def test_a_database_that_cannot_be_used(config: ServerConfig) -> None:
    async with EstServer(config):
        pass
    path = config.directory / "est.db"
    with contextlib.closing(sqlite3.connect(path)) as store:
        store.execute("PRAGMA user_version = 99")
    with pytest.raises(CliError, match="it is of a newer mpest"):
        database.Database(path)
    with contextlib.closing(sqlite3.connect(path)) as store:  # as an older server leaves it
        store.execute("PRAGMA journal_mode = DELETE")
    with locked(path), pytest.raises(CliError, match=r"can't use .*est.db: database is locked"):
        database.Database(path)


async def test_errors_of_the_database_show_no_secret(config: ServerConfig) -> None:
    async with EstServer(config) as server:
        identity = x509.load_pem_x509_certificate(server.new_identity("board-1")[0])
        store = database.Database(config.directory / "est.db")
        with pytest.raises(database.StoreError) as caught:
            store.record(identity, database.Stored(challenge_password="kept"))
        store.close()
    assert "UNIQUE" in database.trouble(caught.value)
    assert "kept" not in str(caught.value)

"""What a person lists, approves and revokes while the server runs; what is seen from outside."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from prometheus_client.parser import text_string_to_metric_families
from server_client import connect, enroll, make_csr, new_key, pem_of
from test_server_auth import basic

from mpest.cli import main
from mpest.server import EstServer, Policy, ServerConfig
from mpest.server.ca import Order, common_name, new_ca, now

Desk = Callable[..., Result]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Runs `mpest serve` on the folder."""

    def desk(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["serve", "--dir", str(tmp_path / "ca"), *arguments])

    return desk


def entries(desk: Desk) -> list[dict]:
    done = desk("--list", "--json")
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.05)


async def numbers(session) -> dict[tuple[str, ...], float]:
    """What /metrics says, as Prometheus's own parser reads it, by name and labels."""
    async with session.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain"
        families = text_string_to_metric_families(await answer.text())
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


async def test_approve(tmp_path: Path, desk: Desk) -> None:
    users = {"ann": "a", "bob": "b"}
    config = ServerConfig(
        directory=tmp_path / "ca", auth="basic", users=users, approve_after=float("inf")
    )
    csr = make_csr("CN=ann\u202enn")
    async with EstServer(config) as server, connect(server) as session:
        login = {"Authorization": basic("ann", "a")}
        for _ in range(2):
            status, _, headers = await enroll(session, csr, **login)
            assert (status, headers["Retry-After"]) == (202, "60")
        assert (await enroll(session, csr, Authorization=basic("bob", "b")))[0] == 202
        waiting = entries(desk)
        assert [(one["event"], one["owner"], one["operation"]) for one in waiting] == [
            ("waiting", "user:ann", "simpleenroll"),
            ("waiting", "user:bob", "simpleenroll"),
        ]
        assert (await numbers(session))["mpest_waiting",] == 2
        text = desk("--list").stdout
        assert waiting[0]["id"] in text
        assert "\u202e" not in text and len(text.splitlines()) == 4
        assert text.splitlines()[1].split()[:4] == ["id", "owner", "operation", "subject"]
        done = desk("--approve", waiting[0]["id"])
        assert done.exit_code == 0
        assert (await enroll(session, csr, **login))[0] == 200
        assert (await enroll(session, csr, Authorization=basic("bob", "b")))[0] == 202
        assert [one["event"] for one in entries(desk)] == ["certificate", "waiting"]
        # Another request of the same user waits for itself.
        assert (await enroll(session, make_csr("CN=ann"), **login))[0] == 202
    async with EstServer(config):
        assert [one["event"] for one in entries(desk)] == ["certificate", "waiting", "waiting"]


async def test_deny(tmp_path: Path, desk: Desk) -> None:
    """What a person sees of a request, and what its sender is told."""
    config = ServerConfig(
        directory=tmp_path / "ca", auth="token", tokens={"line-4:geheim"}, approve_after=1e6
    )
    hosts = [f"h{number}.example" for number in range(10)]
    alternatives: list[x509.GeneralName] = [
        x509.IPAddress(ip_address("10.0.0.1")),
        x509.DirectoryName(common_name("inner")),
        x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x0c\x01a"),
        x509.RFC822Name(f"{'a' * 400}@a.example"),
        *map(x509.DNSName, hosts),
    ]
    csr = make_csr("CN=hub", extensions=[x509.SubjectAlternativeName(alternatives)])
    async with EstServer(config) as server, connect(server) as session:
        login = {"Authorization": "Bearer geheim"}
        assert (await enroll(session, csr, "serverkeygen", **login))[0] == 202
        (entry,) = entries(desk)
        assert {name: entry[name] for name in ("owner", "operation", "subject", "denied")} == {
            "owner": "token:line-4",
            "operation": "serverkeygen",
            "subject": "CN=hub",
            "denied": None,
        }
        kinds = [name.partition(":")[0] for name in entry["names"].split(", ")]
        assert kinds == ["IP", "other", "other", "email", *["DNS"] * 4, "and 6 more"]
        assert "IP:10.0.0.1, other:CN=inner, other:1.2.3, email:aaa" in entry["names"]
        assert len(entry["names"]) < 600 and "aaa..., DNS:h0.example" in entry["names"]
        assert (await numbers(session))["mpest_waiting",] == 1
        done = desk("--deny", entry["id"].upper())
        assert (done.exit_code, done.stderr[:7]) == (0, "Denied:")
        status, text, _ = await enroll(session, csr, "serverkeygen", **login)
        assert (status, text) == (403, "the request was denied: ask who runs the server\n")
        assert server.events[-1]["reason"] == text.strip()
        assert (await numbers(session))["mpest_waiting",] == 0
        assert entries(desk)[0]["denied"]
        assert "geheim" not in desk("--list").output
        assert (await enroll(session, csr, **login))[0] == 202  # another operation


async def test_whose_certificates_are(tmp_path: Path, desk: Desk) -> None:
    """Of users, tokens, devices of a factory and those that a station brought; no secret."""
    factory = new_ca("factory")
    rules = {"rule": [{"users": "st-1", "role": "ra", "subject": "CN=unit-*"}]}
    config = ServerConfig(
        directory=tmp_path / "ca",
        users={"ann\u202e": "geheim", "st-1": "geheim"},
        tokens={"line-4:geheim-4", "geheim-free"},
        factory_ca=factory.certificate.public_bytes(Encoding.PEM).decode(),
    )
    key = new_key()
    order = Order(common_name("SN-1"), key.public_key())
    device = factory.sign(order, now() + timedelta(days=1)).public_bytes(Encoding.PEM)
    ca = factory.certificate.fingerprint(hashes.SHA256()).hex()
    free = sha256(b"geheim-free").hexdigest()[:16]
    async with EstServer(config) as server:
        for auth, authorization, subject, identity in (
            ("basic", basic("ann\u202e", "geheim"), "CN=a", None),
            ("token", "Bearer geheim-4", "CN=b", None),
            ("token", "Bearer geheim-free", "CN=c", None),
            ("mtls", "", "CN=d", (device, pem_of(key))),
            ("none", "", "CN=e", None),
            ("rules", basic("st-1", "geheim"), "CN=unit-1", None),
        ):
            config.policy = Policy.model_validate(rules) if auth == "rules" else None
            config.auth = "basic" if auth == "rules" else auth
            async with connect(server, identity) as session:
                done = await enroll(session, make_csr(subject), Authorization=authorization)
                assert done[0] == 200, done
    found = {one["subject"]: (one["owner"], one["forwarded_by"]) for one in entries(desk)}
    assert found == {
        "CN=a": ("user:ann\u202e", None),
        "CN=b": ("token:line-4", None),
        "CN=c": (f"token:#{free}", None),
        "CN=d": (f"factory:{ca}:CN=SN-1", None),
        "CN=e": (None, None),
        "CN=unit-1": (None, "user:st-1"),
    }
    head, *lines = desk("--list").stdout.splitlines()
    assert head.split()[:4] == ["serial", "subject", "owner", "forwarded"]
    table = {line.split()[1]: line.split()[2:4] for line in lines[:6]}
    assert table == {
        "CN=a": ["user:ann\\u202e", "-"],
        "CN=b": ["token:line-4", "-"],
        "CN=c": [f"token:#{free}", "-"],
        "CN=d": ["factory:CN=SN-1", "-"],
        "CN=e": ["-", "-"],
        "CN=unit-1": ["-", "user:st-1"],
    }
    assert "geheim" not in desk("--list").output + desk("--list", "--json").output


async def test_revoke(tmp_path: Path, desk: Desk) -> None:
    config = ServerConfig(directory=tmp_path / "ca")
    async with EstServer(config) as server:
        identity = server.new_identity("board-1")
        serial = x509.load_pem_x509_certificate(identity[0]).serial_number
        crl = config.directory / "crl.pem"

        def listed() -> bool:
            found = x509.load_pem_x509_crl(crl.read_bytes())
            return found.get_revoked_certificate_by_serial_number(serial) is not None

        async with connect(server, identity) as session:
            assert (await enroll(session, make_csr(), "simplereenroll"))[0] == 200
            assert not listed()
            done = desk("--revoke", f"{serial:X}")
            assert done.exit_code == 0, done.stderr
            assert (await enroll(session, make_csr(), "simplereenroll"))[0] == 403
        await until(listed)
        (entry,) = (one for one in entries(desk) if one["serial"] == f"{serial:x}")
        assert entry["revoked"]
        other = server.new_identity("board-2")
    serial = x509.load_pem_x509_certificate(other[0]).serial_number
    colons = ":".join(f"{octet:02x}" for octet in serial.to_bytes(20))
    assert desk("--revoke", colons).exit_code == 0  # nobody runs: the next start publishes it
    async with EstServer(config):
        assert listed()


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--revoke", "zz"], 2, "'zz' is no serial number in hexadecimal"),
        (["--revoke", ""], 2, "'' is no serial number"),
        (["--revoke", "12"], 2, "no certificate '12' was issued; --list shows"),
        (["--approve", "x\n"], 2, "no request 'x\\n' waits; --list shows"),
        (["--deny", "12"], 2, "no request '12' waits; --list shows"),
        (["--deny", "12", "--approve", "12"], 2, "each for themselves"),
        (["--list", "--approve", "12"], 2, "--list, --approve, --deny and --revoke are each for"),
        (["--approve", "12", "--revoke", ""], 2, "each for themselves"),
        (["--list", "--dir", "nowhere"], 7, "no server was ever started in nowhere"),
        ([], 2, "Missing option '--port'"),
        (["--approve-after", "inf", "--port", "0"], 2, "'inf' is neither a number of seconds"),
        (["--approve-after", "nan", "--port", "0"], 2, "'nan' is neither"),
        (["--approve-after", "-1", "--port", "0"], 2, "'-1' is neither"),
        (["--log", "xml", "--port", "0"], 2, "'xml' is not one of 'text', 'json'"),
        (["--hash-password", "plain"], 2, "'plain' is not one of 'basic', 'digest', 'token'"),
    ],
)
async def test_wrong_use(server, tmp_path, desk, arguments: list[str], code: int, line: str):
    done = desk(*arguments)
    assert done.exit_code == code
    assert line in done.stderr
    assert len([part for part in done.stderr.splitlines() if part.startswith("Error: ")]) == 1


async def test_a_database_that_is_none(tmp_path: Path, desk: Desk) -> None:
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca/est.db").write_bytes(b"x" * 5000)
    for arguments in (["--list"], ["--revoke", "12"], ["--approve", "12"], ["--deny", "1"]):
        done = desk(*arguments)
        assert done.exit_code == 7
        assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1


async def test_metrics(tmp_path: Path) -> None:
    config = ServerConfig(directory=tmp_path / "ca", auth="basic", users={"ann": "a"})
    async with EstServer(config) as server, connect(server) as session:
        login = {"Authorization": basic("ann", "a")}
        csr = make_csr("CN=ann")
        assert (await enroll(session, csr, **login))[0] == 200
        assert (await enroll(session, csr))[0] == 401
        assert (await enroll(session, csr, Authorization=basic("ann", "b")))[0] == 401
        assert (await enroll(session, make_csr(""), **login))[0] == 400
        config.approve_after = 100
        assert (await enroll(session, make_csr("CN=ann"), **login))[0] == 202
        for number in range(50):
            async with session.get(f"unknown-{number}") as answer:
                assert answer.status == 404
        async with session.get("cacerts") as answer:
            assert answer.status == 200
        found = await numbers(session)
        events = len(server.events)
        async with session.get("/health") as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "ok", "reason": None})
        assert len(server.events) == events == 56  # monitoring does not fill the log
    assert found["mpest_issued_total", "simpleenroll"] == 1
    assert found["mpest_later_total", "simpleenroll"] == 1
    assert ("mpest_issued_total", "cacerts") not in found
    assert found["mpest_waiting",] == 1
    assert found["mpest_refused_total", "simpleenroll", "no login"] == 1
    assert found["mpest_refused_total", "simpleenroll", "wrong login"] == 1
    assert found["mpest_refused_total", "simpleenroll", "malformed"] == 1
    assert found["mpest_refused_total", "none", "no such operation"] == 50
    assert found["mpest_requests_total", "cacerts", "200"] == 1
    assert found["mpest_request_seconds_count", "simpleenroll"] == 5
    assert len(found) < 100  # labels are not the clients'


async def test_health_of_a_database_that_fails(tmp_path: Path) -> None:
    config = ServerConfig(directory=tmp_path / "ca", mtls_probe=True)
    async with EstServer(config) as server, connect(server) as session:
        identity = server.new_identity("board-1")
        server._database.close()  # or what it has read would do
        (tmp_path / "ca/est.db").write_bytes(b"x" * 5000)
        async with session.get("/health") as answer:
            assert answer.status == 503
            assert (await answer.json())["status"] == "failing"
        probe = f"https://127.0.0.1:{server.probe_port}/"
        async with connect(server, identity) as holder, holder.get(probe) as answer:
            assert answer.status == 503

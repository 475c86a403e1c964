"""Requests linked to their TLS session (RFC 7030 3.5): on CPython, for MicroPython cannot."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from board_bench import Bench
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from server_client import connect, enroll, make_csr

from mpest.server import EstServer, ServerConfig, app, running_server, secret
from mpest.server.tls import tls_unique
from mpest.sim.board_process import run_board

Run = Callable[..., tuple[dict[str, Any], str]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EstServer]:
    config = ServerConfig(
        directory=tmp_path / "ca", auth="basic", users={"board": "correct horse"}, require_pop=True
    )
    with running_server(config) as server:
        yield server


@pytest.fixture
def run(server: EstServer, tmp_path: Path) -> Run:
    """Runs an operation; gives the last event and the notes."""
    bench = Bench(server, tmp_path / "board", "cpython")

    def run(operation: str, runtime: str = "cpython", **changes: Any) -> tuple[Any, str]:
        config = {**bench.config, **changes, "operations": [operation]}
        *notes, last = run_board(config, runtime, bench.state)
        return last, " ".join(note["text"] for note in notes)

    return run


def passwords(server: EstServer) -> list[str | None]:
    return [row.challenge_password for row in server.issued()]


def test_rfc7030_3_5_requests_are_linked(
    server: EstServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the server wants as challengePassword of each request that it answers.
    wanted: list[str | None] = []

    def remembered(request: Any) -> str | None:
        wanted.append(tls_unique(request))
        return wanted[-1]

    monkeypatch.setattr(app, "tls_unique", remembered)
    for operation in ("enroll", "reenroll"):
        event, said = run(operation)
        assert event["event"] == operation, event
        assert said == ""
    records = passwords(server)
    assert len(records) == 2
    sessions = [one for one in dict.fromkeys(wanted) if one]
    linked = [[one for one in sessions if secret.fits(one, record)] for record in records]
    assert [len(one) for one in linked] == [1, 1]
    assert linked[0] != linked[1]
    assert all(len(base64.b64decode(one)) == 12 for (one,) in linked)
    assert all(one["tls"] == "TLSv1.2" for one in server.events if one["event"] == "request")


@pytest.mark.parametrize("fault", ["close", "http10", "redirect-same-origin"])
def test_rfc7030_3_5_each_session_gets_its_own_request(
    server: EstServer, run: Run, fault: str
) -> None:
    """With the 401 there are two sessions or more that the request goes over."""
    server.config.faults = {fault}
    event, _ = run("enroll")
    assert event["event"] == "enroll", event
    assert server.credentials_seen >= 1


def test_rfc7030_3_5_waiting_links_anew(server: EstServer, run: Run) -> None:
    server.config.approve_after = 1
    event, _ = run("enroll")
    assert event["type"] == "RetryLater", event
    while (event := run("enroll")[0])["event"] == "error":
        assert event["type"] == "RetryLater", event
    assert event["event"] == "enroll"
    assert len(server.issued()) == 1


def test_server_that_does_not_ask(server: EstServer, run: Run) -> None:
    server.config.require_pop = False
    assert run("enroll")[0]["event"] == "enroll"
    assert passwords(server) == [None]


def test_an_own_challenge_password_goes_first(server: EstServer, run: Run) -> None:
    event, _ = run("enroll", challenge="enrolment code")
    assert event["type"] == "Refused"
    assert "not tls-unique" in event["message"]


def test_rfc7030_3_5_where_tls_has_none(
    server: EstServer, run: Run, program: Callable[[str], Any]
) -> None:
    program("micropython")
    event, said = run("enroll", "micropython")
    assert "no tls-unique here" in said
    assert event["type"] == "Refused"
    assert "not tls-unique" in event["message"]


@pytest.mark.parametrize("password", [None, b"tls-unique", base64.b64encode(bytes(12))])
async def test_server_refuses_what_is_not_linked(tmp_path: Path, password: bytes | None) -> None:
    async with EstServer(ServerConfig(directory=tmp_path / "ca", require_pop=True)) as server:
        async with connect(server) as session:
            status, text, _ = await enroll(session, make_csr(password=password))
        assert status == 400
        assert "tls-unique" in text
        assert not server.issued()


def test_link_changes_nothing_else(tmp_path: Path) -> None:
    from mpest.sim import cpython

    cpython.install()
    import est
    from est import csrattrs, extensions, keys, linking

    attributes = csrattrs.CsrAttrs()
    attributes.challenge_password = True

    def fetch() -> Iterator[None]:
        yield
        return attributes

    order = linking.Linked()
    wanted = ("CN=a,O=b", ["DNS:a.example"], ["clientAuth"], [])
    est.run(order.build(fetch, print, wanted, None, None))
    key, request = order.key, order.request
    before = x509.load_der_x509_csr(request)
    linked = linking.link(request, key, "c2lnbmVk")
    after = x509.load_der_x509_csr(linked)
    assert linking.holds_placeholder(request)
    assert not linking.holds_placeholder(linked)
    assert after.is_signature_valid
    assert after.subject == before.subject
    assert list(after.extensions) == list(before.extensions)
    spki = keys.load(key).spki()
    assert spki in linked
    oid = x509.oid.AttributeOID.CHALLENGE_PASSWORD
    assert before.attributes.get_attribute_for_oid(oid).value == b"tls-unique"
    assert after.attributes.get_attribute_for_oid(oid).value == b"c2lnbmVk"
    assert before.public_bytes(Encoding.DER) == request
    own = [extensions.challenge("code")]
    est.run(order.build(fetch, print, ("CN=a", [], [], own), None, None))
    assert not linking.holds_placeholder(order.request)

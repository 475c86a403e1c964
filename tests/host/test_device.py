"""The device, on each runtime, against the test server."""

import base64
from datetime import timedelta
from pathlib import Path

import pytest
from board_bench import Bench
from commands import openssl
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from mpest.server import CsrAttrsPolicy, ServerConfig, running_server
from mpest.server.ca import Order, common_name, new_ca, new_key, now
from mpest.sim import cpython
from mpest.sim.board_process import run_board


def test_enrol_and_renew(bench: Bench) -> None:
    assert bench.run("cacerts", "csrattrs", "enroll")["event"] == "enroll"
    assert bench.server.handshakes == 1
    first = bench.files()
    assert bench.run("reenroll")["event"] == "reenroll"
    # The second connection of a renewal is its proof.
    assert bench.server.handshakes == 3
    second = bench.files()
    assert first["key.pem"] != second["key.pem"]
    assert bench.run("reenroll", rekey=False)["event"] == "reenroll"
    assert bench.files()["key.pem"] == second["key.pem"]
    assert bench.files()["cert.pem"] != second["cert.pem"]
    for row in bench.server.issued():
        certificate = x509.load_der_x509_certificate(row.der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert names.value.get_values_for_type(x509.DNSName) == ["board-1.example"]
        assert certificate.subject.rfc4514_string() == "O=Example,CN=board-1"
    cert, key = bench.state / "cert.pem", bench.state / "key.pem"
    openssl("verify", "-CAfile", bench.server.ca_pem, cert)
    assert openssl("pkey", "-in", key, "-pubout") == openssl(
        "x509", "-in", cert, "-noout", "-pubkey"
    )
    assert key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_digest(bench: Bench, algorithm: str) -> None:
    bench.server.config.auth = "digest"
    bench.server.config.realm = 'a, "b", DOM\\'
    bench.server.config.digest_algorithms = [algorithm]
    assert bench.run("enroll")["event"] == "enroll"


def test_token(bench: Bench) -> None:
    bench.server.config.auth = "token"
    bench.server.config.tokens = {"sesame"}
    assert bench.run("enroll", user=None, token="sesame")["event"] == "enroll"
    assert bench.run("enroll", user=None, token="wrong")["type"] == "Refused"


def test_wrong_password_is_refused_once(bench: Bench) -> None:
    event = bench.run("enroll", password="wrong")
    assert event["type"] == "Refused"
    assert "password" in event["message"]
    assert bench.server.credentials_seen == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("wrong-key", "PeerError"),
        ("wrong-ca", "NotTrusted"),
        ("expired-cert", "NotTrusted"),
        ("no-certs", "PeerError"),
        ("ca-cert-instead", "PeerError"),
        ("bad-base64", "PeerError"),
        ("empty-body", "PeerError"),
        ("pem-body", "PeerError"),
        ("huge-body", "PeerError"),
        ("truncated-body", "PeerError"),
        ("cut-connection", "PeerError"),
        ("cut-after-headers", "PeerError"),
        ("garbage-status-line", "PeerError"),
        ("redirect-elsewhere", "PeerError"),
        ("redirect-http", "PeerError"),
        ("redirect-loop", "PeerError"),
        ("http-500", "Refused"),
        ("http-404", "Refused"),
        ("http-503", "RetryLater"),
    ],
)
def test_failed_renewal_keeps_the_identity(bench: Bench, fault: str, kind: str) -> None:
    assert bench.run("enroll")["event"] == "enroll"
    before = bench.files()
    bench.server.config.faults = {fault + "@simplereenroll"}
    event = bench.run("reenroll")
    assert (event["event"], event.get("type")) == ("error", kind), event
    assert bench.files() == before
    assert bench.run("show")["certificate"]["subject"] == "CN=board-1,O=Example"
    bench.server.config.faults = set()
    if kind != "RetryLater":
        assert bench.run("reenroll")["event"] == "reenroll"


@pytest.mark.parametrize(
    "fault",
    [
        "chunked",
        "close",
        "http10",
        "no-content-length",
        "raw-der",
        "ber-body",
        "http-201",
        "extra-certs",
        "reverse-order",
        "redirect-same-origin",
        "redirect-relative",
        "giant-header",
        "many-headers",
        "odd-headers",
        "no-content-type",
        "old-content-type",
        "wrong-content-type",
        "broken-cert",
        "octets-after",
        "unasked-408",
    ],
)
def test_unusual_answers_are_understood(bench: Bench, fault: str) -> None:
    # Of 401s and of what is asked for before, too.
    for where in ("@simpleenroll", ""):
        if (fault, where) == ("http-201", ""):
            continue  # nothing is created by a GET
        bench.server.config.faults = {fault + where}
        *notes, event = bench.events("enroll")
        assert event["event"] == "enroll", (where, event)
        told = any("certificate is left out" in note["text"] for note in notes)
        assert told == (fault == "broken-cert"), notes


def test_a_broken_certificate_among_the_ca_s(bench: Bench) -> None:
    bench.server.config.faults = {"broken-cert@cacerts"}
    trust = {"anchors": None, "fingerprint": bench.server.fingerprint}
    note, event = bench.events("enroll", **trust)[-2:]
    assert event["event"] == "enroll", event
    assert "a certificate is left out" in note["text"]
    assert len(bench.run("cacerts")["certificates"]) == len(bench.server.ca_certificates)


@pytest.mark.parametrize("login", ["basic", "token"])
def test_login_without_a_challenge(bench: Bench, login: str) -> None:
    bench.server.config.auth = login
    bench.server.config.tokens = {"sesame"}
    bench.server.config.faults = {"no-challenge"}
    given = {} if login == "basic" else {"user": None, "token": "sesame"}
    assert bench.run("enroll", **given)["event"] == "enroll"
    event = bench.run("enroll", user=None)
    assert event["type"] == "Refused"
    assert "no user, password or token was sent; the server names no way" in event["message"]
    seen = bench.server.credentials_seen
    wrong = {"password": "wrong"} if login == "basic" else {"user": None, "token": "wrong"}
    event = bench.run("enroll", **wrong)
    assert "wrong user, password or token" in event["message"]
    assert bench.server.credentials_seen == seen + 1


def test_what_cannot_be_answered_is_named(bench: Bench) -> None:
    bench.server.config.faults = {"401-wrong-scheme@simpleenroll"}
    event = bench.run("enroll")
    assert "no user, password or token was sent; the server asks for Negotiate" in event["message"]
    bench.server.config.faults = set()
    assert bench.run("enroll", user="a:b")["type"] == "UsageError"
    assert not bench.server.credentials_seen


def test_ber_everywhere(bench: Bench) -> None:
    bench.server.config.faults = {"ber-body"}
    for operation in ("cacerts", "enroll", "reenroll"):
        assert bench.run(operation)["event"] == operation


def test_slow_drip_ends(bench: Bench) -> None:
    bench.server.config.faults = {"slow-drip"}
    event = bench.run("cacerts", timeout=1)
    assert event["type"] == "PeerError"
    assert "longer than 1 s" in event["message"]


def test_a_changed_request_replaces_the_waiting_one(bench: Bench) -> None:
    bench.server.config.approve_after = 60
    assert bench.run("enroll")["type"] == "RetryLater"
    config = {**bench.config, "subject": "CN=other", "operations": ["enroll"]}
    events = list(run_board(config, bench.runtime, bench.state))
    assert [event["event"] for event in events] == ["note", "error"]
    assert "given up" in events[0]["text"]


def test_a_wait_of_a_clock_that_ran_ahead_is_forgotten(bench: Bench) -> None:
    bench.server.config.approve_after = 60
    bench.server.config.retry_after_date = False
    assert bench.run("enroll")["type"] == "RetryLater"
    bench.server.config.approve_after = 0
    cpython.install()
    from est import posix, store

    records = store.Store(str(bench.state))
    meta, *rest = store.unpack(records.load("order"))
    meta["until"] += 20 * 86400
    records.save("order", store.pack(meta, *rest))
    posix.close(str(bench.state))
    assert bench.run("enroll")["event"] == "enroll"


def test_factory_certificate(bench: Bench) -> None:
    bench.server.config.auth = "mtls"
    login = {"user": None, "password": None}
    assert bench.run("enroll", **login)["type"] == "Refused"
    certificate, key = bench.server.new_identity("made-in-a-factory")
    pem_key = serialization.load_pem_private_key(key, None)
    login["factory_key"] = pem_key.private_bytes(
        Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).hex()
    found = x509.load_pem_x509_certificates(certificate)
    login["factory_chain"] = [one.public_bytes(Encoding.DER).hex() for one in found]
    assert bench.run("enroll", **login)["event"] == "enroll"
    assert bench.run("reenroll", user=None)["event"] == "reenroll"


def test_certificate_of_a_foreign_factory(tmp_path: Path, runtime: str) -> None:
    """The factory's CA counts for the first enrolment, no other CA does (RFC 7030 2.2)."""
    factory, other = new_ca("a factory"), new_ca("another factory")
    config = ServerConfig(
        directory=tmp_path / "ca",
        auth="mtls",
        factory_ca=factory.certificate.public_bytes(Encoding.PEM).decode(),
    )
    with running_server(config) as server:
        bench = Bench(server, tmp_path / "board", runtime, user=None, password=None)
        for signer, outcome in ((other, "error"), (factory, "enroll")):
            key = new_key()
            order = Order(common_name("serial 17"), key.public_key())
            leaf = signer.sign(order, now() + timedelta(days=1))
            shown = {
                "factory_chain": [leaf.public_bytes(Encoding.DER).hex()],
                "factory_key": key.private_bytes(
                    Encoding.DER,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                ).hex(),
            }
            assert bench.run("enroll", **shown)["event"] == outcome
        assert bench.run("reenroll")["event"] == "reenroll"


@pytest.mark.parametrize("name", ["ü", "日本", "\U0001f389"])
def test_names_in_unicode(bench: Bench, name: str) -> None:
    assert bench.run("enroll", subject="CN=" + name)["certificate"]["subject"] == "CN=" + name


def test_a_late_answer_is_not_asked_for_twice(bench: Bench) -> None:
    bench.server.config.faults = {"late@simpleenroll"}
    bench.server.config.drip_interval = 60
    paths: list[str] = []
    for timeout in (1, 4, 16):  # a slow board needs a second to get so far
        event = bench.run("enroll", timeout=timeout)
        assert event["type"] == "PeerError"
        paths = [event["path"] for event in bench.server.events if "path" in event]
        paths = [path for path in paths if path.endswith("simpleenroll")]
        if paths:
            break
    assert len(paths) == 1, paths


def damage(state: Path, record: str) -> None:
    for path in state.glob(record + ".*"):
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes((data[-1] ^ 1,)))


def test_damaged_records(bench: Bench) -> None:
    assert bench.run("enroll")["event"] == "enroll"
    assert bench.run("reenroll")["event"] == "reenroll"
    newest = bench.state / "identity.1"
    data = newest.read_bytes()
    for damaged in (b"", data[:-9], data[:-1] + bytes((data[-1] ^ 2,))):
        newest.write_bytes(damaged)
        note, shown = bench.events("show")
        assert (note["event"], shown["event"]) == ("note", "show")
        assert "copy of identity" in note["text"]
    damage(bench.state, "identity")
    damage(bench.state, "anchors")
    damage(bench.state, "order")
    for operation in ("show", "reenroll"):
        event = bench.run(operation)
        assert event["type"] == "StorageError"
        assert event["message"] == "the stored identity: damaged"
    assert bench.run("cacerts", anchors=None)["type"] == "StorageError"
    assert bench.run("enroll")["event"] == "enroll"
    assert bench.run("reenroll", anchors=None)["event"] == "reenroll"


def test_anchors_that_are_cut_off(bench: Bench) -> None:
    """There is one copy of them until they change, which looks as a first save does that the power
    cut off."""
    assert bench.run("enroll")["event"] == "enroll"
    (copy,) = bench.state.glob("anchors.*")
    whole = copy.read_bytes()
    for length in (0, 20, len(whole) - 1):
        copy.write_bytes(whole[:length])
        event = bench.run("reenroll", anchors=None)
        assert event["type"] == "StorageError", event
        assert event["message"] == "the stored anchors: damaged"
        assert bench.run("show", anchors=None)["certificate"]
    fingerprint = bench.server.fingerprint
    assert bench.run("cacerts", anchors=None, fingerprint=fingerprint)["event"] == "cacerts"
    copy.write_bytes(b"EST1")
    *notes, last = bench.events("reenroll")
    assert last["event"] == "reenroll", last
    assert "copy of anchors" in notes[0]["text"]
    # Whole again, and nothing is left to tell.
    assert [event["event"] for event in bench.events("reenroll", anchors=None)] == ["reenroll"]


def test_csrattrs_win_over_the_configuration(bench: Bench) -> None:
    both = x509.ExtendedKeyUsage(
        [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    )
    bench.server.config.csrattrs = CsrAttrsPolicy(
        key="P-256",
        challenge_password=True,
        extension_request=[
            {
                "oid": both.oid.dotted_string,
                "value": base64.b64encode(both.public_bytes()).decode(),
            }
        ],
        oids=["1.2.3.4"],
    )
    config = {**bench.config, "operations": ["enroll"]}
    *notes, last = run_board(config, bench.runtime, bench.state)
    assert last["event"] == "enroll", last
    said = " ".join(note["text"] for note in notes)
    assert "1.2.3.4" in said
    # On CPython it is given: test_linking.py.
    assert ("challengePassword" in said) == (bench.runtime != "cpython")
    for _ in range(2):
        certificate = x509.load_pem_x509_certificate((bench.state / "cert.pem").read_bytes())
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        assert list(usage.value) == list(both)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert names.value.get_values_for_type(x509.DNSName) == ["board-1.example"]
        bench.server.config.csrattrs = CsrAttrsPolicy()
        assert bench.run("reenroll")["event"] == "reenroll"


def test_csrattrs_that_cannot_be_met(bench: Bench) -> None:
    bench.server.config.csrattrs = CsrAttrsPolicy(key="P-384")
    event = bench.run("enroll", key_type="P-256")
    assert event["type"] == "UsageError"
    assert "P-384" in event["message"]
    bench.server.config.csrattrs = CsrAttrsPolicy()
    assert bench.run("enroll")["event"] == "enroll"


@pytest.mark.parametrize("root_key", ["P-256", "RSA-4096"])
def test_intermediate(tmp_path: Path, runtime: str, root_key: str) -> None:
    config = ServerConfig(
        directory=tmp_path / "ca", auth="none", chain_length=2, root_key=root_key
    )
    with running_server(config) as server:
        bench = Bench(server, tmp_path / "board", runtime)
        bench.config["anchors"] = [
            server.ca_certificates[-1].public_bytes(Encoding.DER).hex(),
        ]
        assert bench.run("enroll", user=None)["event"] == "enroll"
        assert (bench.state / "chain.pem").read_text().count("BEGIN") == 2
        assert bench.run("reenroll", user=None)["event"] == "reenroll"

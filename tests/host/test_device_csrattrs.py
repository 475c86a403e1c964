"""What a server asks for, and what the device on each runtime makes of it: seen by `cryptography`.

The server demands what it asked for, and is none of the device's code.
"""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID
from test_device import Bench
from test_server_csrattrs import RFC_9908_3_4, policy
from test_simulate_command import simulate

from mpest.server import CsrAttrsPolicy, ServerConfig, der, running_server, secret
from mpest.sim.board_process import Event, run_board

SAN = ["IP:192.0.2.7", "DNS:board-1.example"]


@pytest.fixture
def bench(tmp_path: Path, runtime: str) -> Iterator[Bench]:
    config = ServerConfig(directory=tmp_path / "ca", enforce_csrattrs=True)
    with running_server(config) as server:
        found = Bench(server, tmp_path / "board", runtime)
        found.config |= {"user": None, "san": SAN, "subject": "CN=board-1"}
        yield found


def events(bench: Bench, *operations: str, **changes: object) -> list[Event]:
    config = {**bench.config, **changes, "operations": operations}
    return list(run_board(config, bench.runtime, bench.state))


def issued(bench: Bench) -> x509.Certificate:
    return x509.load_pem_x509_certificate((bench.state / "cert.pem").read_bytes())


def extension(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> x509.ExtensionType:
    return certificate.extensions.get_extension_for_oid(oid).value


def names(certificate: x509.Certificate) -> list[str]:
    return [
        str(name.value) for name in extension(certificate, ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    ]


def test_demands(bench: Bench) -> None:
    bench.server.config.csrattrs = policy(
        'style = "both"\nextension_request = ["keyUsage", "extKeyUsage", "subjectAltName"]'
    )
    assert [event["event"] for event in events(bench, "enroll")] == ["enroll"]
    bench.server.config.csrattrs = CsrAttrsPolicy(challenge_password=True)
    *notes, last = events(bench, "enroll")
    if bench.runtime == "cpython":
        assert last["event"] == "enroll"  # its TLS 1.2 has tls-unique for it
    else:
        assert "challengePassword" in notes[-1]["text"]
        # The server's words reach the user.
        assert "lacks what /csrattrs asks for: the attribute challenge" in last["message"]
        assert last["type"] == "Refused"
    assert events(bench, "enroll", challenge="code")[-1]["event"] == "enroll"
    assert secret.fits("code", bench.server.issued()[-1].challenge_password)


def test_values_are_copied(bench: Bench) -> None:
    bench.server.config.csrattrs = policy("""
        [[extension_request]]
        oid = "keyUsage"
        critical = true
        values = ["digitalSignature", "keyAgreement"]
        [[extension_request]]
        oid = "subjectAltName"
        values = ["DNS:a.example", "URI:urn:a", "email:a@b.example", "IP:2001:db8::1"]
        """)
    assert [event["event"] for event in events(bench, "enroll")] == ["enroll"]
    certificate = issued(bench)
    assert names(certificate) == ["a.example", "urn:a", "a@b.example", "2001:db8::1"]
    usage = extension(certificate, ExtensionOID.KEY_USAGE)
    assert isinstance(usage, x509.KeyUsage)
    assert usage.digital_signature and usage.key_agreement and not usage.key_encipherment


def test_template(bench: Bench) -> None:
    bench.server.config.csrattrs = policy(RFC_9908_3_4)
    found = events(bench, "enroll", subject="CN=board-1,O=Example")
    assert [event["event"] for event in found] == ["note", "enroll"]
    assert "O=Example" in found[0]["text"]
    for _ in range(2):
        certificate = issued(bench)
        assert [(one.oid, one.value) for one in certificate.subject] == [
            (NameOID.COMMON_NAME, "board-1"),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, "myDept"),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, "myGroup"),
        ]
        assert names(certificate) == ["www.myServer.com", "192.0.2.7"]
        usage = extension(certificate, ExtensionOID.KEY_USAGE)
        assert isinstance(usage, x509.KeyUsage)
        assert usage.digital_signature and usage.key_agreement
        # Renewal keeps the names, whatever the board is set to meanwhile.
        assert events(bench, "reenroll", subject="CN=x", san=[])[-1]["event"] == "reenroll"


@pytest.mark.parametrize("runtime", ["cpython"], indirect=True)
@pytest.mark.parametrize("style", ["old", "template"])
@pytest.mark.parametrize("key", ["P-384", "RSA-2048"])
def test_key(bench: Bench, style: str, key: str) -> None:
    digest = "sha384" if key == "P-384" else "sha256"
    bench.server.config.csrattrs = CsrAttrsPolicy(style=style, key=key, digest=digest)
    assert events(bench, "enroll")[-1]["event"] == "enroll"
    assert issued(bench).public_key().key_size == int(key.partition("-")[2])


def test_hints_leave_the_choice_to_the_caller(bench: Bench) -> None:
    """As libest and OpenXPKI send them by default, and take other keys."""
    bench.server.config.enforce_csrattrs = False
    rsa, p384, sha384 = "1.2.840.113549.1.1.1", "1.3.132.0.34", "2.16.840.1.101.3.4.2.2"
    for oids, suggested in (([rsa], "RSA"), ([p384, sha384], "P-384")):
        bench.server.config.csrattrs = CsrAttrsPolicy(key=None, digest=None, oids=oids)
        note, last = events(bench, "enroll", key_type="P-256")
        assert f"suggests a key of type {suggested}, this one is P-256" in note["text"]
        assert last["event"] == "enroll"


def test_template_comes_before_what_no_board_can_do(
    bench: Bench, vector: Callable[[str], bytes]
) -> None:
    """RFC 9908 4: the old elements, which here demand P-521, are ignored."""
    template = CsrAttrsPolicy(style="template").to_der()[2:]
    old = vector("rfc9908/5.6-p521-attrs.csrattrs.der")[2:]
    raw = base64.b64encode(der.sequence(old, template))
    bench.server.config.csrattrs = CsrAttrsPolicy(raw_der_base64=raw)
    assert [event["event"] for event in events(bench, "enroll")] == ["enroll"]


def test_what_a_board_cannot_do_is_said_before_anything_is_sent(
    bench: Bench, vector: Callable[[str], bytes]
) -> None:
    p521 = base64.b64encode(vector("rfc9908/5.6-p521-attrs.csrattrs.der"))
    for asked, words in (
        (CsrAttrsPolicy(raw_der_base64=p521), "P-521"),
        (policy(RFC_9908_3_4), "IP address"),
    ):
        bench.server.config.csrattrs = asked
        event = events(bench, "enroll", san=["DNS:board-1.example"])[-1]
        assert event["type"] == "UsageError"
        assert words in event["message"]
    asked = [event["path"] for event in bench.server.events if event["event"] == "request"]
    assert {path.rpartition("/")[2] for path in asked} <= {"csrattrs", "cacerts"}


@pytest.mark.parametrize("runtime", ["micropython", "cpython"], indirect=True)
@pytest.mark.parametrize(
    ("fault", "left_out"),
    [
        ("http-204@csrattrs", False),
        ("http-404@csrattrs", False),
        ("empty-body@csrattrs", False),
        ("no-content-type@csrattrs", False),
        ("csrattrs-empty", False),
        ("csrattrs-unknown", False),
        ("raw-der@csrattrs", False),
        ("csrattrs-malformed", True),
        ("csrattrs-wrong-type", True),
        ("csrattrs-junk-template", True),
        ("wrong-content-type@csrattrs", True),
        ("bad-base64@csrattrs", True),
        ("http-403@csrattrs", True),
        ("http-405@csrattrs", True),
        ("http-500@csrattrs", True),
        ("401-forever@csrattrs", True),
        ("web-page@csrattrs", True),
        ("huge-body@csrattrs", True),
        ("truncated-body@csrattrs", True),
        ("redirect-elsewhere@csrattrs", True),
        ("redirect-loop@csrattrs", True),
    ],
)
def test_they_are_optional(bench: Bench, fault: str, left_out: bool) -> None:
    """RFC 7030 4.5: who enrols goes on without, who asks for them hears why there are none."""
    bench.server.config.csrattrs = CsrAttrsPolicy()
    bench.server.config.faults = {fault}
    *notes, event = events(bench, "enroll")
    assert event["event"] == "enroll", event
    told = [note["text"] for note in notes if "csrattrs are left out: " in note["text"]]
    assert len(told) == left_out, notes
    event = events(bench, "csrattrs")[-1]
    assert event["event"] == ("error" if left_out else "csrattrs"), event


@pytest.mark.parametrize("runtime", ["micropython", "cpython"], indirect=True)
def test_they_are_demanded(bench: Bench) -> None:
    bench.server.config.csrattrs = CsrAttrsPolicy()
    for fault, kind, words in (
        ("http-204@csrattrs", "PeerError", "unexpected HTTP 204"),
        ("http-404@csrattrs", "Refused", "HTTP 404"),
        ("empty-body@csrattrs", "PeerError", "the answer is empty"),
        ("csrattrs-malformed", "PeerError", "DER"),
        ("http-403@csrattrs", "Refused", "HTTP 403"),
        ("http-500@csrattrs", "Refused", "HTTP 500"),
        ("http-503@csrattrs", "RetryLater", "HTTP 503"),
        ("web-page@csrattrs", "PeerError", "base64"),
    ):
        bench.server.config.faults = {fault}
        event = events(bench, "enroll", csrattrs=True)[-1]
        assert event["event"] == "error" and event["type"] == kind, event
        assert words in event["message"], event
        demanded = "the csrattrs that are demanded: " in event["message"]
        assert demanded == (kind != "RetryLater"), event
    assert not bench.server.issued()
    # An answer that asks for nothing is one.
    for fault in (set(), {"csrattrs-empty"}, {"csrattrs-unknown"}):
        bench.server.config.faults = fault
        assert events(bench, "enroll", csrattrs=True)[-1]["event"] == "enroll"
    before = (bench.state / "cert.pem").read_bytes()
    bench.server.config.faults = {"http-404@csrattrs"}
    for operation, more in (("reenroll", {}), ("serverkeygen", {}), ("reenroll", {"cmc": True})):
        event = events(bench, operation, csrattrs=True, **more)[-1]
        assert event["type"] == "Refused", event
    assert (bench.state / "cert.pem").read_bytes() == before
    assert events(bench, "reenroll")[-1]["event"] == "reenroll"


def test_they_are_demanded_by_an_option(tmp_path: Path) -> None:
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        server.config.faults = {"http-404@csrattrs"}
        ask = ["--url", server.url, "--trust", server.ca_pem, "--subject", "CN=a"]
        done = simulate(tmp_path / "a", *ask, "--require-csrattrs", "enroll")
        assert done.returncode == 4 and "csrattrs that are demanded" in done.stderr
        assert simulate(tmp_path / "a", *ask, "enroll").returncode == 0


def test_a_server_that_is_busy_is_asked_again(bench: Bench) -> None:
    bench.server.config.faults = {"http-503@csrattrs"}
    assert events(bench, "enroll")[-1]["type"] == "RetryLater"
    assert not bench.server.issued()
    bench.server.config.faults = {"cut-connection@csrattrs"}
    assert events(bench, "enroll")[-1]["event"] == "enroll"


def test_the_answer_in_words(tmp_path: Path) -> None:
    config = ServerConfig(directory=tmp_path / "ca")
    with running_server(config) as server:
        ask = ["--url", server.url, "--trust", server.ca_pem]

        def words(*more: str) -> str:
            return simulate(tmp_path / "state", *ask, *more, "csrattrs").stdout

        assert "the server asks for nothing" in words()
        server.config.csrattrs = policy(RFC_9908_3_4)
        assert words().partition("  ")[2].split("\n    ")[1:] == [
            "subject: CN the board's own, OU=myDept, OU=myGroup",
            "key: P-256",
            "extension subjectAltName: DNS:www.myServer.com, IP the board's own",
            "extension keyUsage, critical: digitalSignature keyAgreement",
            "extension extendedKeyUsage: the board's own\n",
        ]
        server.config.csrattrs = CsrAttrsPolicy(
            oids=["1.3.6.1.1.1.1.22", "2.16.840.1.101.3.4.2.2"],
            key="RSA-3072",
            challenge_password=True,
            extension_request=[
                {"oid": "extKeyUsage", "values": ["clientAuth"]},
                {"oid": "1.2.3", "value": "BQA="},
                {"oid": "subjectAltName", "value": "BQA="},
                {"oid": "subjectAltName", "values": ["IP:192.0.2.1", "URI:urn:a"]},
            ],
        )
        assert words().partition("  ")[2].split("\n    ")[1:] == [
            "key: RSA-3072",
            "signature: sha256WithRSAEncryption",
            "digest: SHA-384",
            "challengePassword",
            "extension extendedKeyUsage: clientAuth",
            "extension 1.2.3: 0500",
            "extension subjectAltName: 0500",
            "extension subjectAltName: IP:192.0.2.1, URI:urn:a",
            "unknown to a board: 1.3.6.1.1.1.1.22\n",
        ]
        done = simulate(tmp_path / "state", *ask, "--json", "csrattrs")
        event = json.loads(done.stdout)
        assert event["keys"] == ["RSA-3072"]
        assert event["template"] is False
        assert event["unknown"] == ["1.3.6.1.1.1.1.22"]
        assert event["extensions"][1] == ["1.2.3", False, "0500"]


def test_enrolment_code_from_a_file(tmp_path: Path) -> None:
    config = ServerConfig(directory=tmp_path / "ca", challenge_password="s3cret, code")
    (tmp_path / "code").write_text("s3cret, code\n")
    with running_server(config) as server:
        ask = ["--url", server.url, "--trust", server.ca_pem, "--subject", "CN=a"]
        assert simulate(tmp_path / "a", *ask, "enroll").returncode == 4
        done = simulate(tmp_path / "a", *ask, "--challenge-file", tmp_path / "code", "enroll")
        assert done.returncode == 0
        assert "s3cret" not in done.stdout + done.stderr

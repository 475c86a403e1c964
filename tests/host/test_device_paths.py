"""Certificates under name constraints, and with critical extensions that a board's TLS lacks."""

import ipaddress
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from board_bench import Bench
from commands import simulate
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mpest import packages, shipped
from mpest.exits import Exit
from mpest.server import EstServer, ServerConfig, ca, running_server
from mpest.server.authority import Authority
from mpest.server.ca import Signer, new_ca, new_key
from mpest.server.tls import own_identity
from mpest.sim.board_process import run_board

INSIDE = x509.NameConstraints(
    [
        x509.DNSName("board-1.example"),
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_network("127.0.0.0/8")),
        x509.IPAddress(ipaddress.ip_network("::1/128")),
    ],
    None,
)
NOT_THE_BOARD = x509.NameConstraints(None, [x509.DNSName("example")])
NOT_THE_SERVER = x509.NameConstraints(None, [x509.DNSName("localhost")])


def save(path: Path, signer: Signer) -> None:
    path.with_suffix(".pem").write_bytes(signer.certificate.public_bytes(Encoding.PEM))
    pem = signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.with_suffix(".key").write_bytes(pem)


def limited_ca(
    name: str, limits: x509.NameConstraints, critical: bool, parent: Signer | None = None
) -> Signer:
    """A CA with these `limits`, signed by `parent` or by itself."""
    key = new_key()
    subject = ca.common_name(name)
    start = ca.now() - timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(parent.certificate.subject if parent else subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=365))
        .add_extension(x509.BasicConstraints(True, 0), critical=True)
        .add_extension(limits, critical=critical)
        .sign(parent.key if parent else key, hashes.SHA256())
    )
    return Signer(certificate, key)


@contextmanager
def limited(
    folder: Path, runtime: str, limits: x509.NameConstraints, critical: bool, apart: bool
) -> Iterator[Bench]:
    """A server whose issuing CA has these `limits`, and a board that knows its root.

    apart: the server's own certificate is of the root.
    """
    root = new_ca("root")
    directory = folder / "ca"
    directory.mkdir()
    save(directory / "ca", root)
    save(directory / "issuing", limited_ca("issuing", limits, critical, root))
    config = ServerConfig(directory=directory, auth="none", chain_length=2)
    with running_server(config) as server:
        if apart:
            server.show(own_identity(Authority([root]), "127.0.0.1", cmc_ra=False))
        anchor = root.certificate.public_bytes(Encoding.DER).hex()
        yield Bench(server, folder / "board", runtime, anchors=[anchor], user=None)


def presented(bench: Bench) -> int:
    return (bench.state / "chain.pem").read_text().count("BEGIN")


def told(bench: Bench, operation: str) -> tuple[str, str]:
    """(kind of the last event, text of the notes and of an error)."""
    *notes, last = bench.events(operation)
    texts = [note["text"] for note in notes] + [last.get("message", "")]
    return last.get("type") or last["event"], " ".join(texts)


def test_critical_constraints(tmp_path: Path, runtime: str) -> None:
    """The intermediate is judged, and stays out of what a board shows: its TLS cannot load it."""
    with limited(tmp_path, runtime, INSIDE, True, True) as bench:
        loads = runtime == "cpython"
        for operation in ("enroll", "reenroll"):
            event, text = told(bench, operation)
            assert event == operation, text
            assert ("TLS does not load CN=issuing: not presented" in text) != loads, text
            assert presented(bench) == (2 if loads else 1)


@pytest.mark.parametrize("critical", [True, False])
def test_a_certificate_that_breaks_them(tmp_path: Path, runtime: str, critical: bool) -> None:
    with limited(tmp_path, runtime, NOT_THE_BOARD, critical, True) as bench:
        event, text = told(bench, "enroll")
        assert event == "NotTrusted"
        assert "the name constraints of CN=issuing forbid DNS" in text
        assert not (bench.state / "chain.pem").exists()


def test_a_server_that_keeps_them(tmp_path: Path, runtime: str) -> None:
    with limited(tmp_path, runtime, INSIDE, False, False) as bench:
        assert told(bench, "enroll")[0] == "enroll"
        assert presented(bench) == 2
        assert told(bench, "reenroll")[0] == "reenroll"


def test_a_server_that_breaks_them(tmp_path: Path, runtime: str) -> None:
    """Nothing is sent to it: no request, no login."""
    with limited(tmp_path, runtime, NOT_THE_SERVER, False, False) as bench:
        bench.server.config.faults = {"http-404"}
        bench.server.config.fault_times = 5
        event, text = told(bench, "enroll")
        assert event == "NotTrusted", text
        if runtime != "cpython":
            assert "the name constraints of CN=issuing forbid DNS b'localhost'" in text, text
        assert bench.server.config.fault_times == 5, "a request came"


@pytest.mark.parametrize("critical", [True, False])
def test_a_root_with_constraints(tmp_path: Path, runtime: str, critical: bool) -> None:
    """One that TLS does not load is not trusted by its fingerprint, or no server could be."""
    directory = tmp_path / "ca"
    directory.mkdir()
    save(directory / "ca", limited_ca("root", INSIDE, critical))
    with running_server(ServerConfig(directory=directory, auth="none")) as server:
        bench = Bench(server, tmp_path / "board", runtime, anchors=None, user=None)
        bench.config["fingerprint"] = server.fingerprint
        event, text = told(bench, "enroll")
        if critical and runtime != "cpython":
            # Some versions read no chain that holds it.
            assert event in ("Unsupported", "PeerError"), text
            assert "critical extension" in text, text
            if event == "Unsupported":
                assert "CN=root, whose critical extension 2.5.29.30" in text, text
            assert not list(bench.state.glob("anchors.*"))
        else:
            assert event == "enroll", text


def issuing_ca(parent: Signer, key: Any, begins: timedelta) -> Signer:
    start = ca.now() + begins
    certificate = (
        x509.CertificateBuilder()
        .subject_name(ca.common_name("issuing"))
        .issuer_name(parent.certificate.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=365))
        .add_extension(x509.BasicConstraints(True, 0), critical=True)
        .sign(parent.key, hashes.SHA256())
    )
    return Signer(certificate, key)


@contextmanager
def issued_by(folder: Path, key: Any, begins: timedelta) -> Iterator[EstServer]:
    """A server whose issuing CA has this key and begins then, but for its own certificate."""
    root = new_ca("root")
    directory = folder / "ca"
    directory.mkdir()
    save(directory / "ca", root)
    save(directory / "issuing", issuing_ca(root, key, begins))
    (folder / "root.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    with running_server(ServerConfig(directory=directory, auth="none", chain_length=2)) as server:
        server.show(own_identity(Authority([root]), "127.0.0.1", cmc_ra=False))
        yield server


HOUR = timedelta(hours=1)


def test_an_issuer_with_a_key_that_is_not_supported(tmp_path: Path, runtime: str) -> None:
    """It is the server that uses it, no wrong use; what it is is named, and what becomes of it."""
    with issued_by(tmp_path, ec.generate_private_key(ec.BrainpoolP256R1()), -HOUR) as server:
        use = "--runtime", runtime, "--url", server.url, "--trust", tmp_path / "root.pem"
        done = simulate(tmp_path / "board", *use, "--subject", "CN=board-1", "enroll")
    assert done.returncode == Exit.NETWORK, done.stderr
    words = (
        "the certificate that came: curve 1.3.36.3.3.2.8.1.1.7 (brainpoolP256r1) is not supported"
    )
    assert words in done.stderr, done.stderr
    assert "is kept, and judged again by the next enroll" in done.stderr, done.stderr


def test_an_issuer_that_begins_later(tmp_path: Path, runtime: str) -> None:
    """Its certificate waits, and is not asked for again."""
    with issued_by(tmp_path, new_key(), HOUR) as server:
        use = "--runtime", runtime, "--url", server.url, "--trust", tmp_path / "root.pem"
        for _ in range(2):
            done = simulate(tmp_path / "board", *use, "--subject", "CN=board-1", "enroll")
            assert done.returncode == Exit.LATER, done.stderr
            assert "CN=issuing is not valid yet" in done.stderr, done.stderr
            assert "kept for then" in done.stderr, done.stderr
        assert len(server.issued()) == 1


def test_a_given_root_with_constraints(tmp_path: Path, runtime: str) -> None:
    """One that TLS does not load is told by its name, and why."""
    directory = tmp_path / "ca"
    directory.mkdir()
    save(directory / "ca", limited_ca("root", INSIDE, True))
    with running_server(ServerConfig(directory=directory, auth="none")) as server:
        event, text = told(Bench(server, tmp_path / "board", runtime, user=None), "enroll")
        if runtime == "cpython":
            assert event == "enroll", text
            return
        assert event == "UsageError", text
        assert "a trust anchor CN=root, whose critical extension 2.5.29.30 TLS" in text, text


def test_a_leaf_that_tls_does_not_load(
    tmp_path: Path, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never becomes the identity, nor does it replace the one that works."""
    usual = ca._end_entity
    points = x509.CRLDistributionPoints(
        [
            x509.DistributionPoint(
                [x509.UniformResourceIdentifier("http://ca.example/crl")], None, None, None
            )
        ]
    )

    def with_points(builder: x509.CertificateBuilder, order: ca.Order) -> x509.CertificateBuilder:
        return usual(builder, order).add_extension(points, critical=True)

    loads = runtime == "cpython"
    config = ServerConfig(directory=tmp_path / "ca", auth="none")
    with running_server(config) as server:
        bench = Bench(server, tmp_path / "board", runtime, user=None)
        monkeypatch.setattr(ca, "_end_entity", with_points)
        event, text = told(bench, "enroll")
        assert event == ("enroll" if loads else "PeerError")
        assert ("TLS does not load the certificate" in text) != loads
        assert (bench.state / "chain.pem").exists() == loads
        if loads:
            return
        monkeypatch.setattr(ca, "_end_entity", usual)
        assert told(bench, "enroll")[0] == "enroll"
        before = bench.files()
        monkeypatch.setattr(ca, "_end_entity", with_points)
        event, text = told(bench, "reenroll")
        assert event == "Refused"
        assert "TLS does not take the new certificate" in text
        assert bench.files() == before


def test_a_leaf_that_tls_does_not_load_in_the_least_install(
    tmp_path: Path, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What extensions it passes over may be malformed."""
    for path in packages.parts("est-minimum"):
        (tmp_path / "lib" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(shipped.folder("firmware") / path, tmp_path / "lib" / path)
    usual = ca._end_entity
    names = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\5\0")

    def with_names(builder: x509.CertificateBuilder, order: ca.Order) -> x509.CertificateBuilder:
        builder = usual(builder, order)
        return builder if order.san else builder.add_extension(names, critical=False)

    monkeypatch.setattr(ca, "_end_entity", with_names)
    with running_server(ServerConfig(directory=tmp_path / "ca", auth="none")) as server:
        bench = Bench(server, tmp_path / "board", runtime)
        config = bench.config | {"subject": "CN=a", "user": None, "san": []}
        config["operations"] = ["enroll"]
        event = list(run_board(config, runtime, bench.state, tmp_path / "lib"))[-1]
        if runtime == "cpython":
            assert event["event"] == "enroll"
            return
        assert event["type"] == "UsageError"
        assert "does not load" in event["message"]
        assert not (bench.state / "chain.pem").exists()
        monkeypatch.setattr(ca, "_end_entity", usual)
        event = list(run_board(config, runtime, bench.state, tmp_path / "lib"))[-1]
        assert event["event"] == "enroll", event

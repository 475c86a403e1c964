"""What the board trusts, and how that changes, on each runtime (RFC 7030 3.3.1, 4.1.3)."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from board_bench import Bench
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID

from mpest.server import ServerConfig, der, faults, running_server
from mpest.server.authority import Authority
from mpest.server.ca import link, new_ca
from mpest.server.tls import own_identity
from mpest.server.wire import CERTS_ONLY, base64_reply
from mpest.sim.board_process import run_board

NO_SUCH_CA = "no CA certificate that the server offers has the given fingerprint"


def der_hex(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.DER).hex()


def run(bench: Bench, operation: str, **changes: Any) -> tuple[dict[str, Any], str]:
    """(last event, text of the notes before it)."""
    config = {**bench.config, **changes, "operations": [operation]}
    *notes, last = run_board(config, bench.runtime, bench.state)
    return last, " ".join(note["text"] for note in notes)


def trusted(event: dict[str, Any]) -> set[str]:
    assert event["event"] == "cacerts", event
    return {anchor["sha256"] for anchor in event["anchors"]}


def fingerprints(*certificates: x509.Certificate) -> set[str]:
    return {sha256(one.public_bytes(Encoding.DER)).hexdigest() for one in certificates}


def test_rfc7030_4_1_3_rollover(bench: Bench) -> None:
    """The board follows the root, and at last forgets the old one."""
    server = bench.server
    trust = {"anchors": None, "fingerprint": server.fingerprint}
    assert bench.run("enroll", **trust)["event"] == "enroll"
    old = server.ca_certificates[-1]
    server.rollover()
    new = server.ca_certificates[-1]
    event, said = run(bench, "reenroll", **trust)
    assert event["event"] == "reenroll", event
    assert (
        said
        == f"CN=mpest test root (SHA-256 {bench.server.fingerprint[:8]}) is trusted from now on"
    )
    event, said = run(bench, "cacerts", **trust)
    assert trusted(event) == fingerprints(old, new)
    assert said == ""
    server.rollover()
    latest = server.ca_certificates[-1]
    event, said = run(bench, "cacerts", **trust)
    assert trusted(event) == fingerprints(new, latest)
    assert "is trusted from now on" in said
    assert "is no longer trusted" in said
    assert run(bench, "reenroll", **trust)[0]["event"] == "reenroll"
    # The first root alone would no longer do.
    config = {**bench.config, "operations": ["cacerts"]}
    fresh = list(run_board(config, bench.runtime, bench.state.with_name("fresh")))[-1]
    assert fresh["type"] == "NotTrusted"


def test_rfc7030_4_1_3_first_contact_during_a_rollover(bench: Bench) -> None:
    """A board whose factory gave it the old root."""
    old = bench.server.ca_certificates[-1]
    bench.server.rollover()
    assert bench.run("enroll")["event"] == "enroll"
    event, _ = run(bench, "cacerts")
    assert trusted(event) == fingerprints(old, *bench.server.ca_certificates)
    assert bench.run("reenroll", anchors=None)["event"] == "reenroll"


def test_rfc7030_4_1_3_the_new_root_alone(bench: Bench) -> None:
    """Whoever gives a board the new root may have lost faith in the old one."""
    bench.server.rollover()
    new = bench.server.ca_certificates[-1]
    for _ in range(2):
        event, said = run(bench, "cacerts", anchors=[der_hex(new)])
        assert trusted(event) == fingerprints(new)
        assert "older than what is trusted" in said
    assert run(bench, "enroll", anchors=None)[0]["event"] == "enroll"


def test_rfc4210_4_4_a_thief_of_the_key_that_was_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what the server published the thief's root still is no successor of the new one."""
    folder = bench.server.config.directory
    old = Authority.open(folder, 1).root
    bench.server.rollover()
    new = bench.server.ca_certificates[-1]
    event, _ = run(bench, "cacerts", anchors=[der_hex(new)])
    assert trusted(event) == fingerprints(new)
    rollover = Authority.open(folder, 1).rollover
    assert rollover
    stray = new_ca("mpest test root", after=old)
    loot = [stray.certificate, new, link(stray, old), link(old, stray)]
    loot += [rollover.old_with_new, rollover.new_with_old]
    monkeypatch.setitem(faults.PACKAGE, "loot", lambda *_: der.certs_only(loot))
    monkeypatch.setitem(faults.DESCRIPTIONS, "loot", "answers as a thief would")
    bench.server.config.faults = {"loot"}
    event, said = run(bench, "cacerts", anchors=None)
    assert trusted(event) == fingerprints(new)
    assert "is not trusted" in said


def test_rfc7030_4_1_3_rollovers_that_prove_nothing(bench: Bench) -> None:
    assert bench.run("enroll")["event"] == "enroll"
    anchors = fingerprints(bench.server.ca_certificates[-1])
    for fault, word in (
        ("rollover-forged", "was not signed by"),
        ("rollover-one-way", "does not vouch for the old root"),
        ("rollover-link-expired", "has expired"),
        ("rollover-unrelated", "nothing links it"),
    ):
        bench.server.config.faults = {fault}
        event, said = run(bench, "cacerts")
        assert trusted(event) == anchors
        assert "is not trusted" in said
        assert word in said
    assert run(bench, "reenroll")[0]["event"] == "reenroll"
    bench.server.config.faults = set()
    assert trusted(run(bench, "cacerts", anchors=None)[0]) == anchors
    # The copy of the old root that the board has vouches for the new one as long as it lasts.
    bench.server.config.faults = {"rollover-old-expired"}
    event, said = run(bench, "cacerts")
    assert anchors < trusted(event)
    assert "left out: CN=mpest test root (SHA-256 " in said
    assert ") has expired" in said


def test_rfc7030_3_3_1_anchors_from_elsewhere_end(tmp_path: Path, runtime: str) -> None:
    """An anchor of the application that verified the server makes room for the server's root."""
    config = ServerConfig(directory=tmp_path / "ca", auth="none", chain_length=2)
    with running_server(config) as server:
        bench = Bench(server, tmp_path / "board", runtime)
        issuing, _ = server.ca_certificates
        bench.config |= {"anchors": [der_hex(issuing)], "user": None}
        event, said = run(bench, "enroll")
        assert event["event"] == "enroll"
        event, said = run(bench, "cacerts", anchors=None)
        assert trusted(event) == fingerprints(issuing)
        assert "is not trusted: nothing links it" in said


def test_rfc7030_3_3_1_server_of_another_ca(tmp_path: Path, runtime: str) -> None:
    """A server whose own certificate comes from a CA that the board was made with, such as the
    Web's: its answer says which root issues, and TLS goes on with the anchor that was given.
    """
    (tmp_path / "web").mkdir()
    web = Authority.open(tmp_path / "web", 1)
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        bench = Bench(server, tmp_path / "board", runtime)
        bench.config |= {"anchors": [der_hex(web.root.certificate)], "user": None}
        assert bench.run("enroll")["type"] == "NotTrusted"
        server.show(own_identity(web, "127.0.0.1", cmc_ra=False))
        event, said = run(bench, "enroll")
        assert event["event"] == "enroll", event
        assert "the anchors given are still needed" in said
        assert run(bench, "reenroll")[0]["event"] == "reenroll"
        assert run(bench, "reenroll", anchors=None)[0]["type"] == "NotTrusted"


@pytest.mark.parametrize("signer", ["ca", "ra"])
def test_server_of_another_ca_by_full_cmc(tmp_path: Path, runtime: str, signer: str) -> None:
    """What the CA signs is judged by the roots of /cacerts, and once they are known no handshake
    is tried that must fail."""
    (tmp_path / "web").mkdir()
    web = Authority.open(tmp_path / "web", 1)
    config = ServerConfig(directory=tmp_path / "ca", cmc_signer=signer, chain_length=2)
    with running_server(config) as server:
        server.show(own_identity(web, "127.0.0.1", cmc_ra=False))
        bench = Bench(server, tmp_path / "board", runtime)
        bench.config |= {"anchors": [der_hex(web.root.certificate)], "user": None}
        assert run(bench, "enroll")[0]["event"] == "enroll"
        failed = len(server.failed_handshakes)
        for operation in ("reenroll", "cacerts"):
            event, _ = run(bench, operation, cmc=True)
            assert event["event"] == operation, event
        event, _ = run(bench, "revoke", reason="superseded")
        assert event["event"] == "revoke", event
        assert len(server.failed_handshakes) == failed


def test_server_of_another_ca_and_a_named_one(tmp_path: Path, runtime: str) -> None:
    """Anchors verify the server, and a fingerprint says whose certificates are taken; from then
    on links lead to that CA's new roots."""
    (tmp_path / "web").mkdir()
    web = Authority.open(tmp_path / "web", 1)
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        identity = own_identity(web, "127.0.0.1", cmc_ra=False)
        server.show(identity)
        bench = Bench(server, tmp_path / "board", runtime)
        bench.config |= {"anchors": [der_hex(web.root.certificate)], "user": None}
        event, said = run(bench, "enroll", fingerprint="12" * 32)
        assert event["type"] == "NotTrusted"
        assert NO_SUCH_CA in said
        bench.config["fingerprint"] = server.fingerprint
        assert run(bench, "enroll")[0]["event"] == "enroll"
        first = fingerprints(server.ca_certificates[-1])
        server.rollover()
        server.show(identity)
        event, _ = run(bench, "cacerts")
        assert first < trusted(event)
        # The first root is not offered any more: what it led to is enough.
        server.rollover()
        server.show(identity)
        event, said = run(bench, "cacerts")
        assert len(trusted(event)) == 2 and not first & trusted(event), said
        assert run(bench, "reenroll")[0]["event"] == "reenroll"


def test_a_fingerprint_given_later_counts(tmp_path: Path, runtime: str) -> None:
    """It is not passed over for what was stored by the server's word, or by another one."""
    (tmp_path / "web").mkdir()
    web = Authority.open(tmp_path / "web", 1)
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        server.show(own_identity(web, "127.0.0.1", cmc_ra=False))
        bench = Bench(server, tmp_path / "board", runtime)
        bench.config |= {"anchors": [der_hex(web.root.certificate)], "user": None}
        for before in ({}, {"fingerprint": server.fingerprint}):
            assert run(bench, "cacerts", **before)[0]["event"] == "cacerts"
            event, _ = run(bench, "cacerts", fingerprint="12" * 32)
            assert event["type"] == "NotTrusted"
            assert NO_SUCH_CA in event["message"]


# Of two roots, TLS's (T) and the CA's (C): those in /cacerts, the issuer, whose fingerprint it is.
CASES = {
    "tls-alone": ("T", "T", "C", False),
    "both": ("CT", "T", "C", False),
    "other-alone": ("C", "T", "C", False),
    "honest": ("TC", "C", "C", True),
    "honest-first": ("CT", "C", "C", True),
    "the-same": ("TC", "T", "T", True),
}


@pytest.mark.parametrize("case", CASES)
def test_the_named_ca_alone_judges(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    """Whatever else /cacerts has, and however often the same answer is judged."""
    offered, issuer, named, good = CASES[case]
    (tmp_path / "web").mkdir()
    web = Authority.open(tmp_path / "web", 1)
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        own = server.ca_certificates[-1]
        roots = {"T": own, "C": web.root.certificate}
        if issuer == "C":
            roots = {"T": web.root.certificate, "C": own}
            server.show(own_identity(web, "127.0.0.1", cmc_ra=False))
        certificates = [roots[name] for name in offered]
        message = pkcs7.serialize_certificates(certificates, Encoding.DER)
        reply = base64_reply(message, CERTS_ONLY, 64)
        monkeypatch.setitem(faults.INSTEAD, "other-cacerts", lambda _context: reply)
        monkeypatch.setitem(faults.DESCRIPTIONS, "other-cacerts", "answers as a test says")
        server.config.faults = {"other-cacerts@cacerts"}
        bench = Bench(server, tmp_path / "board", runtime)
        (fingerprint,) = fingerprints(roots[named])
        bench.config |= {"anchors": [der_hex(roots["T"])], "fingerprint": fingerprint}
        for _ in range(2):
            event, said = run(bench, "enroll")
            assert (event["event"] == "enroll") == good, (event, said)
            assert good or event["type"] == "NotTrusted", event
        if good:
            assert run(bench, "reenroll")[0]["event"] == "reenroll"


def test_rfc7030_3_3_1_new_trust_replaces_the_old_only_after_it_verified_a_server(
    bench: Bench, tmp_path: Path
) -> None:
    assert bench.run("enroll")["event"] == "enroll"
    anchors = fingerprints(bench.server.ca_certificates[-1])
    with running_server(ServerConfig(directory=tmp_path / "other")) as other:
        wrong = [der_hex(other.ca_certificates[-1])]
        for trust in ({"anchors": wrong}, {"anchors": None, "fingerprint": other.fingerprint}):
            assert run(bench, "reenroll", **trust)[0]["type"] == "NotTrusted"
            assert run(bench, "cacerts", **trust)[0]["type"] == "NotTrusted"
            assert trusted(run(bench, "cacerts", anchors=None)[0]) == anchors
        event, _ = run(bench, "cacerts", anchors=wrong, url=other.url)
        assert trusted(event) == fingerprints(other.ca_certificates[-1])


@pytest.mark.parametrize("first", ["known", "fingerprint"])
def test_rfc7030_3_6_1_demand_of_cmc_ra(tmp_path: Path, runtime: str, first: str) -> None:
    for cmc_ra in (False, True):
        config = ServerConfig(
            directory=tmp_path / "ca", auth="basic", users={"u": "p"}, cmc_ra=cmc_ra
        )
        with running_server(config) as server:
            bench = Bench(server, tmp_path / "board", runtime)
            bench.config |= {"user": "u", "password": "p", "cmc_ra": True}
            if first == "fingerprint":
                bench.config |= {"anchors": None, "fingerprint": server.fingerprint}
            event, _ = run(bench, "enroll")
            if cmc_ra:
                assert event["event"] == "enroll", event
            else:
                assert event["type"] == "NotTrusted"
                assert "lacks id-kp-cmcRA" in event["message"]
                assert server.credentials_seen == 0
                assert not server.issued()
                assert run(bench, "enroll", cmc_ra=False, subject="CN=b")[0]["event"] == "enroll"


@pytest.mark.parametrize("pinned", [False, True])
def test_thirty_one_ca_certificates(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, pinned: bool
) -> None:
    """A bundle of a server's, of which the board needs one."""
    key = rsa.generate_private_key(65537, 4096)
    others = [self_signed(f"root {number} of others", key) for number in range(30)]
    own = list(bench.server.ca_certificates)
    monkeypatch.setattr(Authority, "published", property(lambda _: own + others))
    trust = {"anchors": None, "fingerprint": bench.server.fingerprint} if pinned else {}
    event, said = run(bench, "enroll", **trust)
    assert event["event"] == "enroll", event
    # On a board with less heap than that they may be left out.
    assert said.count("nothing links it") == 30 or "acerts" in said or "left out" in said


def self_signed(name: str, key: rsa.RSAPrivateKey) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(999))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
    return builder.sign(key, hashes.SHA256())

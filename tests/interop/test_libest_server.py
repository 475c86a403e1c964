"""The device package enrols at Cisco's libest server."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from libest import USER, Site, running
from linux_agent import LinuxAgent

from mpest.server import CsrAttrsPolicy
from mpest.sim import cpython
from mpest.sim.board_process import Event, run_board


@pytest.fixture
def libest(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    program: Callable,
    openssl: Callable[..., str],
) -> Iterator[Site]:
    """A libest server; its options are the parameter, and variables such as EST_CSR_ATTR=MAA=."""
    given = getattr(request, "param", ())
    variables = dict(one.split("=", 1) for one in given if one.startswith("EST_"))
    options = ["-v", *(one for one in given if not one.startswith("EST_"))]
    with running(program("estserver"), tmp_path / "ca", openssl, options, variables) as site:
        try:
            yield site
        finally:
            print(site.log()[-8000:])  # pytest shows it where the test fails


def events(config: Event, runtime: str, state: Path) -> list[Event]:
    """All but the notes: libest always asks for attributes that no board has."""
    return [event for event in run_board(config, runtime, state) if event["event"] != "note"]


def check_kinds(found: list[Event], *kinds: str) -> None:
    assert [event["event"] for event in found] == list(kinds), found


def test_cacerts(libest: Site, runtime: str, tmp_path: Path) -> None:
    found = events(libest.config("cacerts"), runtime, tmp_path / "state")
    check_kinds(found, "cacerts")
    assert [one["subject"] for one in found[0]["certificates"]] == ["CN=libest CA"]


def test_csrattrs(libest: Site, runtime: str, tmp_path: Path) -> None:
    found = events(libest.config("csrattrs"), runtime, tmp_path / "state")
    check_kinds(found, "csrattrs")
    # What libest has built in: four bare object identifiers, none a demand, also not the curve.
    assert (found[0]["keys"], found[0]["signature"]) == ([], None), found
    assert found[0]["hints"] == ["P-384"]
    assert not found[0]["challenge_password"]
    assert found[0]["digest"] == "SHA-384"
    assert found[0]["unknown"] == ["1.3.6.1.1.1.1.22", "1.2.840.113549.1.9.1"]


@pytest.mark.parametrize("name", ["cpython", "micropython"])
def test_the_agent_of_linux(libest: Site, name: str, tmp_path: Path, program: Callable) -> None:
    """Its dry run tells a good login from a wrong one, and has nothing issued."""
    program("micropython")
    login = (USER["user"], USER["password"])
    url = libest.config()["url"]
    agent = LinuxAgent(url, libest.ca, tmp_path / "agent", name, *login)
    done = agent.run("--dry-run")
    assert done.returncode == 0, done.stderr
    assert "the server takes the login" in done.stderr
    done = agent.run("--dry-run", secret_file=None, secret="wrong")
    assert done.returncode == 4, done.stderr
    assert not list((libest.folder / "newcerts").iterdir())
    done = agent.run("--once")
    assert done.returncode == 0, done.stderr
    done = agent.run("renew", "--now")
    assert done.returncode == 0, done.stderr
    assert agent.status()["certificate"]["generation"] == 2


# What is in a subject too; libest leaves a challengePassword out of what it enforces.
DEMANDS = CsrAttrsPolicy(
    oids=["2.5.4.5"], extension_request=["keyUsage", "extKeyUsage", "subjectAltName"]
).to_der()
ENFORCED = ("-b", "--enforce-csr", f"EST_CSR_ATTR={base64.b64encode(DEMANDS).decode()}")


@pytest.mark.parametrize("libest", [ENFORCED], indirect=True)
def test_csrattrs_are_enforced(libest: Site, runtime: str, tmp_path: Path) -> None:
    config = libest.config("csrattrs", "enroll", **USER)
    found = list(run_board(config, runtime, tmp_path / "without"))
    check_kinds(found, "csrattrs", "note", "error")
    assert (found[0]["keys"], found[0]["signature"]) == (["P-256"], "ecdsa-with-SHA256")
    assert found[1]["text"].endswith("left out: 2.5.29.17 2.5.4.5")
    # libest's words.
    assert "CSR Attributes missing in request" in found[2]["message"]
    config |= {"subject": "CN=board-1,serialNumber=1", "san": ["DNS:board-1.example"]}
    check_kinds(list(run_board(config, runtime, tmp_path / "with")), "csrattrs", "enroll")


@pytest.mark.parametrize("libest", [("-b",), ("-h",)], ids=["basic", "digest"], indirect=True)
def test_enroll(libest: Site, runtime: str, tmp_path: Path, check_pair: Callable) -> None:
    state = tmp_path / "state"
    found = events(libest.config("enroll", **USER), runtime, state)
    check_kinds(found, "enroll")
    assert found[0]["certificate"]["subject"] == "CN=board-1"
    assert found[0]["certificate"]["issuer"] == "CN=libest CA"
    check_pair(libest.ca, state / "cert.pem", state / "key.pem")


@pytest.mark.parametrize("libest", [("-b",), ("-h",)], ids=["basic", "digest"], indirect=True)
def test_wrong_password(libest: Site, runtime: str, tmp_path: Path) -> None:
    wrong = {**USER, "password": "wrong"}
    found = events(libest.config("enroll", **wrong), runtime, tmp_path / "state")
    check_kinds(found, "error")
    assert found[0]["type"] == "Refused", found
    assert not (tmp_path / "state/cert.pem").exists()


# libest's server takes the base64 of its token, as its client sends it.
TOKEN = base64.b64encode(b"sesame").decode()


@pytest.mark.parametrize("libest", [("--token", "sesame")], ids=["token"], indirect=True)
def test_token(libest: Site, runtime: str, tmp_path: Path, check_pair: Callable) -> None:
    state = tmp_path / "state"
    found = events(libest.config("enroll", token="wrong"), runtime, tmp_path / "other")
    check_kinds(found, "error")
    assert found[0]["type"] == "Refused", found
    check_kinds(events(libest.config("enroll", token=TOKEN), runtime, state), "enroll")
    check_pair(libest.ca, state / "cert.pem", state / "key.pem")


@pytest.mark.parametrize("libest", [("-n",)], ids=["certificate"], indirect=True)
def test_factory_certificate(
    libest: Site, runtime: str, tmp_path: Path, openssl: Callable[..., str], check_pair: Callable
) -> None:
    """No password at all, but a certificate of the server's CA; then the one issued."""
    state = tmp_path / "state"
    found = events(libest.config("enroll"), runtime, tmp_path / "other")
    check_kinds(found, "error")
    factory = {}
    for field, kind in (("factory_chain", "x509"), ("factory_key", "pkey")):
        pem = libest.folder / ("factory.pem" if kind == "x509" else "factory.key")
        der = tmp_path / field
        openssl(kind, "-in", pem, "-outform", "DER", "-out", der)
        factory[field] = der.read_bytes().hex()
    factory["factory_chain"] = [factory["factory_chain"]]
    check_kinds(events(libest.config("enroll", **factory), runtime, state), "enroll")
    check_kinds(events(libest.config("reenroll"), runtime, state), "reenroll")
    check_pair(libest.ca, state / "cert.pem", state / "key.pem")


def test_reenroll(libest: Site, runtime: str, tmp_path: Path, check_pair: Callable) -> None:
    state = tmp_path / "state"
    check_kinds(events(libest.config("enroll", **USER), runtime, state), "enroll")
    before = (state / "cert.pem").read_text(), (state / "key.pem").read_text()
    found = events(libest.config("reenroll", **USER), runtime, state)
    check_kinds(found, "reenroll")
    assert found[0]["certificate"]["subject"] == "CN=board-1"
    assert (state / "cert.pem").read_text() != before[0]
    assert (state / "key.pem").read_text() != before[1]
    check_pair(libest.ca, state / "cert.pem", state / "key.pem")


def test_serverkeygen(libest: Site, runtime: str, tmp_path: Path, check_pair: Callable) -> None:
    state = tmp_path / "state"
    # libest makes RSA-4096 keys and sends them as PKCS #1; the second time TLS shows the first.
    before = ""
    for _ in range(2):
        found = events(libest.config("serverkeygen", **USER), runtime, state)
        check_kinds(found, "serverkeygen")
        assert found[0]["certificate"]["subject"] == "CN=board-1"
        check_pair(libest.ca, state / "cert.pem", state / "key.pem")
        assert before != (before := (state / "key.pem").read_text())


# The emulated boards would show nothing else.
NATIVE = pytest.mark.parametrize("runtime", ["cpython", "micropython"], indirect=True)


@NATIVE
def test_rsa_keys(libest: Site, runtime: str, tmp_path: Path, check_pair: Callable) -> None:
    state = tmp_path / "state"
    key_type = {"key_type": "RSA-2048"}
    for operation in ("enroll", "reenroll"):
        found = events(libest.config(operation, **USER, **key_type), runtime, state)
        check_kinds(found, operation)
        check_pair(libest.ca, state / "cert.pem", state / "key.pem")
        certificate = x509.load_pem_x509_certificate((state / "cert.pem").read_bytes())
        assert isinstance(certificate.public_key(), rsa.RSAPublicKey)


@NATIVE
def test_p384_keys(libest: Site, runtime: str, tmp_path: Path, check_pair: Callable) -> None:
    state = tmp_path / "state"
    config = libest.config("enroll", **USER, key_type="P-384")
    check_kinds(events(config, runtime, state), "enroll")
    check_pair(libest.ca, state / "cert.pem", state / "key.pem")
    # libest's TLS knows no curve but P-256, in client certificates too. Whether its alert or the
    # end of the connection comes first is chance.
    found = events(libest.config("reenroll", **USER), runtime, state)
    check_kinds(found, "error")
    assert "TLS" in found[0]["message"], found
    check_pair(libest.ca, state / "cert.pem", state / "key.pem")


def hasten(state: Path) -> None:
    """Make the board believe that the time it was asked to wait has passed."""
    cpython.install()
    from est import posix, store

    stored = store.Store(str(state))
    meta, *rest = store.unpack(stored.load("order"))
    meta["until"] -= meta["wait"]
    stored.save("order", store.pack(meta, *rest))
    posix.close(str(state))


@pytest.mark.parametrize("libest", [("-m", "3")], ids=["manual"], indirect=True)
def test_waiting(libest: Site, runtime: str, tmp_path: Path, check_pair: Callable) -> None:
    state = tmp_path / "state"
    # libest sends an hour whatever -m says; a board that asks too early does not connect.
    for earliest in (3600, 3500):
        found = events(libest.config("enroll", **USER), runtime, state)
        check_kinds(found, "error")
        assert found[0]["type"] == "RetryLater", found
        assert earliest <= found[0]["seconds"] <= 3600
    assert libest.log().count('simpleenroll HTTP/1.1" 202') == 1
    hasten(state)
    check_kinds(events(libest.config("enroll", **USER), runtime, state), "enroll")
    check_pair(libest.ca, state / "cert.pem", state / "key.pem")


@pytest.mark.parametrize(
    "libest", [("-b", "-t"), ("-h", "-t")], ids=["basic", "digest"], indirect=True
)
def test_proof_of_possession(libest: Site, tmp_path: Path, check_pair: Callable) -> None:
    """estserver -t checks tls-unique, which it asks for as challengePassword (RFC 7030 3.5)."""
    state = tmp_path / "state"
    for operation in ("enroll", "reenroll"):
        found = events(libest.config(operation, **USER), "cpython", state)
        check_kinds(found, operation)
        check_pair(libest.ca, state / "cert.pem", state / "key.pem")
    config = libest.config("enroll", challenge="not tls-unique", **USER)
    check_kinds(events(config, "cpython", tmp_path / "other"), "error")

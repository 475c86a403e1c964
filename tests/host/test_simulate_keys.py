"""`mpest simulate` with keys and requests made elsewhere, as users of openssl have them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import openssl, simulate
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from mpest.exits import CliError, Exit
from mpest.server import ServerConfig, der, running_server
from mpest.sim import inputs

NATIVE = pytest.mark.parametrize("runtime", ["cpython", "micropython"], indirect=True)


def made(
    key: Path, kind: str = "EC", option: str = "ec_paramgen_curve:P-256", form: str = "PEM"
) -> Path:
    """A new private key in the file `key`."""
    openssl("genpkey", "-algorithm", kind, "-pkeyopt", option, "-outform", form, "-out", key)
    return key


def requested(key: Path, form: str = "PEM") -> Path:
    """A request for `key`, both in that form."""
    csr = key.with_suffix(".csr")
    names = ("-subj", "/O=Plant/CN=own", "-addext", "subjectAltName=DNS:own.example")
    openssl("req", "-new", "-key", key, "-keyform", form, *names, "-outform", form, "-out", csr)
    return csr


def test_own_request_without_attributes(tmp_path: Path) -> None:
    """RFC 2986 demands the field; some leave it out. It goes to the server as it is."""
    owner = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "own")]).public_bytes()
    spki = owner.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    info = der.sequence(der.integer(0), name, spki)
    algorithm = der.sequence(der.oid("1.2.840.10045.4.3.2"))
    signature = b"\0" + owner.sign(info, ec.ECDSA(hashes.SHA256()))
    csr, key = tmp_path / "own.csr", tmp_path / "own.key"
    csr.write_bytes(der.sequence(info, algorithm, der.tlv(0x03, signature)))
    key.write_bytes(owner.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        board = ("--url", server.url, "--trust", server.ca_pem, "--csr", csr, "--own-key", key)
        for runtime in ("cpython", "micropython"):
            done = simulate(tmp_path / runtime, *board, "--runtime", runtime, "enroll")
            assert done.returncode == Exit.DONE, done.stderr
            got = x509.load_pem_x509_certificate((tmp_path / runtime / "cert.pem").read_bytes())
            assert got.public_key() == owner.public_key()


@pytest.mark.parametrize(
    ("runtime", "form"), [("cpython", "DER"), ("micropython", "PEM")], indirect=["runtime"]
)
def test_own_request(tmp_path: Path, runtime: str, form: str) -> None:
    key = made(tmp_path / "own.key", form=form)
    csr = requested(key, form)
    state = tmp_path / "board"
    own = ("--csr", csr, "--own-key", key)

    def shown(*what: str) -> str:
        return openssl("x509", "-in", state / "cert.pem", "-noout", *what)

    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        board = ("--runtime", runtime, "--url", server.url, "--trust", server.ca_pem)
        server.config.approve_after = 1
        assert simulate(state, *board, *own, "enroll").returncode == Exit.LATER
        while (done := simulate(state, *board, *own, "enroll")).returncode == Exit.LATER:
            assert "given up" not in done.stderr
        assert done.returncode == Exit.DONE, done.stderr
        server.config.approve_after = 0
        public, names = shown("-pubkey"), shown("-subject", "-ext", "subjectAltName")
        assert public == openssl("pkey", "-in", key, "-pubout")
        assert "Plant" in names
        assert "DNS:own.example" in names
        # A renewal keeps the names, whatever key it is for.
        for options, same in (((), False), (own, True), (("--same-key",), True)):
            done = simulate(state, *board, *options, "reenroll")
            assert done.returncode == Exit.DONE, done.stderr
            assert (shown("-pubkey") == public) == same
            assert shown("-subject", "-ext", "subjectAltName") == names
        # The server makes the key: the request's, and with it the option, has no part in it.
        assert simulate(state, *board, "--csr", csr, "serverkeygen").returncode == Exit.DONE
        assert shown("-pubkey") != public
        assert shown("-subject", "-ext", "subjectAltName") == names


def test_own_key(tmp_path: Path) -> None:
    key = made(tmp_path / "own.key", "RSA", "rsa_keygen_bits:2048")
    state = tmp_path / "board"
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        board = ("--url", server.url, "--trust", server.ca_pem, "--own-key", key)
        assert simulate(state, *board, "--subject", "CN=a", "enroll").returncode == Exit.DONE
        assert simulate(state, *board, "reenroll").returncode == Exit.DONE
    public = openssl("x509", "-in", state / "cert.pem", "-noout", "-pubkey")
    assert public == openssl("pkey", "-in", key, "-pubout")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of keys and requests, good and bad."""
    folder = tmp_path_factory.mktemp("keys")
    key = made(folder / "own.key")
    csr = requested(key)
    made(folder / "other.key")
    made(folder / "rsa.key", "RSA", "rsa_keygen_bits:2048")
    made(folder / "p521.key", option="ec_paramgen_curve:P-521")
    openssl("pkey", "-in", key, "-aes256", "-passout", "pass:a", "-out", folder / "locked.key")
    for path in (key, csr):
        (folder / f"cut{path.suffix}").write_bytes(path.read_bytes()[:-40])
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--csr own.csr enroll", "--own-key or --secure-element"),
        ("--csr own.csr reenroll", "--own-key or --secure-element"),
        ("--csr own.csr --own-key own.key --subject CN=a enroll", "leave out --subject"),
        ("--csr own.csr --own-key own.key --subject CN=a reenroll", "leave out --subject"),
        ("--csr own.csr --own-key own.key --san DNS:a enroll", "leave out --san"),
        ("--csr own.csr --own-key own.key --challenge-file c enroll", "leave out --challenge"),
        ("--csr own.csr --key-type P-256 serverkeygen", "leave out --key-type"),
        ("--csr none.csr --own-key own.key enroll", "cannot read none.csr"),
        ("--csr . --own-key own.key enroll", "'.' is a directory"),
        ("--csr own.key --own-key own.key enroll", "own.key holds no certification request"),
        ("--csr cut.csr --own-key own.key enroll", "cut.csr holds no certification request"),
        ("--csr own.csr --own-key other.key enroll", "other.key is not the key of the request in"),
        ("--csr own.csr --own-key rsa.key enroll", "rsa.key is not the key of the request in own"),
        (
            "--csr own.csr --secure-element other.key enroll",
            "is not the key of the request in own",
        ),
        ("--subject CN=a --own-key none.key enroll", "cannot read none.key"),
        ("--subject CN=a --own-key own.csr enroll", "own.csr holds no private key"),
        ("--subject CN=a --own-key cut.key enroll", "cut.key holds no private key"),
        ("--subject CN=a --own-key locked.key enroll", "openssl pkey -in locked.key"),
        ("--subject CN=a --own-key p521.key enroll", "1.3.132.0.35 is not supported"),
        ("--subject CN=a --own-key own.key --key-type P-256 enroll", "--key-type is for keys"),
        ("--subject CN=a --own-key own.key serverkeygen", "leave out --own-key"),
        ("--own-key own.key --same-key reenroll", "exclude each other"),
        ("--subject CN=a --own-key own.key --secure-element own.key enroll", "exclude each other"),
        ("--subject CN=a --secure-element none.key enroll", "cannot read none.key"),
        ("--subject CN=a --secure-element own.csr enroll", "own.csr holds no private key"),
        ("--subject CN=a --secure-element cut.key enroll", "cut.key holds no private key"),
        ("--subject CN=a --secure-element rsa.key enroll", "P-256 or P-384, rsa.key another"),
        ("--subject CN=a --secure-element p521.key enroll", "P-256 or P-384, p521.key another"),
        ("--subject CN=a --secure-element own.key --key-type P-384 enroll", "--key-type is for"),
    ],
)
def test_own_request_and_key_that_will_not_do(
    keys: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, words: str
) -> None:
    monkeypatch.chdir(keys)
    # Whoever tried to reach that server would end otherwise.
    nowhere = ("--url", "https://127.0.0.1:1", "--trust", "sha256:" + 64 * "0")
    done = simulate(keys / "board", *nowhere, *arguments.split())
    assert done.returncode == Exit.USAGE, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_own_request_cut_anywhere(tmp_path: Path, form: str) -> None:
    key = made(tmp_path / "own.key", form=form)
    csr = requested(key, form)
    for path in (csr, key):
        whole = path.read_bytes()
        assert inputs.read_own(str(csr), str(key), None)["own_request"]
        for length in range(len(whole.rstrip()) if form == "PEM" else len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(CliError, match=f"{path.name} holds no"):
                inputs.read_own(str(csr), str(key), None)
        path.write_bytes(whole)


def test_files_with_any_bit_wrong(tmp_path: Path) -> None:
    """What is still a request, a key or a certificate goes on to the board, which judges it."""
    key = made(tmp_path / "own.key", form="DER")
    csr = requested(key, "DER")
    cert = tmp_path / "own.cert"
    openssl(
        *("req", "-x509", "-key", key, "-keyform", "DER", "-subj", "/CN=a"),
        *("-outform", "DER", "-out", cert),
    )
    readers: dict[Path, Callable[[], object]] = {
        csr: lambda: inputs.read_own(str(csr), None, None),
        key: lambda: inputs.read_own(None, str(key), None),
        cert: lambda: inputs.read_factory(str(cert), str(key)),
    }
    for path, read in readers.items():
        whole = path.read_bytes()
        refused = 0
        for at in range(0, 8 * len(whole), 1 if path == csr else 3):
            wrong = bytearray(whole)
            wrong[at // 8] ^= 1 << at % 8
            path.write_bytes(wrong)
            try:
                read()
            except CliError as error:
                assert path.name in error.message
                refused += 1
        assert refused > 100
        path.write_bytes(whole)
        read()


def test_own_request_with_a_wrong_signature(tmp_path: Path) -> None:
    key = made(tmp_path / "own.key", form="DER")
    csr = requested(key, "DER")
    csr.write_bytes(csr.read_bytes().replace(b"Plant", b"Plans"))
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        board = ("--url", server.url, "--trust", server.ca_pem, "--csr", csr, "--own-key", key)
        done = simulate(tmp_path / "board", *board, "enroll")
        assert done.returncode == Exit.USAGE
        assert "the request:" in done.stderr
        assert not [event for event in server.events if event.get("method") == "POST"]


@pytest.mark.parametrize("runtime", ["micropython-picow-like"], indirect=True)
def test_secure_element(tmp_path: Path, runtime: str) -> None:
    key = made(tmp_path / "element.key")
    other = made(tmp_path / "other.key")
    csr = requested(key)
    state = tmp_path / "board"
    number = bytes.fromhex(inputs.read_own(None, None, str(key))["element"])
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        board = ("--runtime", runtime, "--url", server.url, "--trust", server.ca_pem)
        element = ("--secure-element", key)
        done = simulate(state, *board, *element, "--subject", "CN=a", "enroll", "reenroll")
        assert done.returncode == Exit.DONE, done.stderr
        assert "cannot sign" not in done.stderr
        public = openssl("x509", "-in", state / "cert.pem", "-noout", "-pubkey")
        assert public == openssl("pkey", "-in", key, "-pubout")
        assert not (state / "key.pem").exists()
        for path in state.iterdir():
            assert number not in path.read_bytes(), path
        seen = len(server.events)
        for wrong, text in (
            ((), "give --secure-element as when it enrolled"),
            (("--secure-element", other), f"{other} is not the key that the board enrolled with"),
        ):
            for operation in ("reenroll", "revoke"):
                done = simulate(state, *board, *wrong, operation)
                assert done.returncode == Exit.USAGE
                assert text in " ".join(done.stderr.split())
        for given in ((), element):
            done = simulate(state, *board, *given, "serverkeygen")
            assert done.returncode == Exit.USAGE
        assert len(server.events) == seen
        done = simulate(state, *board, *element, "revoke", "--csr", csr, "enroll")
        assert done.returncode == Exit.DONE, done.stderr
    assert "Plant" in openssl("x509", "-in", state / "cert.pem", "-noout", "-subject")


@pytest.mark.parametrize("runtime", ["micropython-picow-like"], indirect=True)
def test_secure_element_on_p384(tmp_path: Path, runtime: str) -> None:
    key = made(tmp_path / "element.key", option="ec_paramgen_curve:P-384")
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        board = ("--runtime", runtime, "--url", server.url, "--trust", server.ca_pem)
        board += ("--subject", "CN=a", "--secure-element", key)
        done = simulate(tmp_path / "board", *board, "enroll", "reenroll")
        assert done.returncode == Exit.DONE, done.stderr
    public = openssl("x509", "-in", tmp_path / "board/cert.pem", "-noout", "-pubkey")
    assert public == openssl("pkey", "-in", key, "-pubout")


@NATIVE
def test_secure_element_where_tls_cannot_use_it(tmp_path: Path, runtime: str) -> None:
    key = made(tmp_path / "element.key")
    state = tmp_path / "board"
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        board = ("--runtime", runtime, "--url", server.url, "--trust", server.ca_pem)
        board += ("--subject", "CN=a", "--secure-element", key)
        done = simulate(state, *board, "--json", "enroll")
        assert done.returncode == Exit.DONE
        note, enrolled = map(json.loads, done.stdout.splitlines())
        assert "--runtime micropython-picow-like can" in note["text"]
        assert enrolled["certificate"]["subject"] == "CN=a"
        seen = len(server.events)
        for operation in ("reenroll", "revoke"):
            done = simulate(state, *board, operation)
            assert done.returncode == Exit.USAGE
            assert "--runtime micropython-picow-like can" in done.stderr
            assert "cannot sign with a secure element" in done.stderr.splitlines()[-1]
        assert len(server.events) == seen
        # Another key, in memory, takes its place.
        done = simulate(state, *board[:-2], "enroll", "reenroll")
        assert done.returncode == Exit.DONE, done.stderr
        assert (state / "key.pem").exists()

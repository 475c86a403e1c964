"""`mpest simulate` and `mpest demo` as a user runs them."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from mpest.exits import CliError, Exit
from mpest.server import ServerConfig, running_server
from mpest.server.serverkeygen import ServerKeygenPolicy
from mpest.sim import inputs
from mpest.sim.command import in_words

COMMAND = [sys.executable, "-c", "from mpest.cli import main; main()"]


def mpest(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60)


def simulate(state: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return mpest("simulate", "--runtime", "cpython", "--state", state, *arguments)


def openssl(*arguments: str | Path) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True)
    return done.stdout


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


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--url", "http://127.0.0.1:1", "show"], Exit.USAGE, "https://"),
        (["--url", "https://", "cacerts"], Exit.USAGE, "URL"),
        (["--url", "https://u:secret@127.0.0.1:1", "cacerts"], Exit.USAGE, "without a user"),
        (["--url", "HTTPS://127.0.0.1:1", "cacerts"], Exit.USAGE, "fingerprint"),
        (["--url", "https://127.0.0.1:99999", "cacerts"], Exit.USAGE, "URL"),
        (["--url", "https://127.0.0.1:1/.well-known/est/a b", "cacerts"], Exit.USAGE, "URL"),
        (
            ["--url", "https://127.0.0.1:1/.well-known/est/\r\nX: y", "cacerts"],
            Exit.USAGE,
            "print",
        ),
        (["--url", "https://127.0.0.1:1", "--subject", "CN=a\nb", "enroll"], 2, "print"),
        (["--url", "https://127.0.0.1:1", "--cert", "x", "show"], 2, "--key"),
        (["--url", "https://127.0.0.1:1/est", "cacerts"], Exit.USAGE, ".well-known/est"),
        (["--url", "https://127.0.0.1:1", "cacerts"], Exit.USAGE, "fingerprint"),
        (["--url", "https://127.0.0.1:1", "reenroll"], Exit.USAGE, "enrol first"),
        (["--url", "https://127.0.0.1:1", "enroll"], Exit.USAGE, "--subject"),
        (["--url", "https://127.0.0.1:1", "--trust", "nowhere.pem", "cacerts"], 2, "nowhere.pem"),
        (["--url", "https://127.0.0.1:1", "--trust", __file__, "cacerts"], 2, "certificate"),
        (["--url", "https://127.0.0.1:1", "--trust", "sha256:12", "cacerts"], 2, "64"),
        (["--url", "https://127.0.0.1:1", "--user", "u", "show"], 2, "--password-file"),
        (["--url", "https://127.0.0.1:1", "--token-file", "none", "show"], 2, "none"),
        (["--url", "https://127.0.0.1:1", "--decrypt-key", __file__, "show"], 2, "private key"),
        (
            ["--url", "https://127.0.0.1:1", "--decrypt-secret-file", __file__, "serverkeygen"],
            Exit.USAGE,
            "hexadecimal",
        ),
        (
            ["--url", "https://127.0.0.1:1", "--trust", "sha256:" + 64 * "0", "cacerts"],
            Exit.NETWORK,
            "cannot reach",
        ),
    ],
)
def test_wrong_use(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    done = simulate(tmp_path / "state", *arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
    assert done.stdout == ""


def test_state_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = simulate(tmp_path / "file" / "state", "--url", "https://127.0.0.1:1", "show")
    assert done.returncode == Exit.STORAGE


def test_enrol_at_a_label(tmp_path: Path) -> None:
    config = ServerConfig(
        directory=tmp_path / "ca", port=0, auth="basic", users={"u": "geheim!"}, label="plant-1"
    )
    (tmp_path / "password").write_text("geheim!\n")
    (tmp_path / "wrong").write_text("wrong-one\n")
    state = tmp_path / "state"
    with running_server(config) as server:
        login = ["--url", server.url, "--trust", server.ca_pem, "--user", "u"]
        assert server.url.endswith("/plant-1")
        rest = ["--subject", "CN=a", "--json", "enroll"]
        done = simulate(state, *login, "--password-file", tmp_path / "wrong", *rest)
        assert done.returncode == Exit.REFUSED
        assert "wrong-one" not in done.stdout + done.stderr
        done = simulate(state, *login, "--password-file", tmp_path / "password", *rest)
        assert done.returncode == Exit.DONE, done.stderr
        event = json.loads(done.stdout)
        assert event["certificate"]["subject"] == "CN=a"
        assert "geheim" not in done.stdout + done.stderr
        server.config.approve_after = 60
        done = simulate(state, "--url", server.url, "reenroll")
        assert done.returncode == Exit.LATER
        assert "try again in" in done.stderr
        server.config.faults = {"tls-wrong-ca"}
        done = simulate(state, "--url", server.url, "cacerts")
        assert done.returncode == Exit.NOT_TRUSTED
    assert (state / "cert.pem").exists()


def test_serverkeygen(tmp_path: Path) -> None:
    secret, key = tmp_path / "secret", tmp_path / "own.pem"
    secret.write_text("00112233445566778899aabbccddeeff\n")
    password = tmp_path / "password"
    password.write_text("geheim!\n")
    made(key)
    public = openssl("pkey", "-in", key, "-pubout")
    policy = {
        "secrets": {"6964": secret.read_text().strip()},
        "public_keys": {"6b6579": public},
        "password": "geheim!",
    }
    config = ServerConfig(
        directory=tmp_path / "ca", serverkeygen=ServerKeygenPolicy.model_validate(policy)
    )
    with running_server(config) as server:
        state = tmp_path / "board"
        board = ["--url", server.url, "--trust", server.ca_pem, "--subject", "CN=a"]
        done = simulate(state, *board, "serverkeygen")
        assert done.returncode == Exit.USAGE
        assert "give the password" in done.stderr
        seen = set()
        for given in (
            ("--decrypt-secret-file", secret, "--decrypt-id", "69:64"),
            ("--decrypt-key", key, "--decrypt-id", "6b6579"),
            ("--decrypt-password-file", password),
        ):
            done = simulate(state, *board, *given, "--json", "serverkeygen")
            assert done.returncode == Exit.DONE, done.stderr
            assert json.loads(done.stdout)["certificate"]["subject"] == "CN=a"
            assert "geheim" not in done.stdout + done.stderr
            assert secret.read_text().strip() not in done.stdout + done.stderr
            seen.add((state / "key.pem").read_text())
        assert len(seen) == 3
        assert (state / "key.pem").stat().st_mode & 0o777 == 0o600
        done = simulate(state, *board, "--decrypt-id", "zz", "--decrypt-key", key, "serverkeygen")
        assert done.returncode == Exit.USAGE
        done = simulate(
            state, *board, "--decrypt-key", key, "--decrypt-secret-file", secret, "serverkeygen"
        )
        assert "exclude each other" in done.stderr
        done = simulate(state, *board, "--decrypt-id", "00", "serverkeygen")
        assert "--decrypt-id goes with" in done.stderr


def test_revoke(tmp_path: Path) -> None:
    with running_server(ServerConfig(directory=tmp_path / "ca", port=0)) as server:
        state = tmp_path / "board"
        board = ["--url", server.url, "--trust", server.ca_pem, "--subject", "CN=a"]
        done = simulate(state, *board, "revoke")
        assert done.returncode == Exit.USAGE
        assert "nothing to revoke" in done.stderr
        assert simulate(state, *board, "enroll").returncode == Exit.DONE
        done = simulate(state, *board, "--reason", "boredom", "revoke")
        assert done.returncode == Exit.USAGE
        assert "keyCompromise" in done.stderr
        for fault, code in (
            ("cmc-wrong-signature", Exit.NOT_TRUSTED),
            ("cmc-failed", Exit.REFUSED),
            ("cmc-pending", Exit.LATER),
            ("cmc-malformed", Exit.NETWORK),
        ):
            server.config.faults = {fault}
            done = simulate(state, *board, "--json", "revoke")
            assert done.returncode == code, fault
            event = json.loads(done.stdout)
            assert (event["event"], event["operation"]) == ("error", "revoke")
            assert (state / "cert.pem").exists()
        server.config.faults = set()
        (serial,) = [row.serial for row in server.issued()]
        done = simulate(state, *board, "--reason", "superseded", "--json", "revoke")
        assert done.returncode == Exit.DONE
        event = json.loads(done.stdout)
        assert (event["event"], event["certificate"]["serial"].lstrip("0")) == ("revoke", serial)
        assert not list(state.glob("*.pem"))
        done = simulate(state, *board, "enroll", "revoke")
        assert done.returncode == Exit.DONE
        assert "CN=a" in done.stderr
        assert "revoked and forgotten" in done.stderr
        assert not list(state.glob("*.pem"))


def test_storage_that_fails_after_the_board(tmp_path: Path) -> None:
    with running_server(ServerConfig(directory=tmp_path / "ca", port=0)) as server:
        state = tmp_path / "board"
        (state / "key.pem").mkdir(parents=True)
        board = ["--url", server.url, "--trust", server.ca_pem, "--subject", "CN=a"]
        done = simulate(state, *board, "enroll")
        assert done.returncode == Exit.STORAGE
        assert "cannot write the identity" in done.stderr.splitlines()[-1]
        (state / "key.pem").rmdir()
        assert simulate(state, *board, "show").returncode == Exit.DONE
    assert (state / "key.pem").exists()
    assert not list(state.glob("*.part"))


@pytest.mark.parametrize("runtime", ["cpython", "micropython"])
def test_a_server_that_is_not_there(tmp_path: Path, runtime: str, program: Callable) -> None:
    if runtime != "cpython":
        program(runtime)
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        known = ("--url", server.url, "--trust", server.ca_pem)
    done = simulate(tmp_path / "board", *known, "--runtime", runtime, "cacerts")
    assert done.returncode == Exit.NETWORK
    assert "are server and network up?" in done.stderr
    assert "Connection refused)" in done.stderr


@pytest.mark.parametrize(
    ("kind", "message", "shown"),
    [
        ("StorageError", "cannot write a.0: 28", "cannot write a.0: No space left on device"),
        ("StorageError", "cannot read a.0: [Errno 5] EIO", "cannot read a.0: Input/output error"),
        ("PeerError", "TLS: [Errno 104] ECONNRESET", "TLS: Connection reset by peer"),
        ("PeerError", "unexpected HTTP 204: 28", "unexpected HTTP 204: 28"),
        ("Refused", "refused with HTTP 400: 28", "refused with HTTP 400: 28"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="the numbers are Linux's")
def test_errors_of_the_system_in_words(kind: str, message: str, shown: str) -> None:
    assert in_words({"type": kind, "message": message}) == shown


def test_one_board_at_a_time(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        done = simulate(tmp_path, "--url", "https://127.0.0.1:1", "show")
    finally:
        os.close(descriptor)
    assert done.returncode == Exit.STORAGE
    assert "another" in done.stderr


def test_certificate_and_key_that_do_not_match(tmp_path: Path) -> None:
    config = ServerConfig(directory=tmp_path / "ca", port=0, auth="mtls")
    with running_server(config) as server:
        for name in ("a", "b"):
            certificate, key = server.new_identity(name)
            (tmp_path / f"{name}.pem").write_bytes(certificate)
            (tmp_path / f"{name}.key").write_bytes(key)
        board = ["--url", server.url, "--trust", server.ca_pem, "--subject", "CN=a"]
        board += ["--cert", tmp_path / "a.pem", "enroll", "--key"]
        done = simulate(tmp_path / "board", *board, tmp_path / "b.key")
        assert done.returncode == Exit.USAGE
        assert "is not the key of" in done.stderr
        assert simulate(tmp_path / "board", *board, tmp_path / "a.key").returncode == Exit.DONE


def test_interrupt(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        trust = "sha256:" + 64 * "0"
        options = ["--runtime", "cpython", "--state", tmp_path, "--url", url, "--trust", trust]
        command = [*COMMAND, "simulate", *options, "cacerts"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            _held = silent.accept()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)
    assert process.returncode == Exit.INTERRUPTED
    assert said == "Interrupted.\n"


def test_demo() -> None:
    done = mpest("demo")
    assert done.returncode == 0, done.stderr
    assert "All of it worked" in done.stderr


def test_key_type(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running_server(ServerConfig(directory=tmp_path / "ca", port=0)) as server:
        common = ("--url", server.url, "--trust", server.ca_pem, "--subject", "CN=board-1")
        assert simulate(state, *common, "--key-type", "P-384", "enroll").returncode == Exit.DONE
        assert simulate(state, *common, "reenroll").returncode == Exit.DONE
        assert "384 bit" in openssl("pkey", "-in", state / "key.pem", "-noout", "-text")
    done = simulate(state, *common, "--key-type", "P-521", "show")
    assert done.returncode == Exit.USAGE
    assert "RSA-4096" in done.stderr


def test_trust_cut_off(tmp_path: Path) -> None:
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        pem = server.ca_pem.read_bytes()
    trust = tmp_path / "trust.pem"
    for cut in (pem + pem[:150], pem[:150] + pem):
        trust.write_bytes(cut)
        done = simulate(
            tmp_path / "board", "--url", "https://127.0.0.1:1", "--trust", trust, "cacerts"
        )
        assert done.returncode == Exit.USAGE
        assert "trust.pem" in done.stderr


def test_expired_certificate(tmp_path: Path) -> None:
    config = ServerConfig(directory=tmp_path / "ca", lifetime=timedelta(seconds=1))
    with running_server(config) as server:
        known = ("--url", server.url, "--trust", server.ca_pem)
        done = simulate(tmp_path / "board", *known, "--subject", "CN=a", "enroll")
        assert done.returncode == Exit.DONE
        time.sleep(2.5)
        done = simulate(tmp_path / "board", *known, "reenroll")
    assert done.returncode == Exit.NETWORK
    assert "expired at" in done.stderr
    assert "enrol again" in done.stderr


def test_a_renewal_waits_whatever_subject_is_given(tmp_path: Path) -> None:
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        known = ("--url", server.url, "--trust", server.ca_pem)
        board = tmp_path / "board"
        assert simulate(board, *known, "--subject", "CN=a", "enroll").returncode == Exit.DONE
        server.config.approve_after = 60
        for subject in (("--subject", "CN=b"), ()):
            done = simulate(board, *known, *subject, "reenroll")
            assert done.returncode == Exit.LATER
            assert "given up" not in done.stderr
            assert ("for enroll and serverkeygen alone" in done.stderr) == bool(subject)


def test_what_is_damaged_is_said_once(tmp_path: Path) -> None:
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        known = ("--url", server.url, "--trust", server.ca_pem)
        board = tmp_path / "board"
        assert simulate(board, *known, "--subject", "CN=a", "enroll").returncode == Exit.DONE
        assert simulate(board, *known, "reenroll").returncode == Exit.DONE
        (board / "identity.1").write_bytes(b"EST1")
        done = simulate(board, *known, "show", "reenroll")
        assert done.returncode == Exit.DONE
        assert done.stderr.count("Note: a cut or damaged copy of identity is passed over") == 1
        (board / "anchors.0").write_bytes(b"EST1")
        done = simulate(board, "--url", server.url, "reenroll")
    assert done.returncode == Exit.STORAGE
    assert "the stored anchors: damaged; give trust" in done.stderr


def test_roots_of_one_name_are_told_apart(tmp_path: Path) -> None:
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        known = ("--url", server.url, "--trust", f"sha256:{server.fingerprint}")
        old = server.fingerprint[:8]
        server.rollover()
        done = simulate(tmp_path / "board", *known, "cacerts")
    assert done.returncode == Exit.DONE
    new = server.fingerprint[:8]
    for digest in (old, new):
        assert f"CN=mpest test root (SHA-256 {digest}, trusted)" in done.stdout + done.stderr
    assert f"CN=mpest test root (SHA-256 {new}) is trusted from now on" in done.stderr


NATIVE = pytest.mark.parametrize("runtime", ["cpython", "micropython"], indirect=True)


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
        ("--csr . --own-key own.key enroll", "cannot read ."),
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
        for wrong in ((), ("--secure-element", other)):
            for operation in ("reenroll", "serverkeygen", "revoke"):
                done = simulate(state, *board, *wrong, operation)
                assert done.returncode == Exit.USAGE
                assert "give --secure-element as when it enrolled" in done.stderr
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

"""`mpest simulate` and `mpest demo` as a user runs them."""

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from commands import MPEST, mpest, openssl, simulate
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mpest.exits import Exit
from mpest.server import ServerConfig, running_server
from mpest.server.authority import Authority
from mpest.server.serverkeygen import ServerKeygenPolicy
from mpest.server.tls import own_identity
from mpest.server.users import Entry, read_users
from mpest.sim import command, inputs
from mpest.sim.words import in_words

USAGE = "its keyUsage lacks digitalSignature, or TLS does not take its key"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--url", "http://127.0.0.1:1", "show"], Exit.USAGE, "https://"),
        (["--url", "https://", "cacerts"], Exit.USAGE, "URL"),
        (["--url", "https://u:secret@127.0.0.1:1", "cacerts"], Exit.USAGE, "without a user"),
        (["--url", "HTTPS://127.0.0.1:1", "cacerts"], Exit.USAGE, "fingerprint"),
        (["--url", "https://127.0.0.1:99999", "cacerts"], Exit.USAGE, "1 to 65535, not 99999"),
        (["--url", "https://127.0.0.1:x", "cacerts"], Exit.USAGE, "1 to 65535, not x"),
        (["--url", "https://127.0.0.1:0", "cacerts"], Exit.USAGE, "1 to 65535, not 0"),
        (["--url", "https://est..example", "cacerts"], Exit.USAGE, "a part is empty"),
        (["--url", f"https://{64 * 'a'}.example", "cacerts"], Exit.USAGE, "longer than 63"),
        (["cacerts", "show"], Exit.USAGE, "--url is missing"),
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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_none_of_the_password(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "secret").write_bytes("gehe\xefm\r\n".encode(encoding))
    (tmp_path / "big-endian").write_bytes(b"\xfe\xff" + "gehe\xefm\n".encode("utf-16-be"))
    (tmp_path / "users").write_bytes("u:gehe\xefm\r\n".encode(encoding))
    assert inputs.read_secret(str(tmp_path / "secret")) == "gehe\xefm"
    assert inputs.read_secret(str(tmp_path / "big-endian")) == "gehe\xefm"
    assert read_users(tmp_path / "users", "basic") == [Entry("u", "gehe\xefm")]


def test_serverkeygen(tmp_path: Path) -> None:
    secret, key = tmp_path / "secret", tmp_path / "own.pem"
    secret.write_text("00112233445566778899aabbccddeeff\n")
    password = tmp_path / "password"
    password.write_text("geheim!\n")
    openssl(
        *("genpkey", "-algorithm", "EC", "-out", key),
        *("-pkeyopt", "ec_paramgen_curve:P-256"),
    )
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
            *notes, event = map(json.loads, done.stdout.splitlines())
            assert event["certificate"]["subject"] == "CN=a"
            # The answer that came first needs the password, and is not thrown away.
            assert ["set aside" in note["text"] for note in notes] == [True] * (not seen)
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
        assert "CN=a" in done.stdout
        assert "revoked and forgotten" in done.stdout
        assert not done.stderr
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
    assert "is the network up?" in done.stderr
    assert "Connection refused)" in done.stderr


@pytest.mark.parametrize(
    ("kind", "message", "shown"),
    [
        ("StorageError", "cannot write a.0: 28", "cannot write a.0: No space left on device"),
        ("StorageError", "cannot read a.0: [Errno 5] EIO", "cannot read a.0: Input/output error"),
        ("PeerError", "TLS: [Errno 104] ECONNRESET", "TLS: Connection reset by peer"),
        ("PeerError", "no address ([Errno -2] Not known)", "no address (Not known)"),
        ("PeerError", "TLS: -29312", "TLS: the other side closed the connection"),
        ("NotTrusted", "is refused (-31232)", f"is refused ({USAGE})"),
        ("NotTrusted", "is refused (-9984)", "is refused (-9984)"),
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
        command = [*MPEST, "simulate", *options, "cacerts"]
        with subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            # A shell starts what is in its background with SIGINT ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as process:
            _held = silent.accept()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)
    assert process.returncode == Exit.INTERRUPTED
    assert said == "Interrupted.\n"


def test_demo() -> None:
    done = mpest("demo")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert "All of it worked" in done.stdout
    serials = re.findall(
        r"CN=demo-board,O=mpest demo, serial ([0-9a-f]+), valid until .*\n(?:.*\n){1,9}?"
        r"  proven by mutual TLS \(TLSv1.3\): CN=demo-board,O=mpest demo, serial \1\n",
        done.stdout,
    )
    assert len(set(serials)) == 2


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
    config = ServerConfig(directory=tmp_path / "ca", lifetime=timedelta(seconds=5))
    with running_server(config) as server:
        known = ("--url", server.url, "--trust", server.ca_pem)
        done = simulate(tmp_path / "board", *known, "--subject", "CN=a", "enroll")
        assert done.returncode == Exit.DONE
        certificate = x509.load_pem_x509_certificate((tmp_path / "board/cert.pem").read_bytes())
        while datetime.now(UTC) < certificate.not_valid_after_utc + timedelta(seconds=1.5):
            time.sleep(0.1)
        done = simulate(tmp_path / "board", *known, "reenroll")
    assert done.returncode == Exit.REFUSED
    assert "does not accept the board's certificate" in done.stderr
    assert "it has expired" in done.stderr
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


def test_revoke_amid_a_renewal(tmp_path: Path) -> None:
    """Nothing waits on after it, and what it cannot know it says."""
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        known = ("--url", server.url, "--trust", server.ca_pem)
        board = tmp_path / "board"
        assert simulate(board, *known, "--subject", "CN=a", "enroll").returncode == Exit.DONE
        assert simulate(board, *known, "reenroll").returncode == Exit.DONE
        server.config.approve_after = 60
        assert simulate(board, *known, "reenroll").returncode == Exit.LATER
        assert list(board.glob("order.*"))
        (board / "identity.1").write_bytes(b"EST1")
        done = simulate(board, *known, "revoke")
        assert done.returncode == Exit.DONE
        assert "a newer certificate was perhaps there" in done.stderr
    assert not list(board.glob("order.*"))
    assert not list(board.glob("identity.*"))


def test_what_is_damaged_is_said_once(tmp_path: Path) -> None:
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        known = ("--url", server.url, "--trust", server.ca_pem)
        board = tmp_path / "board"
        assert simulate(board, *known, "--subject", "CN=a", "enroll").returncode == Exit.DONE
        assert simulate(board, *known, "reenroll").returncode == Exit.DONE
        (board / "identity.1").write_bytes(b"EST1")
        done = simulate(board, *known, "show", "reenroll")
        assert done.returncode == Exit.DONE
        assert done.stderr.count("Note: a damaged copy of identity is passed over") == 1
        (board / "anchors.0").write_bytes(b"EST1")
        done = simulate(board, "--url", server.url, "reenroll")
    assert done.returncode == Exit.STORAGE
    assert "the stored anchors: damaged; give --trust again" in done.stderr


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


def test_what_a_server_says_steers_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = "CN=a\x9b31m\u202eb\u20ac"
    events = [
        {"event": "note", "text": said},
        {"event": "error", "type": "PeerError", "operation": "cacerts", "message": said}
        | {"seconds": None, "kept": False},
    ]
    monkeypatch.setattr(command, "run_board", lambda *_: events)
    options = ["--url", "https://a.example", "--trust", f"sha256:{64 * '0'}"]
    with pytest.raises(SystemExit):
        command.simulate([*options, "--state", str(tmp_path), "cacerts"])
    shown = "CN=a\\x9b31m\\u202eb\u20ac\n"
    assert capsys.readouterr().err == f"Note: {shown}Error: cacerts: {shown}"


def test_trust_names_both(tmp_path: Path) -> None:
    """The CA of the server's certificate, and the one that issues."""
    (tmp_path / "web").mkdir()
    web = Authority.open(tmp_path / "web", 1)
    anchor = tmp_path / "web.pem"
    anchor.write_bytes(web.root.certificate.public_bytes(Encoding.PEM))
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        server.show(own_identity(web, "127.0.0.1", cmc_ra=False))
        known = ("--url", server.url, "--subject", "CN=a", "--trust", anchor)
        named = ("--trust", f"sha256:{server.fingerprint}")
        wrong = ("--trust", "sha256:" + 64 * "0")
        board = tmp_path / "board"
        assert simulate(board, *known, *wrong, "enroll").returncode == Exit.NOT_TRUSTED
        assert simulate(board, *known, *named, "enroll").returncode == Exit.DONE
        done = simulate(board, *known, *named, *wrong, "show")
        assert done.returncode == Exit.USAGE
        assert "--trust takes one file, one sha256:, or one of each" in done.stderr

"""The CA of a line without a network: it starts with the job, and its keys are encrypted."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from documents import block
from line_of_boards import Line, board

from mpest.cli import main
from mpest.exits import CliError
from mpest.server import ServerConfig, running_server
from mpest.server.database import Database
from mpest.station.ledger.ledger import Ledger

pytestmark = pytest.mark.timeout(120)
_PASSWORD = "correct horse battery"
_SERVER = """[server]
url = "https://est.field.example"
serve = {folder = "own", password = {file = "passphrase"}, lifetime = "400d"}
"""


@pytest.fixture
def line(tmp_path: Path) -> Line:
    """Its job names no other server."""
    with running_server(ServerConfig(directory=tmp_path / "unused")) as other:
        made = Line(other, tmp_path, 1)
    text = made.job.read_text()
    head, rest = text.split("[server]")
    made.job.write_text(head + _SERVER + "[devices]" + rest.split("[devices]")[1])
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "passphrase").write_text(_PASSWORD)
    (tmp_path / "passphrase").chmod(0o600)
    return made


def test_a_line_with_a_ca_of_its_own(line: Line, tmp_path: Path) -> None:
    shown = CliRunner().invoke(main, ["provision", str(line.job), "--dry-run"])
    assert shown.exit_code == 0 and "0" * 64 in shown.output
    line.plug()
    try:
        line.run()
        own = tmp_path / "own"
        for name in ("ca", "issuing"):
            key = (own / f"{name}.key").read_bytes()
            assert stat.S_IMODE((own / f"{name}.key").stat().st_mode) == 0o600
            assert key.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
            load_pem_private_key(key, _PASSWORD.encode())
        root = x509.load_pem_x509_certificate((own / "ca.pem").read_bytes())
        # It is gone with the line, and goes on with it: the old certificate is revoked there.
        with line.start("--rework", "came back") as run:
            told, _ = run.until_all(lambda event: event["event"] == "revoke", board("done"))
            run.end()
        assert told["outcome"] == "done"
    finally:
        line.unplug()
    assert root == x509.load_pem_x509_certificate((own / "ca.pem").read_bytes())
    database = Database(own / "est.db")
    revoked = [entry.revoked is not None for entry in database.issued()]
    database.close()
    assert revoked == [True, False]
    with Ledger(str(line.ledger)) as ledger:
        [old, new] = ledger.certificates()
        assert old.revoked and new.proven
        assert (new.not_after - new.not_before).days >= 399
    config = (line.boards[0].root / "config.json").read_text()
    assert "https://est.field.example" in config and "127.0.0.1" not in config
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name != "passphrase":
            assert _PASSWORD.encode() not in path.read_bytes(), path
    verify = ["ledger", "--ledger", str(line.ledger), "verify", "--ca", str(own / "ca.pem")]
    assert CliRunner().invoke(main, verify).exit_code == 0


def test_another_passphrase(line: Line, tmp_path: Path) -> None:
    _make(tmp_path / "own", _PASSWORD)
    (tmp_path / "passphrase").write_text("another")
    with line.start() as run:
        assert list(run) == []
        assert run.code() == 2
        assert "own/ca.key does not open with this password" in run.said()
    assert not line.ledger.exists() or not Ledger(str(line.ledger)).certificates()


def _make(folder: Path, password: str | None) -> None:
    with running_server(ServerConfig(directory=folder, key_password=password)):
        pass


def test_a_folder_without_its_password(tmp_path: Path) -> None:
    _make(tmp_path / "encrypted", _PASSWORD)
    _make(tmp_path / "plain", None)
    for folder, password, told in (
        ("encrypted", None, "is encrypted: see --key-password-file"),
        ("encrypted", "x", "does not open with this password"),
        ("plain", "x", "is not encrypted, and a password was given"),
    ):
        with pytest.raises(CliError, match=told):
            _make(tmp_path / folder, password)


def test_an_encrypted_root_rolls_over(tmp_path: Path) -> None:
    config = ServerConfig(
        directory=tmp_path / "ca", key_password=_PASSWORD, chain_length=2, rollover=True
    )
    for _ in range(2):
        with running_server(config) as server:
            assert server.old_fingerprint
        for key in (tmp_path / "ca").glob("*.key"):
            assert b"ENCRYPTED" in key.read_bytes(), key
    with pytest.raises(CliError, match="is encrypted"):
        _make(tmp_path / "ca", None)


def test_mpest_serve_with_a_password_file(tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text(_PASSWORD + "\n")
    command = [
        sys.executable,
        "-m",
        "mpest",
        "serve",
        "--dir",
        str(tmp_path / "ca"),
        "--port",
        "0",
    ]
    command += ["--json", "--key-password-file", str(tmp_path / "passphrase")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and "listening" in process.stdout.readline()
        process.terminate()
    load_pem_private_key((tmp_path / "ca" / "ca.key").read_bytes(), _PASSWORD.encode())
    missing = CliRunner().invoke(main, [*command[3:-1], str(tmp_path / "none")])
    assert missing.exit_code == 2 and "cannot read" in missing.output


@pytest.mark.parametrize(
    ("reference", "environment", "told"),
    [
        ('{systemd = "ca"}', {"CREDENTIALS_DIRECTORY": "{folder}"}, ""),
        ('{systemd = "ca"}', {"CREDENTIALS_DIRECTORY": ""}, "is no service of systemd"),
        ('{systemd = "none"}', {"CREDENTIALS_DIRECTORY": "{folder}"}, "cannot read"),
        ('{systemd = "../ca"}', {}, "a secret does not stand in the job"),
    ],
)
def test_a_credential_of_systemd(
    line: Line, tmp_path: Path, reference: str, environment: dict[str, str], told: str
) -> None:
    (tmp_path / "ca").write_text(_PASSWORD)
    line.job.write_text(line.job.read_text().replace('{file = "passphrase"}', reference))
    given = {name: value.format(folder=tmp_path) for name, value in environment.items()}
    shown = CliRunner(env=given).invoke(main, ["provision", str(line.job), "--dry-run"])
    assert (shown.exit_code == 0) == (not told)
    assert told in shown.output


def test_the_example_of_the_documents(line: Line, tmp_path: Path) -> None:
    example = block("docs/factory.md", "serve = {folder").replace(
        "{prompt = true}", "{env = 'CA'}"
    )
    head, rest = line.job.read_text().split("[server]")
    line.job.write_text(head + example + "[devices]" + rest.split("[devices]")[1])
    shown = CliRunner(env={"CA": "x"}).invoke(main, ["provision", str(line.job), "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert "https://est.example.com" in shown.output

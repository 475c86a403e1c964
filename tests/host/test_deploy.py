"""`mpest agent deploy`: what root takes of the agent's user, and what it does not."""

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from mpest.exits import Exit

NOBODY = 65534
NAME = x509.Name.from_rfc4514_string("CN=broker")

Run = Callable[..., subprocess.CompletedProcess[str]]


def certify(folder: Path) -> None:
    """What an agent would export: a pair of its own making."""
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(NAME, NAME, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("broker.lan")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "fullchain.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(pem)


def pair(folder: Path) -> tuple[str, Any]:
    key = load_pem_private_key((folder / "key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return (folder / "fullchain.pem").read_text(), key.private_numbers()


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    hook = "echo $MPEST_NUMBER $MPEST_TRY $RENEWED_DOMAINS >>$0/told; test ! -e $0/bad"
    return {
        "from": str(tmp_path / "live"),
        "user": str(os.getuid()),
        "state": str(tmp_path / "state"),
        "export": {"folder": str(tmp_path / "deployed")},
        "hooks": {"on_renewed": ["sh", "-c", hook, str(tmp_path)]},
    }


@pytest.fixture
def deploy(tmp_path: Path, settings: dict[str, Any]) -> Run:
    def run(code: int = Exit.DONE, **changes: Any) -> subprocess.CompletedProcess[str]:
        config = tmp_path / "deploy.json"
        config.write_text(json.dumps(settings | changes))
        config.chmod(0o644)
        done = subprocess.run(
            [sys.executable, "-m", "mpest", "agent", "deploy", "--config", config],
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
        return done

    return run


def told(folder: Path) -> list[str]:
    return (folder / "told").read_text().splitlines() if (folder / "told").exists() else []


def test_a_pair_is_deployed_once(deploy: Run, tmp_path: Path) -> None:
    assert "no certificate yet" in deploy().stderr
    for number in (1, 2):
        certify(tmp_path / "live")
        for _ in range(2):
            deploy()
            assert pair(tmp_path / "deployed") == pair(tmp_path / "live")
        assert told(tmp_path)[-1] == f"{number} 1 broker.lan"
        assert len(told(tmp_path)) == number


def test_a_hook_is_tried_until_it_is_done(deploy: Run, tmp_path: Path) -> None:
    certify(tmp_path / "live")
    (tmp_path / "bad").touch()
    deploy(8)
    deploy(8)  # not due yet: nothing runs
    assert told(tmp_path) == ["1 1 broker.lan"]
    (tmp_path / "bad").unlink()
    certify(tmp_path / "live")  # what is newer takes the place of what failed
    deploy()
    assert told(tmp_path)[1:] == ["2 1 broker.lan"]


def test_files_that_do_not_match_are_not_taken(deploy: Run, tmp_path: Path) -> None:
    certify(tmp_path / "live")
    deploy()
    kept = (tmp_path / "deployed/key.pem").read_text()
    certify(tmp_path / "other")
    (tmp_path / "live/key.pem").write_text((tmp_path / "other/key.pem").read_text())
    assert "do not match" in deploy(Exit.STORAGE).stderr
    (tmp_path / "live/key.pem").write_text("no key")
    deploy(Exit.STORAGE)
    (tmp_path / "live/key.pem").unlink()
    os.mkfifo(tmp_path / "live/key.pem")  # and nothing waits for its writer
    deploy(Exit.STORAGE)
    assert (tmp_path / "deployed/key.pem").read_text() == kept
    assert told(tmp_path) == ["1 1 broker.lan"]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give files to others")
def test_what_only_root_can_read_is_not_taken(deploy: Run, tmp_path: Path) -> None:
    """The agent's user made links to a pair of somebody else's."""
    certify(tmp_path / "secret")
    (tmp_path / "live").symlink_to(tmp_path / "secret")
    assert "not of the agent's user" in deploy(Exit.USAGE, user=str(NOBODY)).stderr
    for name in ("fullchain.pem", "key.pem"):
        os.chown(tmp_path / "secret" / name, NOBODY, NOBODY)
    deploy(user=str(NOBODY))
    os.chown(tmp_path / "secret", NOBODY, NOBODY)
    done = deploy(Exit.USAGE, user=str(NOBODY), export={"folder": f"{tmp_path}/secret/a/b"})
    assert "choose another folder" in done.stderr


def test_settings_that_others_could_write_are_refused(
    deploy: Run, settings: dict[str, Any], tmp_path: Path
) -> None:
    certify(tmp_path / "live")
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    config = open_folder / "deploy.json"
    config.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "mpest", "agent", "deploy", "--config", config]
    for path, mode in ((config, 0o664), (open_folder, 0o777)):
        usual = path.stat().st_mode
        path.chmod(mode)
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == Exit.USAGE
        assert done.stderr == f"config: {config}: others can write {path}: chmod go-w {path}\n"
        path.chmod(usual)
    if os.getuid() == 0:
        os.chown(config, NOBODY, NOBODY)
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, "must belong to root" in done.stderr) == (Exit.USAGE, True)
    assert not told(tmp_path)


def test_wrong_settings_are_told_all_at_once(deploy: Run) -> None:
    done = deploy(Exit.USAGE, **{"from": "live", "mode": 1, "hooks": {"reload": 1}, "export": {}})
    assert len(done.stderr.splitlines()) == 4
    for word in ("from must", "mode is unknown", "reload must", "folder is missing"):
        assert word in done.stderr

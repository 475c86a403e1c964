"""`mpest simulate show`: what a board is, without a server."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from commands import openssl, simulate

from mpest.exits import Exit
from mpest.server import ServerConfig, running_server

NATIVE = pytest.mark.parametrize("runtime", ["cpython", "micropython"], indirect=True)


@NATIVE
def test_an_identity_is_shown_without_a_server(tmp_path: Path, runtime: str) -> None:
    state = tmp_path / "board"
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        known = ("--url", server.url, "--trust", server.ca_pem, "--key-type", "P-384")
        names = ("--subject", "O=Plant,CN=a", "--san", "DNS:a.example", "--san", "IP:192.0.2.1")
        done = simulate(state, *known, *names, "--runtime", runtime, "enroll")
        assert done.returncode == Exit.DONE, done.stderr
    before = {path.name: path.read_bytes() for path in state.iterdir()}
    done = simulate(state, "--runtime", runtime, "--json", "show")
    assert done.returncode == Exit.DONE, done.stderr
    found = json.loads(done.stdout)["certificate"]
    assert found["subject"] == "O=Plant,CN=a"
    assert found["names"] == ["DNS:a.example", "IP:192.0.2.1"]
    assert found["key"] == "P-384"
    serial = openssl("x509", "-in", state / "cert.pem", "-noout", "-serial")
    assert int(serial.partition("=")[2], 16) == int(found["serial"], 16)
    assert found["not_before"] < found["due"] < found["not_after"]
    assert "san" not in found and "spki" not in found
    done = simulate(state, "--runtime", runtime, "show")
    assert (done.returncode, done.stderr) == (Exit.DONE, "")
    due = datetime.fromtimestamp(found["due"], UTC)
    for line in (
        "names:   DNS:a.example, IP:192.0.2.1",
        "issuer:  CN=mpest test root",
        f"serial:  {found['serial']}",
        "key:     P-384",
        f"renewal: due at {due:%Y-%m-%d %H:%M:%S} UTC",
    ):
        assert line in [shown.strip() for shown in done.stdout.splitlines()]
    assert {path.name: path.read_bytes() for path in state.iterdir()} == before


@NATIVE
def test_no_identity_is_code_2(tmp_path: Path, runtime: str) -> None:
    done = simulate(tmp_path / "board", "--runtime", runtime, "show")
    assert done.returncode == Exit.USAGE
    assert "no identity is stored" in done.stdout
    done = simulate(tmp_path / "board", "--runtime", runtime, "--json", "show")
    assert done.returncode == Exit.USAGE
    assert json.loads(done.stdout)["certificate"] is None


def test_an_rsa_key_and_no_names(tmp_path: Path) -> None:
    key = tmp_path / "own.key"
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", "-out", key)
    with running_server(ServerConfig(directory=tmp_path / "ca")) as server:
        known = ("--url", server.url, "--trust", server.ca_pem, "--subject", "CN=a")
        done = simulate(tmp_path / "board", *known, "--own-key", key, "enroll", "show")
    assert done.returncode == Exit.DONE, done.stderr
    assert "key:     RSA-3072" in done.stdout
    assert "names:   none" in done.stdout

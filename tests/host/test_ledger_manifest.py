"""The manifest by openssl and a JSON Schema validator, and who may have signed it."""

import json
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result
from commands import openssl
from ledger_boards import ANN, Authority, board, make, units

from mpest.cli import main
from mpest.exits import CliError
from mpest.station.ledger import manifest, record
from mpest.station.ledger.ledger import Ledger

# Each byte of the file, in so many steps: a thousand calls of openssl would take a minute.
_BYTES_TRIED = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, a station with its certificate and key, and a ledger of four boards."""
    folder = tmp_path_factory.mktemp("manifest")
    own = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout"]
    ca = ["-x509", "-days", "30", "-subj", "/CN=CA", "-out", folder / "ca.pem"]
    openssl("req", *own, folder / "ca.key", *ca)
    (folder / "ca.extensions").write_text("basicConstraints=critical,CA:TRUE\n")
    for name, issuer, extensions in (
        ("issuing", "ca", "ca.extensions"),
        ("station", "issuing", "extensions"),
        ("other", "issuing", "extensions"),
    ):
        request = ["-subj", f"/CN={name}", "-out", folder / "csr.pem"]
        openssl("req", *own, folder / f"{name}.key", *request)
        # As an EST server gives it to a client.
        (folder / "extensions").write_text(
            "keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n"
        )
        issued = ["-CA", folder / f"{issuer}.pem", "-CAkey", folder / f"{issuer}.key"]
        issued += ["-days", "30", "-extfile", folder / extensions, "-out", folder / f"{name}.pem"]
        openssl("x509", "-req", "-in", folder / "csr.pem", *issued)
    for name in ("station", "other"):  # with its chain
        with (folder / f"{name}.pem").open("a") as file:
            file.write((folder / "issuing.pem").read_text())
    authority = Authority()
    with Ledger(str(folder / "ledger.db")) as ledger:
        ledger.open_batch("one", "d" * 64, 9, units(6), {"firmware_sha256": "f" * 64}, ANN)
        old = make(ledger, "one", board("a1"), authority)
        make(ledger, "one", board("a2"), authority)
        ledger.fail(ledger.claim("one", ANN, "a3", mac="28cdc1000003"), ANN, "enrol", "away")
        unit = ledger.claim("one", ANN, "a4")
        ledger.step(unit, ANN, "firmware", "done", 3.5, sha256="e" * 64)
        ledger.rework(old.serial, ANN, "returned")
        make(ledger, "one", board("a1"), authority)
        ledger.label(old.serial, ANN, "scanned")
    return folder


@pytest.fixture
def export(folder: Path) -> Callable[..., Result]:
    def run(out: Path, name: str = "station", **more: Path) -> Result:
        words = ["ledger", "--ledger", folder / "ledger.db", "export", "--batch", "one"]
        words += ["--manifest", "--out", out]
        given = {"certificate": folder / f"{name}.pem", "key": folder / f"{name}.key", **more}
        for option, file in given.items():
            words += [f"--{option.replace('_', '-')}", file]
        return CliRunner().invoke(main, list(map(str, words)))

    return run


@pytest.fixture
def signed(tmp_path: Path, export: Callable[..., Result]) -> Path:
    done = export(tmp_path / "one.json")
    assert done.exit_code == 0, done.output
    return tmp_path / "one.json"


def verified(path: Path, folder: Path) -> bool:
    """Whether openssl has nothing against it: what docs/factory.md has an auditor do."""
    command = ["openssl", "cms", "-verify", "-inform", "DER", "-in", f"{path}.p7s"]
    command += ["-binary", "-content", path, "-out", "/dev/null"]
    command += ["-CAfile", folder / "ca.pem", "-purpose", "any"]
    command += ["-nointern", "-certfile", folder / "station.pem"]
    return subprocess.run(command, capture_output=True).returncode == 0


def test_openssl_alone_verifies_it(signed: Path, folder: Path) -> None:
    assert verified(signed, folder)
    document = json.loads(signed.read_bytes())
    schema = manifest.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)
    assert (document["format"], document["version"]) == (record.FORMAT, record.VERSION)
    assert document["signer"] == "CN=station"
    boards = {one["serial"]: one for one in document["boards"]}
    assert list(boards) == ["A0001", "A0002", "A0003", "A0004"]
    first = boards["A0001"]
    assert (first["generation"], first["label"], first["state"]) == (2, "scanned", "done")
    assert len(first["replaced"]) == 1 and first["replaced"][0]["sha256"] != first["certificate"]
    for name in ("A0001", "A0002"):
        certificate = boards[name]["certificate"]["pem"]
        # What the manifest says of the certificate is what openssl reads in it.
        said = subprocess.run(
            ["openssl", "x509", "-noout", "-serial", "-fingerprint", "-sha256"],
            input=certificate,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.lower()
        assert f"serial={int(boards[name]['certificate']['number'], 16):x}" in said.replace(
            "=0", "="
        )
        assert boards[name]["certificate"]["sha256"] in said.replace(":", "")
    assert (boards["A0003"]["certificate"], boards["A0003"]["mac"]) == (None, "28cdc1000003")
    assert boards["A0004"]["firmware_sha256"] == "e" * 64
    assert boards["A0002"]["firmware_sha256"] == "f" * 64
    assert [one["step"] for one in boards["A0002"]["steps"]] == ["identify", "install"]


def test_any_changed_byte_is_refused(signed: Path, folder: Path) -> None:
    whole, signature = signed.read_bytes(), signed.with_name("one.json.p7s").read_bytes()
    choose = random.Random(1)
    places = {0, len(whole) - 1, *(choose.randrange(len(whole)) for _ in range(_BYTES_TRIED))}
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << choose.randrange(8)
        signed.write_bytes(damaged)
        assert not verified(signed, folder), place
    for other in (b"", whole[:-1], whole + b"\n", whole.replace(b"\n", b"\r\n")):
        signed.write_bytes(other)
        assert not verified(signed, folder)
    signed.write_bytes(whole)
    assert verified(signed, folder)
    for other in (b"", signature[:-1]):
        signed.with_name("one.json.p7s").write_bytes(other)
        assert not verified(signed, folder)


def test_another_station_of_the_same_ca_is_refused(
    folder: Path, tmp_path: Path, export: Callable[..., Result]
) -> None:
    assert export(tmp_path / "one.json", "other").exit_code == 0
    assert not verified(tmp_path / "one.json", folder)


def test_keys_that_do_not_fit(folder: Path, tmp_path: Path, export: Callable[..., Result]) -> None:
    secret = "a secret of the station"
    (tmp_path / "password").write_text(f"{secret}\n")
    locked = tmp_path / "locked.key"
    openssl(
        *("pkcs8", "-topk8", "-in", folder / "station.key", "-out", locked),
        *("-passout", f"file:{tmp_path}/password"),
    )
    (tmp_path / "wrong").write_text("no")
    openssl("genpkey", "-algorithm", "ed25519", "-out", tmp_path / "ed.key")
    out = tmp_path / "one.json"
    for more, line in (
        ({"key": folder / "other.key"}, "is not the key of"),
        ({"key": locked}, "locked.key has a password"),
        ({"key": locked, "key_password_file": tmp_path / "wrong"}, "or none of this password"),
        ({"key_password_file": tmp_path / "password"}, "station.key has no password"),
        ({"key": tmp_path / "ed.key"}, "is not the key of"),
        ({"key": folder / "station.pem"}, "holds no private key in PEM"),
        ({"certificate": folder / "station.key"}, "holds no certificate in PEM"),
        ({"key": tmp_path / "nowhere"}, "cannot read"),
    ):
        done = export(out, **more)
        assert done.exit_code == 2, done.output
        assert line in done.stderr and done.stderr.count("\n") == 1
        assert not out.exists() and secret not in done.output
    assert export(out, key=locked, key_password_file=tmp_path / "password").exit_code == 0
    assert verified(out, folder)


@pytest.mark.parametrize("wrong", ["version", "serial", "sha256", "time", "state", "missing"])
def test_the_schema_refuses_other_documents(folder: Path, wrong: str) -> None:
    with Ledger(str(folder / "ledger.db")) as ledger:
        document: dict[str, Any] = record.document(ledger, "one")
        with pytest.raises(CliError):
            record.document(ledger, "two")
    validator = jsonschema.Draft202012Validator(manifest.schema())
    validator.validate(document)
    first = document["boards"][0]
    match wrong:
        case "version":
            document["version"] = 2
        case "serial":
            first["serial"] = 1
        case "sha256":
            first["certificate"]["sha256"] = "x"
        case "time":
            document["made"] = "today"
        case "state":
            first["state"] = "fine"
        case "missing":
            del first["steps"]
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(document)


def test_an_auditor_has_openssl_and_a_shell(signed: Path, folder: Path, tmp_path: Path) -> None:
    """The lines of docs/factory.md, for a board of this manifest."""
    page = (Path(__file__).parents[2] / "docs/factory.md").read_text()
    script = "\n".join(re.findall(r"(?m)^    (.*)", page.split("## For the one who audits")[1]))
    boards = {entry["serial"]: entry for entry in json.loads(signed.read_text())["boards"]}
    wanted = boards["A0002"]
    (tmp_path / "demo.json").write_bytes(signed.read_bytes())
    (tmp_path / "ca").mkdir()
    root = wanted["certificate"]["pem"].split("-----BEGIN")[-1]
    (tmp_path / "ca/ca.pem").write_text("-----BEGIN" + root)
    done = subprocess.run(["sh", "-ec", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "board.pem: OK" in done.stdout
    computed, told = done.stdout.splitlines()[-2:]
    assert computed.split()[0] == wanted["key_sha256"]
    assert wanted["key_sha256"] in told

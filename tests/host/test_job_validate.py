"""A job is checked whole before the first board: each problem is a line with its place."""

import hashlib
import json
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import firmware_files
import job_files
import pytest
from commands import mpest, openssl
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st
from job_files import JOB, with_line, without

from mpest import boards
from mpest.boards import Uf2
from mpest.exits import CliError
from mpest.station import job, own_certificate, validate
from mpest.station.problems import JobError

CONFIG = '{"ssid": "plant", "password": "correct horse", "sha256": "%s"}' % ("0f" * 32)


def problems(path: Path, *, ask: bool = False) -> list[str]:
    made, found = job.read(path)
    found += validate.problems(made, ask=ask)
    lines = [str(problem) for problem in found]
    assert all(line.isprintable() for line in lines)
    return [line.removeprefix(f"{path.parent}/") for line in lines]


def make(folder: Path, text: str = JOB, **files: str | bytes) -> Path:
    """A job with further files: NAME_SUFFIX is NAME.SUFFIX."""
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name.replace("_", ".")).write_bytes(data)
    return job_files.make(folder, text)


def uf2(addresses: list[int] | None = None) -> bytes:
    flash = boards.load("RPI_PICO_W").flash
    assert isinstance(flash, Uf2)
    return firmware_files.uf2(flash.family, addresses or [flash.base, flash.base + 256])


def pico(firmware: bytes, digest: str = "") -> str:
    digest = digest or hashlib.sha256(firmware).hexdigest()
    lines = f'board = "RPI_PICO_W"\nfirmware = "f.uf2"\nfirmware_sha256 = "{digest}"'
    return with_line(lines, job=without("board"))


def test_a_job_that_is_well(tmp_path: Path) -> None:
    text = with_line('settings = "config.json"', job=pico(uf2()))
    text = with_line('acceptance = "accept.py"\napp = "app.py"\nparts = ["est-cmc"]', job=text)
    text = with_line('zpl = "default"\nsvg = "default"\nprint = ["cat"]', "label", text)
    text = with_line('"/data.bin" = "accept.py"', "files", text)
    text = with_line('start = ["true", "{batch}"]', "hooks", text)
    path = make(
        tmp_path,
        text,
        f_uf2=uf2(),
        config_json=CONFIG,
        accept_py="print(1)",
        app_py="async def main(identity):\n    pass\n",
    )
    assert problems(path) == []
    assert validate.notes(job.load(path)) == ["f.uf2 is not named as RPI_PICO_W's firmware is"]


SETTINGS = with_line('settings = "config.json"')


@pytest.mark.parametrize(
    ("text", "files", "words"),
    [
        (with_line('board = "NONE"'), {}, "job.toml:1: board: no board 'NONE'; there are: "),
        (pico(uf2(), "0" * 64), {"f_uf2": uf2()}, "firmware_sha256: f.uf2 is another: its"),
        (pico(b"UF"), {"f_uf2": b"UF"}, "firmware: {folder}/f.uf2 is no UF2 file"),
        (
            pico(uf2([0x101FF000])),
            {"f_uf2": uf2([0x101FF000])},
            "reaches into what RPI_PICO_W stores",
        ),
        (pico(uf2()).replace("PICO_W", "PICO2_W"), {"f_uf2": uf2()}, "is for another chip"),
        (pico(uf2()).replace("RPI_PICO_W", "UNIX"), {"f_uf2": uf2()}, "brings its own"),
        (pico(b"x").replace("RPI_PICO_W", "ESP32_GENERIC"), {"f_uf2": b"x"}, "is no ESP32 firm"),
        (with_line('subject = "CN={colour}"'), {}, "subject: A1: 'CN={colour}': there is no {c"),
        (with_line('subject = "CN={serial}{mac}"'), {}, ""),
        (with_line('subject = "CN"'), {}, "job.toml:1: subject: A1: 'CN' must be NAME=VALUE"),
        (with_line('subject = "CN={serial}%s"' % ("x" * 64)), {}, "CN takes 64 characters"),
        (with_line('subject = "C={serial}1"'), {}, "C takes 2 characters at most (and 1 more)"),
        (with_line('subject = "O={customer}"', job=without("san")), {}, ""),
        (with_line('subject = "O=x"', job=without("san")), {}, "A2: is the one of A1 too: O=x"),
        (with_line('san = ["{serial}"]'), {}, "san[0]: A1: 'A1' is none of DNS: IP: URI: email:"),
        (with_line('san = ["DNS:{customer}"]'), {}, "san[0]: A2: 'DNS:{customer}': {cust"),
        (with_line('san = ["DNS:a b"]'), {}, "'a b' is no DNS name"),
        (with_line('san = ["DNS:{serial}%s"]' % (".abcdefg" * 32)), {}, "253 characters at most"),
        (with_line('san = ["IP:10.0.0.256"]'), {}, "is no IP address"),
        (with_line('san = ["IP:{serial}"]'), {}, "'A1' is no IP address"),
        (with_line('san = ["URI:urn"]'), {}, "'urn' is no URI with a scheme"),
        (with_line('san = ["email:{serial}"]'), {}, "'A1' is no mail address"),
        (with_line('url = "http://a"', "server"), {}, "server.url: the URL must be https:"),
        (with_line('trust = "boards.csv"', "server"), {}, "holds no certificate in PEM"),
        (with_line('password = {file = "none"}', "server"), {}, "server.password: cannot read"),
        (with_line('password = {env = "MPEST_NONE"}', "server"), {}, "environment has no MPEST"),
        (with_line('password = {column = "otp"}', "server"), {}, "otp: the header names no such"),
        (with_line('parts = ["est-none"]'), {}, "parts: no package 'est-none'; there are"),
        (with_line('app = "a.txt"'), {"a_txt": "x"}, "app: {folder}/a.txt is neither .py"),
        (with_line('app = "a.py"'), {"a_py": "x"}, "a.py has no async def main(identity)"),
        (with_line('app = "a.py"'), {"a_py": b"\xff"}, "app: "),
        (with_line('acceptance = "a.py"'), {"a_py": "def"}, "acceptance: mpy-cross cannot"),
        (with_line('acceptance = "a.py"'), {"a_py": b"\xff"}, "acceptance: is not UTF-8"),
        (with_line('"../x" = "password"', "files"), {}, "files.../x: is no path on the board"),
        (with_line('"config.json" = "password"', "files"), {}, "is a file of mpest's own"),
        (with_line('"est/x.py" = "password"', "files"), {}, "is a file of mpest's own"),
        (with_line('svg = "l.svg"', "label"), {"l_svg": "{colour}"}, "label.svg: A1: there is no"),
        (with_line('zpl = "l.zpl"', "label"), {"l_zpl": "x"}, "label.zpl: A1: a ZPL label"),
        (with_line('zpl = "l.zpl"', "label"), {"l_zpl": b"\xff"}, "l.zpl is not UTF-8"),
        (with_line('zpl = "default"\nqr = "{serial}{mac}"', "label"), {}, ""),
        (with_line('zpl = "default"\nqr = "{serial}{customer}"', "label"), {}, "label.qr: A2: "),
        (
            with_line('zpl = "default"\nprint = ["mpest-none"]', "label"),
            {},
            "label.print: there is no program mpest-none",
        ),
        (with_line('start = ["./none"]', "hooks"), {}, "there is no program {folder}/none"),
        (with_line('start = ["./password"]', "hooks"), {}, "there is no program {folder}/pass"),
        (with_line('after.key = ["none-x"]', "hooks"), {}, "hooks.after.key: there is no"),
        (
            with_line('start = ["true", "{colour}"]', "hooks"),
            {},
            "hooks.start: true {colour}: there is no {colour}; known are {batch}",
        ),
        (with_line("quantity = 3"), {}, "job.toml:1: quantity: is 3, and devices names 2"),
        (SETTINGS, {"config_json": "["}, "settings: {folder}/config.json is malformed"),
        (SETTINGS, {"config_json": "[" * 5000}, "brackets lie too deep"),
        (SETTINGS, {"config_json": "[]"}, "config.json must be an object"),
        (SETTINGS, {"config_json": b"\xff"}, "config.json is malformed"),
        (SETTINGS, {"config_json": "{}"}, "config.json: sha256 is missing, or anchors"),
        (SETTINGS, {"config_json": '{"a": "{colour}"}'}, "config.json: there is no {colour}"),
        (SETTINGS, {"config_json": CONFIG.replace("plant", "\\ud800")}, "that UTF-8 can't"),
        (SETTINGS, {"config_json": CONFIG.replace("ssid", "sid")}, "sid is unknown: one of"),
        (
            SETTINGS,
            {"config_json": CONFIG.replace('"ssid"', '"subject": "CN=x", "ssid"')},
            "subject is 'CN=x', in the job it is 'CN=A1,O=Acme': the board would enrol again",
        ),
        (
            with_line('secrets = {secret = {env = "MPEST_NONE"}}', job=SETTINGS),
            {"config_json": CONFIG},
            "secrets.secret: the environment has no MPEST_NONE",
        ),
    ],
)  # fmt: skip
def test_wrong(tmp_path: Path, text: str, files: dict[str, str | bytes], words: str) -> None:
    lines = problems(make(tmp_path, text, **files))
    if words:
        words = words.replace("{folder}", str(tmp_path))
        assert any(words in line for line in lines), lines
        assert all(line.startswith(("job.toml", "boards.csv")) for line in lines)
    else:
        assert lines == []


def test_settings(tmp_path: Path) -> None:
    """Values reach JSON whole; what the job says need not be said again; {id} is the board's."""
    config = {"ssid": "{customer} {{a}}", "anchors": "ca.pem", "app": "report"}
    config |= {"subject": "CN={id}"}
    text = with_line('subject = "CN={unique_id}"', job=SETTINGS)
    boards_csv = 'serial,customer\nA1,"a\\""b"\n'
    path = make(tmp_path, text, config_json=json.dumps(config))
    (tmp_path / "boards.csv").write_text(boards_csv)
    path.write_text(text.replace("quantity = 2\n", ""))
    assert problems(path) == []
    done = mpest("provision", path, "--dry-run", "--json")
    unit = json.loads(done.stdout.splitlines()[0])
    assert unit["settings"] == {
        **config,
        "ssid": 'a\\"b {a}',
        "url": "https://127.0.0.1:8443",
        "san": ["DNS:A1.example.com"],
        "key": "P-256",
    }


def station_identity(folder: Path, *arguments: str) -> None:
    certificate, key = firmware_files.certificate_and_key()
    (folder / "ra.pem").write_bytes(certificate)
    (folder / "ra.key").write_bytes(key)
    if arguments:
        openssl("pkey", "-in", folder / "ra.key", "-out", folder / "new.key", *arguments)
        (folder / "new.key").replace(folder / "ra.key")


PEM_CERTIFICATE, PEM_KEY = firmware_files.certificate_and_key()
DER_CERTIFICATE = ssl.PEM_cert_to_DER_cert(PEM_CERTIFICATE.decode())
DER_KEY = load_pem_private_key(PEM_KEY, None).private_bytes(
    Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
)
RA = 'certificate = "ra.pem"\nkey = "ra.key"'
WITH_RA = with_line(RA, "server", without("user", without("password")))


def test_the_station_s_certificate(tmp_path: Path) -> None:
    path = make(tmp_path, WITH_RA, ra_pem="x", ra_key="y")
    (line,) = problems(path)
    assert line.startswith("job.toml:") and line.endswith(
        "ra.pem holds no certificate in PEM or DER"
    )
    station_identity(tmp_path)
    assert problems(path) == []
    (note,) = [note for note in validate.notes(job.load(path)) if "ends on" in note]
    assert "ra.pem, the station's, ends on " in note
    for days, words in ((3, "ra.pem ended on"), (-3, "ra.pem is not valid before")):
        with pytest.raises(CliError, match=words):
            own_certificate.check_dates(tmp_path / "ra.pem", datetime.now(UTC) + timedelta(days))
    (tmp_path / "ra.key").write_bytes(firmware_files.certificate_and_key()[1])
    (line,) = problems(path)
    assert line.startswith("job.toml:9: server.key: ")
    assert line.endswith(f"ra.key is not the key of the certificate in {tmp_path}/ra.pem")


@given(st.data())
def test_damaged_identities(tmp_path_factory, data: st.DataObject) -> None:
    """Whatever of certificate and key is damaged, in PEM or DER, is one line."""
    folder = tmp_path_factory.getbasetemp()
    files = {
        "ra.pem": data.draw(st.sampled_from([PEM_CERTIFICATE, DER_CERTIFICATE])),
        "ra.key": data.draw(st.sampled_from([PEM_KEY, DER_KEY])),
    }
    name = data.draw(st.sampled_from(sorted(files)))
    damaged = bytearray(files[name])
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    files[name] = bytes(damaged)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    try:
        own_certificate.check_dates(folder / "ra.pem")
        own_certificate.load(folder / "ra.pem", folder / "ra.key", None)
    except CliError as error:
        assert error.message.isprintable()


def test_the_station_s_key_has_a_password(tmp_path: Path) -> None:
    path = make(tmp_path, WITH_RA)
    station_identity(tmp_path, "-aes256", "-passout", "pass:correct horse")
    (line,) = problems(path)
    assert line.endswith("ra.key has a password: see key_password")
    path.write_text(WITH_RA.replace(RA, RA + '\nkey_password = {file = "password"}'))
    assert problems(path) == []
    (tmp_path / "password").write_text("another\n")
    (line,) = problems(path)
    assert "or none of this password" in line and "another\n" not in line
    path.write_text(WITH_RA.replace(RA, RA + "\nkey_password = {prompt = true}"))
    assert problems(path) == []
    station_identity(tmp_path)
    path.write_text(WITH_RA.replace(RA, RA + '\nkey_password = {file = "password"}'))
    (line,) = problems(path)
    assert "has no password, yet one is given" in line


ON_THE_LINE = """
[network]
ssid = "line"
password = {file = "password"}
user = "{serial}"
secret = {column = "otp"}
"""


def test_one_time_passwords(tmp_path: Path) -> None:
    """By a column, which does not reach the ledger, or a file for each board."""
    text = with_line('way = "network"', job=SETTINGS) + ON_THE_LINE
    path = make(tmp_path, text, config_json=CONFIG)
    (tmp_path / "boards.csv").write_text("serial,customer,otp\nA1,Acme,hunter2\nA2,Else,\n")
    (line,) = problems(path)
    assert line.endswith("network.secret: A2: column otp is blank for A2")
    (tmp_path / "boards.csv").write_text("serial,customer,otp\nA1,Acme,hunter2\nA2,Else,x\n")
    assert problems(path) == []
    made = job.load(path)
    assert "otp" not in next(made.units()).metadata
    (tmp_path / "boards.csv").chmod(0o644)
    assert f"{tmp_path}/boards.csv has the mode 644, others may read its secrets" in str(
        validate.notes(made)
    )
    path.write_text(text.replace('{column = "otp"}', '{file = "otp-{serial}"}'))
    (tmp_path / "otp-A1").write_text("hunter2\n")
    lines = problems(path)
    assert len(lines) == 1 and f"network.secret: A2: cannot read {tmp_path}/otp-A2" in lines[0]


def test_settings_on_the_line(tmp_path: Path) -> None:
    from mpest.station import configuration

    text = with_line('way = "network"', job=SETTINGS) + ON_THE_LINE
    path = make(tmp_path, text, config_json=CONFIG)
    (tmp_path / "boards.csv").write_text("serial,customer,otp\nA1,Acme,hunter2\nA2,Else,x\n")
    made = job.load(path)
    unit = next(made.units())
    there = configuration.settings(made, unit, on_the_line=True) or {}
    assert (there["ssid"], there["password"]) == ("line", "correct horse")
    assert (there["user"], there["secret"]) == ("A1", "hunter2")
    later = configuration.settings(made, unit) or {}
    assert later["ssid"] == "plant" and "secret" not in later
    hidden = json.dumps(configuration.settings(made, unit, on_the_line=True, hide=True))
    assert "hunter2" not in hidden and "correct horse" not in hidden


def test_birth(tmp_path: Path) -> None:
    text = with_line('way = "birth"') + '\n[birth]\nhardware_type = "1.3.6.1.4.1.99.1"\n'
    (line, *_) = problems(make(tmp_path, text))
    assert "subject: A1: has no serialNumber, which a birth certificate needs" in line
    path = make(tmp_path, text.replace('"CN={serial}', '"serialNumber={serial}'))
    assert problems(path) == []


def test_plugged(tmp_path: Path) -> None:
    text = with_line("plugged = true", "devices", without("csv")).replace(",O={customer}", "")
    path = make(tmp_path, text)
    assert problems(path) == []
    done = mpest("provision", path, "--dry-run", "--json")
    unit = json.loads(done.stdout.splitlines()[0])
    assert (unit["serial"], unit["unique_id"], unit["subject"]) == (
        "UNIQUE-ID",
        "",
        "CN=UNIQUE-ID",
    )
    scanned = make(tmp_path, text.replace("plugged = true", "plugged = true\nscan = true"))
    assert problems(scanned) == []
    done = mpest("provision", scanned, "--dry-run", "--json")
    assert json.loads(done.stdout.splitlines()[0])["subject"] == "CN=SERIAL"
    path.write_text(text.replace("plugged = true", 'plugged = true\nserial = "A1"'))
    assert "must hold {unique_id} or {mac}: all boards have the same" in problems(path)[0]
    path.write_text(text.replace("CN={serial}", "O=x").replace("{serial}.", "a."))
    assert "is the one of " in problems(path)[0]


def test_dry_run(tmp_path: Path) -> None:
    text = with_line('svg = "default"', "label", with_line('settings = "config.json"'))
    path = make(tmp_path, text, config_json=CONFIG)
    done = mpest("provision", path, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "A1\n  subject   CN=A1,O=Acme\n  name      DNS:A1.example.com\n" in done.stdout
    assert (
        "batch-1: 2 boards of UNIX, 2 at most, certified by https://127.0.0.1:8443" in done.stdout
    )
    assert "correct horse" not in done.stdout + done.stderr
    done = mpest("provision", path, "--dry-run", "--json", "--limit", "1")
    unit, whole = map(json.loads, done.stdout.splitlines())
    assert (unit["serial"], unit["san"], unit["settings"]["password"]) == (
        "A1",
        ["DNS:A1.example.com"],
        "***",
    )
    assert whole["digest"] == job.load(path).digest
    assert {file.name for file in tmp_path.iterdir()} == {
        *("boards.csv", "config.json", "job.toml", "password"),
    }


def test_problems_are_lines_and_exit_2(tmp_path: Path) -> None:
    path = make(tmp_path, with_line('board = "NONE"', job=with_line('url = "x"', "server")))
    done = mpest("provision", path, "--dry-run", "--json")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 2
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(event["event"], event["line"], event["key"]) for event in events] == [
        ("problem", 1, "board"),
        ("problem", 8, "server.url"),
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a file of somebody else's")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = make(tmp_path)
    assert validate.notes(job.load(path)) == []
    (tmp_path / "password").chmod(0o640)
    (note,) = validate.notes(job.load(path))
    assert note.endswith(f"others may read its secrets: chmod 600 {tmp_path}/password")


TEMPLATE = st.text(alphabet="{}serialcustomb=,\\:DNSCO é\u202e\0", max_size=20)


@given(subject=TEMPLATE, san=TEMPLATE, qr=TEMPLATE, value=TEMPLATE, setting=TEMPLATE)
def test_any_template(
    tmp_path_factory, subject: str, san: str, qr: str, value: str, setting: str
) -> None:
    """Whatever templates and columns hold: each problem is a line, and nothing is a traceback."""
    folder = tmp_path_factory.getbasetemp()
    lines = f"subject = {json.dumps('CN=' + subject)}\nsan = [{json.dumps('DNS:' + san)}]"
    text = with_line(f'{lines}\nsettings = "config.json"', job=without("subject", without("san")))
    label = f'zpl = "default"\nsvg = "default"\nqr = {json.dumps("{serial}" + qr)}'
    text = with_line(label, "label", text)
    path = make(folder, text, config_json=json.dumps({"ssid": setting, "sha256": "0f" * 32}))
    quoted = value.replace('"', '""')
    (folder / "boards.csv").write_text(f'serial,customer\nA1,"{quoted}"\n')
    try:
        problems(path)
    except JobError as error:
        assert all(line.isprintable() for line in error.message.splitlines())

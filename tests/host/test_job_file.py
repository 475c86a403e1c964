"""Job files: what they say, and that each mistake is a line with its place."""

import pickle
import re
import tomllib
from pathlib import Path

import job_files
import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_files import JOB, with_line, without

from mpest.station import job
from mpest.station.problems import JobError
from mpest.station.toml_lines import lines_of


def problems(path: Path) -> list[str]:
    with pytest.raises(JobError) as caught:
        job.load(path)
    assert caught.value.exit_code == 2
    lines = caught.value.message.splitlines()
    assert all(lines)
    return lines


def test_a_job(tmp_path: Path) -> None:
    made = job.load(job_files.make(tmp_path))
    first, second = made.units()
    assert (first.serial, first.metadata, first.mac) == (
        "A1",
        {"customer": "Acme"},
        "28cdc1000001",
    )
    assert made.subject_of(second) == "CN=A2,O=Müller"
    assert made.san_of(second) == ["DNS:A2.example.com"]
    assert made.expand("{batch}/{serial}", first) == "batch-1/A1"
    assert made.profile.name == "UNIX"
    assert made.credentials.read("", made.server.password) == "correct horse"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (without("name"), "job.toml: name: is missing"),
        (with_line('name = "a b"'), 'job.toml:1: name: found "a b", a name of letters, digits'),
        (with_line("quantity = 0"), "job.toml:1: quantity: found 0, allowed is more than 0"),
        (with_line('quantity = "9"'), 'found "9", allowed is a whole number'),
        (with_line('speed = "9"'), "job.toml:1: speed: no such entry, known are acceptance, "),
        (with_line('firmware = "f.bin"'), 'firmware: found "f.bin", there is no such file'),
        (with_line('firmware = "a\\u0000b"'), "firmware: found "),
        (with_line('firmware = "boards.csv"'), "firmware_sha256: is missing"),
        (with_line('key_type = "P-512"'), "allowed is 'P-256', 'P-384', "),
        (with_line('way = "network"'), "network: [network] and way"),
        (with_line('secrets = {token = {env = "T"}}'), "job.toml:1: secrets: are for the config"),
        (with_line('ledger = "postgresql://a:b@c/d"'), "ledger: holds a password: leave it out"),
        (with_line('trust = "sha256:0f"', "server"), "64 hexadecimal digits are expected"),
        (with_line('trust = "none.pem"', "server"), "server.trust: found "),
        (with_line('password = {column = "otp"}', "server"), "server.password: is one for all"),
        (with_line('password = {file = "{serial}"}', "server"), "server.password: is one for all"),
        (with_line('ledger_password = {column = "otp"}'), "ledger_password: is one for all"),
        (with_line('url = ""', "server"), "server.url: found "),
        (with_line('key = "boards.csv"', "server"), "server: certificate and key go together"),
        (without("user"), "server: user and password go together"),
        (without("user", without("password")), "server: certificate and key are missing, or"),
        (with_line('token = {column = "otp"}', "server"), "user and token: one of them"),
        (with_line('range = {first = "A1", last = "A2"}', "devices"), "devices: one of csv, "),
        (with_line("plugged = true", "devices", without("csv")), "serial"),
        (with_line("scan = true", "label"), "label: zpl or svg is expected, or both"),
        (with_line('svg = "no.svg"', "label"), 'label.svg: found "no.svg", there is no such'),
        (with_line('svg = "default"\nqr = "x"', "label"), "label: qr must hold {serial}"),
        (with_line("seconds = 0", "limits.key"), "limits.key.seconds: found 0, allowed is more"),
        (with_line("seconds = 9", "limits.eat"), "limits.eat: allowed is 'identify', "),
        (with_line("seconds = 9", "limits.label"), "limits.label: allowed is 'identify', "),
        (with_line('serial = "X"', "devices"), "devices: serial is for plugged"),
        (with_line("start = []", "hooks"), "hooks.start: found a list, allowed is a list of 1 or"),
        (with_line("after = {key = [3]}", "hooks"), "hooks.after.key[0]: found 3, allowed is"),
        (with_line('hardware_type = "1"', "birth"), "an OID such as"),
        ("name =", "Invalid value (at end of document)"),
        ("a = 1\nb =\n", "job.toml:2: Invalid value (at line 2, column 4)"),
        ("a = 1\na = 2", "overwrite"),
        ("a = " + "9" * 5000, "job.toml: "),
        ("a = " + "[" * 5000, "job.toml: "),
        ("a = 2026-99-99", "job.toml:1: "),
        ("\x00", "job.toml:1: "),
        ("#" * (1 << 20) + "#", "KiB at most"),
        ("", "board: is missing"),
    ],
)
def test_wrong(tmp_path: Path, text: str, words: str) -> None:
    path = job_files.make(tmp_path, text)
    if "plugged" in text:
        job.load(path)  # the quantity is its end
        path.write_text(without("quantity", text))
        words = "quantity: is missing: with devices.plugged"
    lines = problems(path)
    assert any(words in line for line in lines), lines
    assert all(line.startswith((str(path), str(tmp_path / "boards.csv"))) for line in lines)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "can't be read: No such file" in problems(tmp_path / "job.toml")[0]
    assert "can't be read: Is a directory" in problems(tmp_path)[0]
    (tmp_path / "job.toml").write_bytes(b"name = '\xff'")
    assert problems(tmp_path / "job.toml") == [f"{tmp_path}/job.toml: is not UTF-8"]


def test_every_problem_is_told_in_order(tmp_path: Path) -> None:
    text = with_line('colour = "red"', "server", with_line('name = "?"', job=without("user")))
    lines = problems(job_files.make(tmp_path, text))
    assert [re.sub(r": found.*|: no such.*", "", line) for line in lines] == [
        f"{tmp_path}/job.toml:1: name",
        f"{tmp_path}/job.toml:8: server.colour",
    ]
    text = with_line('way = "birth"', job=with_line('firmware_sha256 = "%s"' % ("a" * 64)))
    path = job_files.make(tmp_path, text, boards="serial\n\n/\n")
    assert [line.partition(": ")[2][:20] for line in problems(path)] == [
        "firmware: is missing",
        "birth: [birth] and w",
        "serial: '/' must beg",
    ]


@pytest.mark.parametrize(
    "secret",
    [
        *('"hunter2"', "4711", '["hunter2"]', '{prompt = "hunter2"}', "{}", '{file = ""}'),
        *('{file = "f", env = "hunter2"}', '{value = "hunter2"}', '{file = {a = "hunter2"}}'),
        "{prompt = false}",
    ],
)
@pytest.mark.parametrize("key", ["password", "token", "key_password"])
def test_secrets_do_not_stand_in_a_job(tmp_path: Path, key: str, secret: str) -> None:
    lines = problems(job_files.make(tmp_path, with_line(f"{key} = {secret}", "server")))
    (line,) = [line for line in lines if f"server.{key}: " in line]
    assert "a secret does not stand in the job: write {file" in line
    assert not re.search("hunter2|4711", "".join(lines))


def test_the_digest_is_of_what_shapes_a_board(tmp_path: Path) -> None:
    def digest(folder: str, text: str = JOB, boards: str = job_files.BOARDS) -> str:
        (tmp_path / folder).mkdir()
        return job.load(job_files.make(tmp_path / folder, text, boards)).digest

    known = digest("a")
    same = with_line('station = "other"', job=with_line('ledger = "elsewhere.db"'))
    same = with_line('password = {env = "PW"}', "server", same)
    assert digest("b", with_line("seconds = 9", "limits.key", same)) == known
    secret = 'settings = "boards.csv"\nsecrets = {password = {env = "A"}}'
    with_secret = digest("i", with_line(secret))
    assert digest("j", with_line(secret.replace('"A"', '"B"'))) == with_secret != known
    others = [
        digest("c", with_line("quantity = 3")),
        digest("d", with_line('key_type = "P-384"')),
        digest("e", boards=job_files.BOARDS.replace("Acme", "Else")),
        digest("f", with_line('url = "https://127.0.0.2"', "server")),
        digest("g", with_line('acceptance = "boards.csv"')),
        digest("h", with_line('acceptance = "password"')),
    ]
    assert len({known, *others}) == 7


def test_plugged(tmp_path: Path) -> None:
    devices = 'plugged = true\nserial = "X-{unique_id}"'
    text = with_line(devices, "devices", without("csv")).replace("O={customer}", "O=Acme")
    made = job.load(job_files.make(tmp_path, text))
    assert list(made.units()) == []
    unit = made.plugged_unit("e661", "28cdc1000001")
    assert (unit.serial, unit.unique_id, unit.mac) == ("X-e661", "e661", "28cdc1000001")


def test_plugged_and_scanned(tmp_path: Path) -> None:
    devices = "plugged = true\nscan = true"
    text = with_line(devices, "devices", without("csv")).replace("O={customer}", "O=Acme")
    path = job_files.make(tmp_path, text)
    assert job.load(path).plugged_unit("e661", scanned="A1").serial == "A1"
    path.write_text(text.replace(devices, devices + '\nserial = "X-{mac}"'))
    assert "devices: serial and scan: a serial number is made, or scanned" in problems(path)[0]


def test_lines() -> None:
    text = """# one
a = 1

[b]
c.d = "x"
e = [
    3, # [f]
    {g = 1},
]
f = \"\"\"
[h]
h = 1
\"\"\"
[b.i]
j = {k = 1}
[[l]]
m = 1
[[l]]
m = 2
[[l.n]]
o = 1
[[l.n]]
o = 2
["p q"]
"""
    lines = lines_of(text)
    assert lines[("a",)] == 2
    assert lines[("b",)] == 4
    assert lines[("b", "c", "d")] == 5
    assert lines[("b", "e")] == lines[("b", "e", 1, "g")] == 6
    assert lines[("b", "f")] == 10
    assert lines[("b", "i", "j", "k")] == 15
    assert (lines[("l", 0)], lines[("l", 1, "m")]) == (16, 19)
    assert (lines[("l", 1, "n", 0)], lines[("l", 1, "n", 1, "o")]) == (20, 23)
    assert lines[("p q",)] == 24
    assert ("h",) not in lines and ("b", "h") not in lines


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def as_toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{text(k)} = {as_toml(v)}" for k, v in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(as_toml, value)) + "]"
        case str():
            return text(value)
    return str(value)


def text(value: str) -> str:
    return '"' + "".join(f"\\U{ord(letter):08x}" for letter in value) + '"'


KEYS = sorted(job.Job.model_fields)


@given(key=st.sampled_from(KEYS) | st.text(max_size=9), value=VALUES, cut=st.integers(0, 999))
def test_malformed_jobs(tmp_path_factory, key: str, value: object, cut: int) -> None:
    """Whatever stands for an entry, and wherever the file is cut off."""
    folder = tmp_path_factory.getbasetemp()
    whole = f"{text(key)} = {as_toml(value)}\n" + without(key)
    for content in (whole, whole[: cut % len(whole)]):
        path = job_files.make(folder, content)
        try:
            job.load(path)
        except JobError as error:
            lines = error.message.splitlines()
            assert lines and len(lines) == len(error.problems)
            assert all(line.startswith(str(path)) and line.isprintable() for line in lines)


@given(st.binary(max_size=200))
def test_what_is_no_toml(tmp_path_factory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "some.toml"
    path.write_bytes(data)
    assert all(line.isprintable() for line in problems(path))


@given(VALUES)
def test_each_line_is_found(value: object) -> None:
    whole = f"# one\nkey = {as_toml(value)}\n[a.b]\nc = 1\n"
    try:
        tomllib.loads(whole)
    except ValueError:
        return
    lines = lines_of(whole)
    assert (lines[("key",)], lines[("a", "b", "c")]) == (2, 4)


def test_typed_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is asked for once, without an echo, and is known to the workers' processes."""
    asked = []

    def prompt(what: str, *, hide_input: bool, err: bool) -> str:
        assert hide_input and err
        asked.append(what)
        return f"secret {len(asked)}"

    monkeypatch.setattr("click.prompt", prompt)
    line = 'password = {prompt = true}\nkey = "password"\ncertificate = "password"'
    text = with_line(f"{line}\nkey_password = {{prompt = true}}", "server", without("password"))
    made = job.load(job_files.make(tmp_path, text))
    read = made.credentials.read
    server = made.server
    assert server.password and server.key_password
    assert read("A", server.password, ask=False) is None
    assert read("A", server.password) == read("again", server.password) == "secret 1"
    assert read("B", server.key_password) == "secret 2"
    assert asked == ["A", "B"]
    copy = pickle.loads(pickle.dumps(made))
    assert copy.credentials.read("A", copy.server.password, ask=False) == "secret 1"
    assert "secret 1" not in repr(made) + made.model_dump_json()
